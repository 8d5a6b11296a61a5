"""A tiny real bundle: one linear layer, as ONNX and as a TFLite flatbuffer, fp32 and int8."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import onnx
from ai_edge_litert import schema_py_generated as tfl
from onnx import TensorProto, helper, numpy_helper

from device_runner.cooldown import Cooldown
from device_runner.energy import Energy, Interval, SourceEnergy
from device_runner.instructions import DOT_PRODUCTS
from device_runner.latency import summarise
from device_runner.machine import Machine
from device_runner.manifest import (
    Artifact,
    FileEntry,
    Manifest,
    Network,
    Samples,
    TensorSpec,
    write_manifest,
)
from device_runner.plan import Plan
from device_runner.readings import Readings, Throttling
from device_runner.report import (
    Accuracy,
    BundleIdentity,
    ColdStart,
    MeasuredArtifact,
    PreprocessingTime,
    Report,
    RuntimeIdentity,
    SessionIdentity,
)
from device_runner.scenarios import tell_deadlines, tell_throughput
from device_runner.strict_json import format_json, parse_json, to_json
from device_runner.unavailable import Unavailable
from device_runner.validity import Finding, Validity
from device_runner.watch import During, Span
from device_runner.windows import split_windows

QUICK = Plan(min_seconds=0, min_queries=70, warmup_seconds=0, energy_seconds=0)
CLASSES = 7
FEATURES = 2 * 2 * 3
MACHINES = ("x86_64", "aarch64", "armv7l")
STEPS = ({"op": "normalize", "mean": [127.5, 127.5, 127.5], "std": [64.0, 64.0, 64.0]},)
INPUT_SCALE, INPUT_ZERO = 0.015625, -1
OUTPUT_SCALE, OUTPUT_ZERO = 0.0625, 3
WEIGHT_SCALE = 0.01


def weights() -> npt.NDArray[np.int8]:
    """int8 codes [classes, features] over channels-last features."""
    return np.random.default_rng(5).integers(-127, 128, (CLASSES, FEATURES)).astype(np.int8)


def samples(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Noise images [count, 2, 2, 3]; labels are what the real-valued network says."""
    inputs = np.random.default_rng(6).integers(0, 256, (count, 2, 2, 3)).astype(np.uint8)
    values = (inputs.astype(np.float64).reshape(count, -1) - 127.5) / 64
    return inputs, np.argmax(values @ weights().T, axis=1).astype(np.int64)


def onnx_fp32() -> bytes:
    """Input NCHW float [1, 3, 2, 2]."""
    matrix = (weights() * np.float32(WEIGHT_SCALE)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["input"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["last"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["output"], transB=1),
    ]
    return _onnx(nodes, TensorProto.FLOAT, [numpy_helper.from_array(matrix, "matrix")])


def onnx_int8() -> bytes:
    """The same in QDQ form with int8 codes going in and coming out."""
    scalar = {
        "in_s": np.float32(INPUT_SCALE),
        "in_z": np.int8(INPUT_ZERO),
        "out_s": np.float32(OUTPUT_SCALE),
        "out_z": np.int8(OUTPUT_ZERO),
        "w_s": np.float32(WEIGHT_SCALE),
        "w_z": np.int8(0),
    }
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in scalar.items()]
    tensors.append(numpy_helper.from_array(weights(), "codes"))
    nodes = [
        helper.make_node("Transpose", ["input"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["last"], ["flat"]),
        helper.make_node("DequantizeLinear", ["flat", "in_s", "in_z"], ["x"]),
        helper.make_node("DequantizeLinear", ["codes", "w_s", "w_z"], ["w"]),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
        helper.make_node("QuantizeLinear", ["y", "out_s", "out_z"], ["output"]),
    ]
    return _onnx(nodes, TensorProto.INT8, tensors)


def _onnx(nodes: list[onnx.NodeProto], kind: int, tensors: list[onnx.TensorProto]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", kind, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("output", kind, [1, CLASSES])],
        tensors,
    )
    opset = [helper.make_opsetid("", 17)]
    data: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return data


def tflite(*, int8: bool) -> bytes:
    """One FULLY_CONNECTED on NHWC [1, 2, 2, 3]."""
    kind = tfl.TensorType.INT8 if int8 else tfl.TensorType.FLOAT32
    graph, model = tfl.SubGraphT(), tfl.ModelT()
    model.version, model.buffers, graph.tensors = 3, [tfl.BufferT()], []

    def tensor(
        name: str,
        shape: list[int],
        kind: int,
        quantisation: tuple[float, int] | None,
        values: npt.NDArray[Any] | None = None,
    ) -> int:
        entry = tfl.TensorT()
        entry.name, entry.type, entry.buffer = name.encode(), kind, 0
        entry.shape = np.array(shape, np.int32)
        if quantisation is not None:
            entry.quantization = tfl.QuantizationParametersT()
            entry.quantization.scale = np.array(quantisation[:1], np.float32)
            entry.quantization.zeroPoint = np.array(quantisation[1:], np.int64)
        if values is not None:
            buffer = tfl.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(buffer)
            entry.buffer = len(model.buffers) - 1
        graph.tensors.append(entry)
        return len(graph.tensors) - 1

    matrix = weights() if int8 else (weights() * np.float32(WEIGHT_SCALE)).astype(np.float32)
    x = tensor("input", [1, 2, 2, 3], kind, (INPUT_SCALE, INPUT_ZERO) if int8 else None)
    w = tensor("w", [CLASSES, FEATURES], kind, (WEIGHT_SCALE, 0) if int8 else None, matrix)
    y = tensor("output", [1, CLASSES], kind, (OUTPUT_SCALE, OUTPUT_ZERO) if int8 else None)
    code, operator = tfl.OperatorCodeT(), tfl.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = tfl.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if int8 else 1
    operator.inputs = np.array([x, w, -1], np.int32)
    operator.outputs = np.array([y], np.int32)
    operator.builtinOptionsType = tfl.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = tfl.FullyConnectedOptionsT()
    graph.inputs, graph.outputs = np.array([x], np.int32), np.array([y], np.int32)
    graph.operators, graph.name = [operator], b"main"
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def npy(array: npt.NDArray[Any]) -> bytes:
    """The bytes that numpy.save would write."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def spec(name: str, layout: str, *, int8: bool) -> TensorSpec:
    """Tensor entries of the tiny artifacts."""
    shapes = {"NCHW": (1, 3, 2, 2), "NHWC": (1, 2, 2, 3), "NC": (1, CLASSES)}
    scale, zero = (OUTPUT_SCALE, OUTPUT_ZERO) if layout == "NC" else (INPUT_SCALE, INPUT_ZERO)
    return TensorSpec(
        name=name,
        shape=shapes[layout],
        dtype="int8" if int8 else "float32",
        layout=layout,
        scale=scale if int8 else None,
        zero_point=zero if int8 else None,
    )


def tiny_files(count: int = 40) -> dict[str, bytes]:
    """Path -> bytes of everything but the manifest."""
    inputs, labels = samples(count)
    return {
        "models/ort-fp32.onnx": onnx_fp32(),
        "models/ort-int8.onnx": onnx_int8(),
        "models/tflite-fp32.tflite": tflite(int8=False),
        "models/tflite-int8.tflite": tflite(int8=True),
        "samples/inputs.npy": npy(inputs),
        "samples/labels.npy": npy(labels),
    }


def tiny_manifest(files: Mapping[str, bytes], count: int = 40) -> Manifest:
    """The manifest that fits `tiny_files`."""
    artifacts = tuple(
        Artifact(
            id=f"tiny-{runtime}-{precision}",
            file=f"models/{runtime}-{precision}.{'onnx' if runtime == 'ort' else 'tflite'}",
            network="tiny",
            role="baseline" if precision == "fp32" else "deploy",
            runtime=runtime,
            precision=precision,
            architectures=MACHINES,
            exact_with=DOT_PRODUCTS if (runtime, precision) == ("ort", "int8") else (),
            input=spec("input", "NCHW" if runtime == "ort" else "NHWC", int8=precision == "int8"),
            output=spec("output", "NC", int8=precision == "int8"),
        )
        for runtime in ("ort", "tflite")
        for precision in ("fp32", "int8")
    )
    return Manifest(
        schema_version=3,
        name="tiny",
        files=tuple(
            FileEntry(path, len(data), hashlib.sha256(data).hexdigest())
            for path, data in files.items()
        ),
        artifacts=artifacts,
        preprocessing=STEPS,
        labels=tuple("abcdefg"),
        samples=Samples("samples/inputs.npy", "samples/labels.npy", count, "noise", "test"),
        networks={
            "tiny": Network(
                parameters=CLASSES * FEATURES, macs=CLASSES * FEATURES, scores={"top1": 1.0}
            )
        },
        provenance={"recipe": {"name": "tiny"}},
    )


def write_folder(folder: Path, files: Mapping[str, bytes], manifest: bytes) -> Path:
    """Lay a bundle out as a folder."""
    for path, data in {**files, "manifest.json": manifest}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def write_tiny_bundle(folder: Path, count: int = 40) -> Path:
    """A whole tiny bundle as a folder."""
    files = tiny_files(count)
    return write_folder(folder, files, write_manifest(tiny_manifest(files, count)))


def to_document(value: Any) -> Any:
    """A dataclass as the JSON value that a reader of its file would get."""
    return parse_json(format_json(to_json(value)), place="fixture")


def example_report(*, queries: int = 70) -> Report:
    """A report without a measurement, with both kinds of value wherever there are two."""
    missing = Unavailable("not on this machine")
    files = tiny_files()
    artifact = tiny_manifest(files).artifacts[3]
    data = files[artifact.file]
    times = np.random.default_rng(7).integers(1000, 2000, queries).tolist()
    rate_hz = 600_000.0
    latency = summarise(times, warmup_queries=12, scenario="Paced")
    readings = Readings(
        governor={"policy0": "ondemand"},
        frequency_hz={"policy0": 1_500_000_000},
        frequency_cap_hz={"policy0": 1_800_000_000},
        temperature_c={"thermal_zone0 cpu-thermal": 48.2},
        load_1min=0.25,
        throttling=Throttling(now=(), since_boot=("under-voltage",)),
        under_voltage=False,
        cooling={"cooling_device0 cpufreq-cpu0": 0},
        power_mode=missing,
    )
    return Report(
        schema_version=3,
        session=SessionIdentity(
            id="0" * 32,
            started_utc="2026-01-31T12:00:00Z",
            artifacts=(artifact.id,),
            command=("bench", "-o"),
            cores=(2, 3),
            cooldown=Cooldown(15.0, 61.5, 49.5, "below 50 °C"),
        ),
        bundle=BundleIdentity("tiny", "ab" * 32),
        artifact=MeasuredArtifact(
            **vars(artifact), sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
        ),
        runtime=RuntimeIdentity("tflite", "ai-edge-litert", "2.3.0", 1, ("XNNPACK",), ()),
        placement={"CPUExecutionProvider": 0.75, "CUDAExecutionProvider": 0.25},
        validity=Validity(
            verdict="INVALID",
            reasons=(Finding("powersave", "the governor is powersave", "set another"),),
            warnings=(Finding("capped", "the clock is capped", "raise it"),),
            unchecked={"power-mode": "no nvpmodel (a Jetson has one)"},
        ),
        latency=latency,
        windows=split_windows(times, 5),
        throughput=tell_throughput(latency, batch=1, how="one by one", rate_hz=rate_hz),
        deadlines=tell_deadlines(latency, rate_hz=rate_hz),
        energy=Energy(
            idle=Interval(1_770_000_000_000_000_000, 1_770_000_002_000_000_000),
            load=Interval(1_770_000_002_000_000_000, 1_770_000_004_000_000_000),
            inferences=1000,
            sources=(SourceEnergy("PMIC rails", "the rails", 3.5, 2.5, 0.007, 0.002),),
            missing={"RAPL": "no package of intel-rapl"},
        ),
        preprocessing_ns=PreprocessingTime(count=12, p50=900, p90=missing),
        real_time=missing,
        cold=ColdStart(load_ns=1, first_inference_ns=2, peak_rss_bytes=missing),
        accuracy=Accuracy(4, 0.75, 1.0, (0, 1, 6, 6), (0, 1, 6, 5), "cd" * 32, "ef" * 32),
        machine=Machine(
            board="Raspberry Pi 4 Model B Rev 1.4",
            cpu="Cortex-A72",
            architecture="aarch64",
            cores=4,
            int8_instructions=("asimd",),
            memory_bytes=missing,
            max_frequency_hz={"policy0": 1_800_000_000},
            rated_frequency_hz={"policy0": 1_800_000_000},
            frequency_driver={"policy0": "cpufreq-dt"},
            temperature_limit_c={"thermal_zone0 cpu-thermal": 80.0},
            kernel="6.6.31",
            os="Debian GNU/Linux 12 (bookworm)",
            jetson=missing,
            emulated=missing,
        ),
        before=readings,
        during=During(
            duration_s=2.5,
            looks=4,
            looking_share=0.001,
            clock_hz=Span(1.4e9, 1.5e9, 1.8e9),
            clock_policy="policy0",
            temperature_c={"thermal_zone0 cpu-thermal": Span(48.2, 50.5, 51.0)},
            conditions=(),
            cooling={"cooling_device0 cpufreq-cpu0": 0},
            other_load_cores=0.02,
            stolen_cores=0.0,
            waited_share=0.001,
            swapped_pages=0,
            throttle_events={"over-current oc1": 0},
            clock_step_s=0.0,
            suspended_s=missing,
        ),
        after=Readings(**dict.fromkeys(vars(readings), missing)),
        versions={"device_runner": "0.1.0"},
    )
