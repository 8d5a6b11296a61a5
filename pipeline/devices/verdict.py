"""What devices measured, side by side, and each against this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report, read_report, tell_score
from edgeticket.device_runner.terminal import table, validity_lines, words
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare import Comparison, Limits, compare, tell_times
from edgeticket.pipeline.devices.fleet_run import Outcome


@dataclass(frozen=True)
class Verdict:
    """One report of one device; ``against``: this machine's report of the same file, compared."""

    label: str
    report: Report
    against: Comparison | Unavailable

    @property
    def answers(self) -> str:
        """Whether the device answers as this machine does, in words."""
        if isinstance(self.against, Unavailable):
            return f"not compared: {self.against.reason}"
        if self.against.identical_outputs:
            return (
                f"all outputs equal this machine's, bit for bit, over "
                f"{self.report.accuracy.count:,} samples"
            )
        agreement = self.against.agreement
        if isinstance(agreement, Unavailable):
            return f"outputs differ from this machine's: {agreement.reason}"
        whats = {"top-1": "class", "WER": "text", "SQNR": "outputs"}
        what = whats.get(self.report.accuracy.measure, "answer")
        return (
            f"outputs differ from this machine's; the same {what} for {agreement:.2%} "
            f"of {self.against.alike_of:,} samples"
        )


def read_host_reports(bundle: Path, digest: str) -> list[Report]:
    """The reports that `edgeticket run` left beside a bundle, of this very bundle."""
    found = []
    for path in sorted((bundle.resolve().parent / "reports").glob("*.json")):
        try:
            report = read_report(path)
        except InputError:  # a stray file; it was not asked for
            continue
        if report.bundle.digest == digest:
            found.append(report)
    return found


def judge(outcomes: Sequence[Outcome], host: Sequence[Report]) -> list[Verdict]:
    """Every report of every device against ``host``'s of the same file, by artifact."""
    verdicts = [
        Verdict(outcome.device.label, report, _compare(host, report))
        for outcome in outcomes
        for report in outcome.reports
    ]
    order = list(dict.fromkeys(verdict.report.artifact.id for verdict in verdicts))
    return sorted(verdicts, key=lambda verdict: order.index(verdict.report.artifact.id))


def _compare(host: Sequence[Report], report: Report) -> Comparison | Unavailable:
    reason = "this machine has no report of this file"
    for base in host:
        if _same_network(base) != _same_network(report):
            continue
        if base.session.id == report.session.id:
            return Unavailable("it is this machine")
        try:
            return compare(base, report, limits=Limits())
        except InputError as error:  # measured with other threads, say; another one may fit
            reason = str(error)
    return Unavailable(reason)


def _same_network(report: Report) -> tuple[str, ...]:
    """Equal for one file, and for the two that ONNX Runtime needs: one for ARM, one for x86."""
    return report.artifact.network, report.artifact.runtime, report.artifact.precision


def print_verdicts(verdicts: Sequence[Verdict], console: Console) -> None:
    """One row per artifact and device; why reports are not valid; whether int8 answers agree."""

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True, markup=False)

    times = ("p50 ms", "p90 ms", "load ms", "peak MB")
    measure = verdicts[0].report.accuracy.measure if verdicts else "score"
    headings = ("artifact", "device", *times, measure, "faster", "outputs", "by", "")
    say(table([headings, *map(_row, verdicts)]))
    say("\nfaster, outputs: against this machine, where it has run the same file")
    for label in dict.fromkeys(verdict.label for verdict in verdicts):
        reports = [verdict.report for verdict in verdicts if verdict.label == label]
        for line in validity_lines(reports):
            say(f"{label}: {line}")
    for verdict in verdicts:
        if verdict.report.artifact.precision == "int8" and isinstance(verdict.against, Comparison):
            say(f"{verdict.report.artifact.id} on {verdict.label}: {verdict.answers}")


def _row(verdict: Verdict) -> tuple[str, ...]:
    report = verdict.report
    emulated = isinstance(report.machine.emulated, str)
    threads = f", {report.runtime.threads} threads" if report.runtime.threads > 1 else ""
    return (
        report.artifact.id + threads,
        verdict.label,
        _scaled(report.latency.p50_ns, 3),
        _scaled(report.latency.p90_ns, 3),
        _scaled(report.cold.load_ns, 1),
        _scaled(report.cold.peak_rss_bytes, 1),
        tell_score(report),
        *_against(verdict.against),
        f"{report.runtime.package} {words(report.runtime.version)}",
        "times emulated" if emulated else report.validity.verdict,
    )


def _against(against: Comparison | Unavailable) -> tuple[str, str]:
    if isinstance(against, Unavailable):
        return "–", "–"
    same = "equal" if against.identical_outputs else f"{against.told_agreement} agree"
    return tell_times(against.speedup_p50), same


def _scaled(value: int | Unavailable, digits: int) -> str:
    return "–" if isinstance(value, Unavailable) else f"{value / 1e6:.{digits}f}"
