"""Convert many networks to all five files, and compare those with torch and with each other.

    python benchmarks/coverage.py                     # those of benchmarks/networks.py
    python benchmarks/coverage.py --names FILE        # lines such as "timm:ghostnet_100 96"
    python benchmarks/coverage.py --from FILE.py      # a module with NETWORKS and make(name)

Prints a table in Markdown. Every network's line is appended to --out as soon as it is known; what
is there already is not run again. Errors in float32 are the largest, relative to the largest
output. Equality is between ONNX Runtime (int8, uint8) and LiteRT, the worse of both. SQNR is of
each int8 file in ONNX Runtime against its float32 file, ours and that of `quantize_static` (QDQ,
uint8 and int8 by channel, min-max) with the same calibration inputs; it is the noise of at least
some thousand outputs, for fewer say little. Seconds are those of the CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor, nn

from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.models.torchvision_cure import import_torchvision
from edgeticket.pipeline.convert import Converted
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.convert.qdq_insertion import is_integer
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.operators import KINDS
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq

Arrays = list[np.ndarray[Any, Any]]
Build = Callable[[], nn.Module]
CALIBRATION = 8
EXAMPLES = 4, 64  # at least, at most
ENOUGH = 4000  # outputs of all examples
NAMES = """
torchvision:resnet18 64
torchvision:mobilenet_v2 96
torchvision:mobilenet_v3_small 96
torchvision:efficientnet_b0 96
torchvision:shufflenet_v2_x0_5 96
torchvision:convnext_tiny 64
timm:deit_tiny_patch16_224 224
torchvision.segmentation:lraspp_mobilenet_v3_large 128
torchvision.detection:ssdlite320_mobilenet_v3_large 320
timm:mobilenetv4_conv_small 96
timm:ghostnet_100 96
timm:mobileone_s0 96
timm:repvgg_a0 96
timm:mobilevit_xxs 128
timm:levit_128s 224
"""


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    done = {line["network"]: line for line in _lines(arguments.out)}
    rows = []
    for name, task, takes, build in _networks(arguments):
        if arguments.only and not any(part in name for part in arguments.only):
            continue
        if name not in done or arguments.again:
            done[name] = {"network": name, "task": task, **measure(takes, build, arguments)}
            with arguments.out.open("a") as out:
                out.write(json.dumps(done[name]) + "\n")
            print(_row(done[name]), file=sys.stderr, flush=True)
        rows.append(done[name])
    print(table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", type=Path, help="a file of SOURCE:NAME SIZE lines")
    parser.add_argument("--from", dest="module", type=Path, help="a file with NETWORKS and make")
    parser.add_argument("--listed", action="store_true", help="the names listed in this file")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    parser.add_argument("--without-static", action="store_true", help="ours alone: it is quicker")
    parser.add_argument("--again", action="store_true", help="also what --out has")
    parser.add_argument("--out", type=Path, default=Path("coverage.jsonl"))
    return parser.parse_args()


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _networks(arguments: argparse.Namespace) -> Iterator[tuple[str, str, Any, Build]]:
    """Name, task, shape without the batch, and what builds it."""
    if arguments.names or arguments.listed:
        text = arguments.names.read_text() if arguments.names else NAMES
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if words:
                size = int(words[1])
                yield words[0], words[0].partition(":")[0], (3, size, size), _named(words[0])
    else:
        path = arguments.module or Path(__file__).with_name("networks.py")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, (task, takes, *_) in module.NETWORKS.items():
            yield name, task, takes, partial(module.make, name)


def _named(name: str) -> Build:
    source, _, model = name.partition(":")

    def build() -> nn.Module:
        torch.manual_seed(0)
        models = import_torchvision().models  # which timm needs, too
        if source == "timm":
            import timm

            return timm.create_model(model, pretrained=False)
        if source == "torchvision.segmentation":
            maker = getattr(models.segmentation, model)
            return maker(weights=None, weights_backbone=None, num_classes=21)
        if source == "torchvision.detection":
            return RawDetector(
                getattr(models.detection, model)(weights=None, weights_backbone=None)
            )
        return getattr(models, model)(weights=None)

    return build


class RawDetector(nn.Module):
    """A detector as far as before boxes are selected."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.get_submodule("backbone")
        self.head = detector.get_submodule("head")

    def forward(self, x: Tensor) -> Any:
        return self.head(list(self.backbone(x).values()))


def measure(takes: Any, build: Build, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything about one network; what went wrong is in ``failure``."""
    found: dict[str, Any] = {}
    start_s = time.process_time()
    try:
        _measure(takes, build, found, static=not arguments.without_static)
    except Exception as error:  # a network that fails is a line of the table
        found["failure"] = f"{type(error).__name__}: {error}"[:300]
    found["seconds"] = time.process_time() - start_s
    return found


def _measure(takes: Any, build: Build, found: dict[str, Any], *, static: bool) -> None:
    network = build().eval()
    shapes = [takes] if isinstance(takes[0], int) else list(takes)
    torch.manual_seed(1)
    start_s = time.process_time()
    folded = fold_bn(network, takes)
    found["capture_s"] = time.process_time() - start_s
    graph = export(folded)
    least = min(math.prod(graph.values[name].shape) for name in graph.outputs)
    examples = min(max(EXAMPLES[0], -(-ENOUGH // least)), EXAMPLES[1])
    inputs = [torch.randn(CALIBRATION + examples, *shape) for shape in shapes]
    tests = [x[CALIBRATION:] for x in inputs]
    with torch.no_grad():
        expected = [x.numpy() for x in _flat(network(*tests))]
    files = {kind: TARGETS[kind].convert(graph) for kind in ("onnx-fp32", "tflite-fp32")}
    floats = {kind: run(file, kind, tests) for kind, file in files.items()}
    for kind, outputs in floats.items():
        found[kind] = max(map(_relative, outputs, expected))
    if len(shapes) > 1:
        return
    batches = torch.split(inputs[0][:CALIBRATION], 1)
    scales = calibrate(folded, batches, Ptq(method="ptq"))
    quantized = export(fake_quantized(folded, scales))
    found["int8_share"] = int8_share(quantized)
    kinds = ("onnx-int8-s8", "onnx-int8-u8", "tflite-int8")
    files |= {kind: TARGETS[kind].convert(quantized) for kind in kinds}
    results = {kind: run(files[kind], kind, tests) for kind in kinds}
    found |= _equality(files, results)
    exact = floats["onnx-fp32"]
    ours = [
        _real(codes, spec)
        for codes, spec in zip(results[kinds[0]], files[kinds[0]].outputs, strict=True)
    ]
    found["sqnr_db"] = min(map(sqnr_db, exact, ours))
    if not static:
        return
    found["sqnr_static_db"] = min(map(sqnr_db, exact, _static(files["onnx-fp32"], inputs[0])))


def _equality(files: dict[str, Converted], results: dict[str, Arrays]) -> dict[str, float]:
    """Shares of codes that are equal, and within one; of real outputs, by 1/255 of the largest."""
    equal, near = [1.0], [1.0]
    for i, spec in enumerate(files["onnx-int8-s8"].outputs):
        lite = results["tflite-int8"][i].astype(np.float64)
        for kind in ("onnx-int8-s8", "onnx-int8-u8"):
            other = results[kind][i].astype(np.float64)
            if spec.scale is None:
                unit = max(float(np.abs(lite).max()), 1e-9) / 255
                equal.append(float((np.abs(lite - other) <= unit / 4).mean()))
                near.append(float((np.abs(lite - other) <= unit).mean()))
            else:
                apart = np.abs(other - 128 * (kind == "onnx-int8-u8") - lite)
                equal.append(float((apart == 0).mean()))
                near.append(float((apart <= 1).mean()))
    return {"equal": min(equal), "within_1": min(near)}


def int8_share(graph: Graph) -> float:
    """The share of multiply-accumulates that integer kernels do."""
    ready = prepare(graph)
    total = integer = 0
    for op in ready.operators:
        shapes = [
            ready.values[n].shape if n in ready.values else ready.constants[n].data.shape
            for n in op.inputs
            if n
        ]
        macs = KINDS[op.kind].macs(op.attributes, ready.values[op.output].shape, *shapes)
        total += macs
        integer += macs * is_integer(op, ready.values, ready.constants)
    return integer / max(total, 1)


def run(file: Converted, kind: str, inputs: Sequence[Tensor]) -> Arrays:
    """Every example by itself; outputs are channels first."""
    call = _litert(file) if kind.startswith("tflite") else _onnx_runtime(file.data, file)
    runs = []
    for i in range(len(inputs[0])):
        given = [
            _coded(x[i : i + 1].numpy(), spec) for x, spec in zip(inputs, file.inputs, strict=True)
        ]
        runs.append(call(given))
    return [np.concatenate(parts) for parts in zip(*runs, strict=True)]


def _onnx_runtime(data: bytes, file: Converted | None = None) -> Callable[[Arrays], Arrays]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda given: list(session.run(None, dict(zip(names, given, strict=True))))


def _litert(file: Converted) -> Callable[[Arrays], Arrays]:
    interpreter = Interpreter(model_content=file.data, num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_output_details()

    def call(given: Arrays) -> Arrays:
        for detail, x in zip(interpreter.get_input_details(), given, strict=True):
            interpreter.set_tensor(detail["index"], np.moveaxis(x, 1, -1) if x.ndim > 2 else x)
        interpreter.invoke()
        outputs = [interpreter.get_tensor(detail["index"]).copy() for detail in details]
        return [np.moveaxis(x, -1, 1) if x.ndim > 2 else x for x in outputs]

    return call


def _static(file: Converted, inputs: Tensor) -> Arrays:
    """What ONNX Runtime's own quantisation of the float32 file answers."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(inputs[:CALIBRATION].split(1))

        def get_next(self) -> Any:
            x = next(self.rest, None)
            return None if x is None else {file.input.name: x.numpy()}

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(file.data)
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
        call = _onnx_runtime(target.read_bytes())
    runs = [call([x.numpy()]) for x in inputs[CALIBRATION:].split(1)]
    return [np.concatenate(parts) for parts in zip(*runs, strict=True)]


def _coded(x: np.ndarray[Any, Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    if spec.scale is None:
        return x.astype(spec.dtype)
    limits = np.iinfo(np.dtype(spec.dtype))
    codes = np.rint(x / np.float32(spec.scale)) + (spec.zero_point or 0)
    return np.clip(codes, limits.min, limits.max).astype(spec.dtype)


def _real(codes: np.ndarray[Any, Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    if spec.scale is None:
        return codes
    return (codes.astype(np.float32) - (spec.zero_point or 0)) * np.float32(spec.scale)


def sqnr_db(exact: np.ndarray[Any, Any], rounded: np.ndarray[Any, Any]) -> float:
    """10 · log10(signal / noise)."""
    wide = exact.astype(np.float64)
    noise = float(((wide - rounded) ** 2).sum())
    return 10 * math.log10(max(float((wide**2).sum()), 1e-30) / max(noise, 1e-30))


def _relative(given: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    difference = np.abs(given.reshape(expected.shape).astype(np.float64) - expected).max()
    return float(difference / max(float(np.abs(expected).max()), 1e-9))


def _flat(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    parts = result.values() if isinstance(result, dict) else result
    return [tensor for part in parts if part is not None for tensor in _flat(part)]


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("onnx-fp32", "ORT fp32", ".0e"),
    ("tflite-fp32", "LiteRT fp32", ".0e"),
    ("equal", "int8 equal", ".2%"),
    ("within_1", "within 1", ".2%"),
    ("sqnr_db", "SQNR dB", ".1f"),
    ("sqnr_static_db", "its own, dB", ".1f"),
    ("int8_share", "int8 MACs", ".0%"),
    ("capture_s", "capture s", ".1f"),
    ("seconds", "all s", ".0f"),
)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All networks in Markdown, and how many have all files."""
    head = ["network", "task", *(title for _, title, _ in COLUMNS), "failure"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    whole = sum("failure" not in row for row in rows)
    return "\n".join([*lines, *map(_row, rows), "", f"{whole} of {len(rows)} networks."])


def _row(row: dict[str, Any]) -> str:
    cells = [row["network"], row["task"]]
    cells += [format(row[key], form) if key in row else "" for key, _, form in COLUMNS]
    cells.append(row.get("failure", "").replace("|", "/").replace("\n", " "))
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
