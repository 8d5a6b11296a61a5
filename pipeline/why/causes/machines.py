"""What reports say of where and by what an artifact was run."""

from __future__ import annotations

from collections.abc import Sequence

from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare.bootstrap import latency_ratio
from edgeticket.pipeline.why.finding import Cause, Change, Finding, Remedy
from edgeticket.pipeline.why.pair import Pair

CPU = "CPU"


def find_fallback(pair: Pair) -> Sequence[Finding]:
    """Operators that a provider was asked for and the CPU ran, where the first side does better."""
    remedy = Remedy(
        "give the provider a file that it takes: for TensorRT symmetric codes",
        (Change((), "bundle.tensorrt", True),),
    )
    layers = _layers_on_cpu(pair, remedy)
    if layers:
        return layers
    report = pair.second.report
    if report is None or isinstance(report.placement, Unavailable):
        return ()
    share, asked = _share_on_cpu(report)
    before = _share_on_cpu(pair.first.report)[0] if pair.first.report is not None else 0.0
    if not asked or share <= before:
        return ()
    says = f"of its operators {asked[0]} was asked for, the CPU ran {share:.0%}: "
    return (
        Finding(
            Cause.FELL_BACK,
            None,
            says + report.placement.words,
            {"share_on_cpu": share, "share_before": before, "placement": report.placement.words},
            remedy,
        ),
    )


def _share_on_cpu(report: Report) -> tuple[float, list[str]]:
    """Share of operators on the CPU, and what else was asked for; 0 where nothing was."""
    if isinstance(report.placement, Unavailable):
        return 0.0, []
    operators = report.placement.operators
    asked = [name for name in operators if name != CPU]
    total = sum(operators.values())
    return (operators.get(CPU, 0) / total if asked and total else 0.0), asked


def _layers_on_cpu(pair: Pair, remedy: Remedy) -> tuple[Finding, ...]:
    one, other = pair.first.layers, pair.second.layers
    if one is None or other is None:
        return ()
    before = {layer.name: layer for layer in one.layers}
    return tuple(
        Finding(
            Cause.FELL_BACK,
            layer.name,
            f"{layer.by} ran it in {layer.time_ns / 1e3:.1f} µs, before {before[layer.name].by} in "
            f"{before[layer.name].time_ns / 1e3:.1f} µs",
            {
                "by": layer.by,
                "by_before": before[layer.name].by,
                "time_ns": layer.time_ns,
                "time_before_ns": before[layer.name].time_ns,
            },
            remedy,
        )
        for layer in other.layers
        if layer.name in before and is_cpu(layer.by) and not is_cpu(before[layer.name].by)
    )


def is_cpu(by: str) -> bool:
    """Whether a layer's ``by`` is the plain processor, rather than a delegate or provider."""
    return by.removesuffix("ExecutionProvider").lower() in ("cpu", "reference", "built-in kernels")


def find_version(pair: Pair) -> Sequence[Finding]:
    """Another version of the runtime, where the same file answers otherwise or takes longer."""
    one, other = pair.first.report, pair.second.report
    if one is None or other is None or one.artifact.sha256 != other.artifact.sha256:
        return ()
    if one.runtime.package != other.runtime.package or one.runtime.version == other.runtime.version:
        return ()
    evidence: dict[str, float | int | str] = {
        "package": other.runtime.package,
        "version": str(other.runtime.version),
        "version_before": str(one.runtime.version),
    }
    differences = []
    if one.accuracy.outputs_sha256 != other.accuracy.outputs_sha256:
        differences.append("outputs are others")
        evidence["identical_outputs"] = False
    slower = latency_ratio(one, other, 0.5)
    same_board = one.machine.board == other.machine.board and one.machine.cpu == other.machine.cpu
    # The interval is of queries, which one session holds alike: what runs differ by is more.
    if same_board and slower.high is not None and slower.high < 1 and slower.value < 0.95:
        differences.append(f"p50 is {1 / slower.value:.2f} times as long")
        evidence["p50_times_as_long"] = 1 / slower.value
    if not differences:
        return ()
    versions = f"{one.runtime.version} → {other.runtime.version}"
    return (
        Finding(
            Cause.VERSION,
            None,
            f"{other.runtime.package} {versions}: " + ", ".join(differences),
            evidence,
            Remedy(
                f"pip install {one.runtime.package}=={one.runtime.version} on the device until "
                "the difference is understood; no recipe changes it"
            ),
        ),
    )
