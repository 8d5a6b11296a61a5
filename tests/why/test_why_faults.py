"""Planted faults of random strength: each is named, with its layer; real runtimes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from page_fixtures import report_of
from why_fixtures import (
    Chain,
    clip_range,
    files,
    files_of,
    network,
    pixels,
    quantised,
    with_outlier,
    with_transposes,
    write,
)

import edgeticket
from edgeticket.device_runner.placement import RAN, placement_of
from edgeticket.device_runner.report import Report, write_report
from edgeticket.pipeline.why import Cause
from edgeticket.pipeline.why.question import Answer

ENDINGS = {"onnx": ".onnx", "tflite": ".tflite"}
INT8 = ("onnx-int8-u8", "tflite-int8")


def ask(
    folder: Path,
    first: bytes,
    second: bytes,
    kinds: tuple[str, str],
    x: np.ndarray,
    **options: bool,
) -> Answer:
    a, b = (
        write(folder, f"{side}{ENDINGS[kind.partition('-')[0]]}", data)
        for side, kind, data in (("a", kinds[0], first), ("b", kinds[1], second))
    )
    answer, applied = edgeticket.why(a, b, samples=write(folder, "x.npy", x), **options)
    assert applied is None
    return answer


def told(answer: Answer) -> list[tuple[Cause, str | None]]:
    return [(finding.cause, finding.layer) for finding in answer.findings]


@pytest.mark.parametrize("kind", INT8)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["chain", "layers"])
def test_a_clipped_range(kind: str, seed: int, name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    made = quantised(name)
    values = [n for n, v in made.graph.values.items() if v.quantization and "relu" in n]
    value = values[int(rng.integers(len(values)))]
    planted = clip_range(made.graph, value, float(rng.uniform(0.15, 0.6)))
    data = edgeticket.convert(planted, kinds=[kind])[kind].data
    answer = ask(tmp_path, files(made)["onnx-fp32"], data, ("onnx-fp32", kind), pixels(name))
    layer = next(op.name for op in made.graph.operators if op.output == value)
    makers = {op.output: op.name for op in made.graph.operators}
    source = next(op.inputs[0] for op in made.graph.operators if op.output == value)
    assert told(answer)[0][0] == Cause.CLIPPED
    assert told(answer)[0][1] in {value, layer, makers.get(source)}
    assert len(answer.findings) == 1
    assert answer.findings[0].evidence["clipping_over_rounding"] > 1
    assert answer.exit_code == 1


@pytest.mark.parametrize("kind", INT8)
@pytest.mark.parametrize("seed", range(3))
def test_a_channel_that_takes_the_range(kind: str, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    factor, channel = float(np.exp(rng.uniform(np.log(60), np.log(900)))), int(rng.integers(16))
    module = network("chain")
    assert isinstance(module, Chain)
    with torch.no_grad():  # no channel is dead, so that each one can take the range
        module.first.bias.fill_(0.5)
    made = files_of(with_outlier(module, factor, channel), pixels("chain"))
    answer = ask(tmp_path, made["onnx-fp32"], made[kind], ("onnx-fp32", kind), pixels("chain"))
    assert told(answer)[0] in {(Cause.OUTLIER, "first"), (Cause.OUTLIER, "relu")}
    assert answer.findings[0].evidence["channel"] == channel
    assert len(answer.findings) == 1


@pytest.mark.parametrize("seed", range(2))
def test_sums_that_leave_16_bits(seed: int, tmp_path: Path) -> None:
    module = network("layers", seed)
    x = pixels("layers")
    with torch.no_grad():  # all weights of a row near the largest, all inputs near theirs
        module.one.weight.fill_(0.5).mul_(1 + 0.05 * torch.rand(32, 20))
    made = files_of(module, 0.9 + 0.1 * x)
    kinds = ("onnx-fp32", "onnx-int8-u8")
    options = {"without_dot_products": True}
    answer = ask(tmp_path, made["onnx-fp32"], made["onnx-int8-u8"], kinds, 0.9 + 0.1 * x, **options)
    assert (Cause.SATURATING, "one") in told(answer)
    # The same file on a CPU that adds in 32 bits, and the other runtime's, have no such fault.
    lite = ask(
        tmp_path, made["onnx-fp32"], made["tflite-int8"], ("onnx-fp32", "tflite-int8"), x, **options
    )
    assert Cause.SATURATING not in {cause for cause, _ in told(lite)}


@pytest.mark.parametrize("kind", INT8)
@pytest.mark.parametrize("layer", ["wide", "hidden"])
def test_an_operator_left_in_float32(kind: str, layer: str, tmp_path: Path) -> None:
    made = files(quantised("small", keep_fp32=(layer,)))
    answer = ask(tmp_path, made["onnx-fp32"], made[kind], ("onnx-fp32", kind), pixels("small"))
    assert {cause for cause, _ in told(answer)} == {Cause.FLOAT32}
    assert any(layer in str(name) or "relu" in str(name) for _, name in told(answer))


@pytest.mark.parametrize(("before", "after"), [(16, 13), (64, 36), (64, 57)])
def test_channels_beside_the_tiles(before: int, after: int, tmp_path: Path) -> None:
    x = pixels("chain")
    wide, narrow = (files_of(Chain(width), x)["onnx-fp32"] for width in (before, after))
    answer = ask(tmp_path, wide, narrow, ("onnx-fp32", "onnx-fp32"), x)
    assert told(answer) == ([(Cause.QUANTUM, "first")] if (before, after) != (64, 36) else [])


@pytest.mark.parametrize("layer", [0, 1])
def test_axes_moved_about(layer: int, tmp_path: Path) -> None:
    good = files(quantised("chain"))["onnx-fp32"]
    answer = ask(
        tmp_path, good, with_transposes(good, layer), ("onnx-fp32", "onnx-fp32"), pixels("chain")
    )
    assert told(answer) == [(Cause.COPIES, "to_last"), (Cause.COPIES, "to_first")]


@pytest.mark.parametrize("mistake", ["channels", "255", "signed", "axes"])
@pytest.mark.parametrize("kind", ["onnx-fp32", "tflite-int8"])
def test_inputs_that_are_prepared_otherwise(mistake: str, kind: str, tmp_path: Path) -> None:
    module, x = network("chain"), pixels("chain")
    other, y = network("chain"), x
    assert isinstance(other, Chain)
    with torch.no_grad():
        weight, bias = other.first.weight, other.first.bias
        assert bias is not None
        if mistake == "channels":
            weight.copy_(weight.flip(1))
            y = np.ascontiguousarray(x[:, ::-1])
        elif mistake == "axes":
            for layer in (other.first, other.depth):
                layer.weight.copy_(layer.weight.transpose(2, 3).contiguous())
            y = np.ascontiguousarray(x.swapaxes(2, 3))
        elif mistake == "255":
            weight.div_(255)
            y = 255 * x
        else:  # the border is padded with another grey, so inputs differ there
            bias.add_(0.5 * weight.sum((1, 2, 3)))
            weight.mul_(0.5)
            y = 2 * x - 1
    answer = ask(
        tmp_path, files_of(module, x)["onnx-fp32"], files_of(other, y)[kind], ("onnx-fp32", kind), x
    )
    assert told(answer)[0][0] == Cause.INPUT
    words = {"channels": "RGB", "255": "255", "signed": "−1..1 from 0..1", "axes": "exchanged"}
    assert words[mistake] in answer.findings[0].says


def reports(folder: Path, first: Report, second: Report) -> Answer:
    for name, report in (("a", first), ("b", second)):
        write_report(report, folder / f"{name}.json")
    return edgeticket.why(folder / "a.json", folder / "b.json")[0]


@pytest.mark.parametrize("on_cpu", [1, 12, 31])
def test_operators_that_fell_back(on_cpu: int, tmp_path: Path) -> None:
    there = {"TensorrtExecutionProvider": 31 - on_cpu, "CPUExecutionProvider": on_cpu}
    asked = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    good = placement_of({asked[0]: 31}, asked=asked, counted=RAN)
    base = replace(report_of("ort"), placement=good)
    answer = reports(
        tmp_path, base, replace(base, placement=placement_of(there, asked=asked, counted=RAN))
    )
    assert told(answer) == [(Cause.FELL_BACK, None)]
    assert answer.findings[0].evidence["share_on_cpu"] == on_cpu / 31
    assert answer.findings[0].remedy.changes[0].key == "bundle.tensorrt"


def newer(report: Report, version: str) -> Report:
    return replace(report, runtime=replace(report.runtime, version=version))


def test_another_version_that_answers_otherwise(tmp_path: Path) -> None:
    base = replace(report_of(), placement=placement_of({"CPU": 3}, asked=["CPU"], counted=RAN))
    other = replace(base, accuracy=replace(base.accuracy, outputs_sha256="9" * 64))
    assert told(reports(tmp_path, base, newer(other, "9.9"))) == [(Cause.VERSION, None)]


@pytest.mark.parametrize("slower", [1.08, 1.5])
def test_another_version_that_is_slower(slower: float, tmp_path: Path) -> None:
    base = replace(report_of(), placement=placement_of({"CPU": 3}, asked=["CPU"], counted=RAN))
    slow = report_of(time_ns=round(40_000 * slower), seed=1)
    other = replace(slow, placement=base.placement)
    assert told(reports(tmp_path, base, newer(other, "9.9"))) == [(Cause.VERSION, None)]
    assert told(reports(tmp_path, base, other)) == []
