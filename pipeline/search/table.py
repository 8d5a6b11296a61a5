"""A prediction as people read it, and as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from edgeticket.device_runner.strict_json import to_json
from edgeticket.pipeline.search.additive import Whole
from edgeticket.pipeline.search.predict import LayerTime, Prediction, RuntimePrediction
from edgeticket.pipeline.text import plain

RUNTIMES = {"ort": "ONNX Runtime", "tflite": "LiteRT"}


def print_prediction(prediction: Prediction, console: Console) -> None:
    """Whole networks first, then the layers of the fastest, then widths and how it was found."""
    times = prediction.times
    console.print(
        f"{plain(prediction.network)} on {plain(times.board.name)} ({plain(prediction.target)}), "
        f"{times.architecture}",
        style="bold",
    )
    console.print(_wholes(prediction))
    for title, reason in prediction.missing.items():
        console.print(f"{title}: {reason}", soft_wrap=True)
    fastest = min(prediction.predictions, key=lambda one: one.after.predicted_ns)
    console.print()
    console.print(
        f"layers, {RUNTIMES[fastest.runtime]} {fastest.precision}, µs; ~ is less a fitted cost of "
        "the probe's ends"
    )
    console.print(_layers(fastest))
    _print_widths(prediction, console)
    _print_method(prediction, console)


def _wholes(prediction: Prediction) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("ms")
    for heading in ("before", "after", "faster", "measured", "off", "at its ends"):
        table.add_column(heading, justify="right")
    for one in prediction.predictions:
        table.add_row(
            f"{RUNTIMES[one.runtime]} {one.precision}",
            _ms(one.before.predicted_ns),
            _ms(one.after.predicted_ns),
            f"{one.before.predicted_ns / one.after.predicted_ns:.2f}x",
            f"{_ms(one.before.measured_ns)} → {_ms(one.after.measured_ns)}",
            f"{one.before.residual:+.1%}, {one.after.residual:+.1%}",
            _ms(one.ends_ns[1]),
        )
    return table


def _layers(one: RuntimePrediction) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading, justify in (
        ("layer", "left"), ("operators", "left"), ("format", "left"), ("channels", "left"),
        ("before", "right"), ("after", "right"), ("share", "right"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify, no_wrap=heading != "layer")  # type: ignore[arg-type]
    for layer in one.layers:
        after = layer.after_ns or 0.0
        table.add_row(
            layer.name,
            layer.kind,
            layer.precision,
            _channels(layer),
            "–" if layer.before_ns is None else f"{layer.before_ns / 1e3:.1f}",
            "gone"
            if layer.after_ns is None
            else f"{'~' * bool(layer.fitted_share)}{after / 1e3:.1f}",
            f"{after / one.after.predicted_ns:.1%}",
        )
    return table


def _channels(layer: LayerTime) -> str:
    shown = ["–" if pair is None else f"{pair[0]}→{pair[1]}" for pair in
             (layer.channels_before, layer.channels_after)]  # fmt: skip
    return shown[0] if shown[0] == shown[1] else " now ".join(shown)


def _print_widths(prediction: Prediction, console: Console) -> None:
    curves = [one for one in prediction.predictions if one.widths is not None]
    if not curves:
        return
    console.print()
    console.print("what a width costs: µs of a layer by its channels, in and out")
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    first = curves[0].widths
    assert first is not None
    for width in first.times_ns:
        table.add_column(str(width), justify="right")
    table.add_column("in steps of")
    for one in curves:
        curve = one.widths
        assert curve is not None
        (height, width), (rows, columns) = curve.size, curve.kernel
        table.add_row(
            f"{RUNTIMES[one.runtime]} {one.precision}, {rows}x{columns} on {height}x{width}",
            *(f"{time / 1e3:.1f}" for time in curve.times_ns.values()),
            str(curve.quantum or "4 or less"),
        )
    console.print(table)


def _print_method(prediction: Prediction, console: Console) -> None:
    times = prediction.times
    console.print()
    console.print(
        f"{times.measured} files timed now, {times.known} known of this board; "
        + ", ".join(f"{plain(name)}" for name in times.runtimes.values()),
        soft_wrap=True,
    )
    for one in prediction.predictions:
        model = one.model
        anchors = ", ".join(_residual(anchor) for anchor in model.anchors)
        call_us, kilobyte_ns = model.ends.call_ns / 1e3, model.weight_byte_ns * 1e3
        console.print(
            f"{RUNTIMES[one.runtime]} {one.precision}: fitted: a call {call_us:.1f} µs, "
            f"{model.step_overhead_ns:.0f} ns a step, {kilobyte_ns:.1f} ns a kB of weights; "
            f"off on whole networks: {anchors}",
            soft_wrap=True,
        )
    if times.doubts:
        console.print(
            "NOT VALID, so these are the fastest queries, and none were kept:", style="bold"
        )
        for sentence in times.doubts.values():
            console.print(f"  {sentence}", soft_wrap=True)


def _residual(whole: Whole) -> str:
    return f"{whole.name} {whole.residual:+.1%}"


def _ms(time_ns: float) -> str:
    return f"{time_ns / 1e6:.3f}"


def prediction_json(prediction: Prediction) -> dict[str, Any]:
    """All of it; ``structure`` can be changed by hand and given back to `edgeticket predict`."""
    times = prediction.times
    return {
        "format": 1,
        "network": prediction.network,
        "target": prediction.target,
        "board": to_json(times.board.facts),
        "runtimes": dict(times.runtimes),
        "valid": not times.doubts,
        "statistic": "min" if times.doubts else "p50",
        "doubts": list(times.doubts.values()),
        "files": {"timed": times.measured, "known": times.known, "refused": len(times.refused)},
        "structure": {
            "keep": {
                name: prediction.structure.keep.get(name, width)
                for name, width in prediction.widths.items()
            },
            "bypass": sorted(prediction.structure.bypass),
        },
        "widths": dict(prediction.widths),
        "missing": dict(prediction.missing),
        "predictions": [_runtime_json(one) for one in prediction.predictions],
    }


def _runtime_json(one: RuntimePrediction) -> dict[str, Any]:
    model = one.model
    curve = one.widths
    return {
        "runtime": one.runtime,
        "version": one.version,
        "precision": one.precision,
        "before": _whole_json(one.before),
        "after": _whole_json(one.after),
        "ends_ns": list(one.ends_ns),
        "fitted": {
            "call_ns": model.ends.call_ns,
            "byte_ns": model.ends.byte_ns,
            "step_overhead_ns": model.step_overhead_ns,
            "weight_byte_ns": model.weight_byte_ns,
            "anchors": [_whole_json(anchor) for anchor in model.anchors],
        },
        "layers": [to_json(layer) for layer in one.layers],
        "width_curve": None
        if curve is None
        else {
            "layer": curve.layer,
            "kernel": list(curve.kernel),
            "size": list(curve.size),
            "times_ns": {str(width): time for width, time in curve.times_ns.items()},
            "quantum": curve.quantum,
        },
    }


def _whole_json(whole: Whole) -> dict[str, Any]:
    return {**to_json(whole), "residual": whole.residual}
