"""ONNX Runtime, on a GPU where the installed build has a provider for it, else on the CPU."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.placement import ALONE, ASSIGNED, RAN, Placement, placement_of
from edgeticket.device_runner.runtimes.session import (
    Array,
    Port,
    Session,
    TappedSession,
    installed_version,
    order_of,
)
from edgeticket.device_runner.runtimes.trial import why_not
from edgeticket.device_runner.taps.onnx_bytes import check_onnx, read_nodes, tap_onnx

PACKAGE = "onnxruntime"
# Most wanted first. Which of them there are depends on the build that is installed; nodes that one
# cannot run go to the next, and CPU runs everything.
PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
GPU_SETTINGS = ("ORT_TENSORRT_", "ORT_CUDA_", "NVIDIA_TF32_OVERRIDE")  # environment variables
DTYPES = {
    "tensor(float)": "float32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def choose() -> str:
    """Try the runtime in a process of its own -> name of its package.

    Raises:
        InputError: it is not installed, or does not work here.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise _unusable("it is not installed", f"pip install {PACKAGE}")
    reason = why_not("ort", PACKAGE)
    if reason is not None:
        raise _unusable(reason, f"pip install {PACKAGE} in another version, as in {PACKAGE}==1.18")
    return PACKAGE


def find() -> tuple[str, Any]:
    """Import the runtime -> name of its package, its module.

    Raises:
        InputError: it is not installed, or its import fails.
    """
    try:
        return PACKAGE, importlib.import_module(PACKAGE)
    except (Exception, SystemExit) as error:
        raise _unusable(f"{type(error).__name__}: {error}", f"pip install {PACKAGE}") from None


def _unusable(reason: str, cure: str) -> InputError:
    return InputError(f"runtime ort cannot be used ({reason}): {cure}")


def load(
    model: bytes,
    *,
    threads: int,
    place: str,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    batch: int = 1,
    cpu_only: bool = False,
) -> Session:
    """Bytes of an ONNX file -> session.

    ``inputs`` and ``outputs``: the order in which they are wanted, by name; None: the file's.

    Raises:
        InputError: no runtime; the runtime refuses the file or the batch; other names.
    """
    package, session = _open(model, threads=threads, place=place, cpu_only=cpu_only)
    taken = _ports(session.get_inputs(), inputs, what="input", place=place)
    given = _ports(session.get_outputs(), outputs, what="output", place=place)
    for name, port in (*taken.items(), *given.items()):
        if port.dtype not in DTYPES.values():
            raise InputError(
                f"{place}: {name} is {port.dtype}, which this runner cannot hand over (known: "
                f"{', '.join(DTYPES.values())}): export it with one of these"
            )
    fixed = [name for name, port in taken.items() if not _is_open(port)]
    if batch > 1 and fixed:
        raise InputError(f"{place} does not take {batch} samples at once: its batch is fixed")
    return Session(
        package=package,
        version=installed_version(package),
        delegates=tuple(session.get_providers()),
        inputs=taken,
        outputs=given,
        query=_Query(session, taken, given, batch=batch),
    )


def load_tapped(
    model: bytes, *, threads: int, place: str, outputs: Sequence[str] = ()
) -> TappedSession:
    """Bytes of an ONNX file -> session that answers with the output of every layer.

    ``outputs``: the network's own; none: the first.

    Raises:
        InputError: no runtime; the runtime refuses the file.
    """
    package, session = _open(tap_onnx(model, place=place), threads=threads, place=place)
    taken = [value.name for value in session.get_inputs()]
    names = [value.name for value in session.get_outputs()]

    def query(tensors: Sequence[Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(zip(taken, tensors)))))

    return TappedSession(
        package=package,
        version=installed_version(package),
        delegates=tuple(session.get_providers()),
        inputs={value.name: _port(value) for value in session.get_inputs()},
        outputs=tuple(outputs) or (names[0],),
        values={value.name: _port(value) for value in session.get_outputs()},
        query=query,
    )


def count_kernels(model: bytes, *, tapped: bool, place: str) -> Mapping[str, int]:
    """What the runtime's optimiser makes of an ONNX file: number of operators by type.

    Transposes are left out: they move values and change none.

    Raises:
        InputError: no runtime; the runtime refuses the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        file = tap_onnx(model, place=place) if tapped else model
        _open(file, threads=1, place=place, optimised=optimised)
        nodes = read_nodes(optimised.read_bytes(), place=str(optimised))
    return Counter(node.op_type for node in nodes if node.op_type != "Transpose")


def find_placement(model: bytes, *, threads: int, place: str, cpu_only: bool = False) -> Placement:
    """Where a query really runs: providers that were asked for need not have got anything.

    Asked of the runtime in a session of its own: which operators it assigned to whom, or, before
    version 1.24, of its profiler over one query of zeros. With nothing but the CPU there is no
    question.

    Raises:
        InputError: no runtime; the runtime refuses the file.
    """
    _, ort = find()
    asked = _providers(ort, cpu_only=cpu_only)
    if len(asked) == 1:
        nodes = [node for node in read_nodes(model, place=place) if node.op_type != "Constant"]
        return placement_of({asked[0]: len(nodes)}, asked=asked, counted=ALONE)
    with tempfile.TemporaryDirectory() as folder:
        _, session = _open(
            model, threads=threads, place=place, cpu_only=cpu_only, profile=Path(folder) / "profile"
        )
        assigned = _assigned(session)
        if assigned:
            session.end_profiling()
            return placement_of(assigned, asked=asked, counted=ASSIGNED)
        feeds = {value.name: _buffer(_port(value), 1) for value in session.get_inputs()}
        session.run(None, feeds)
        ran = read_placement(Path(session.end_profiling()).read_bytes())
        return placement_of(ran, asked=asked, counted=RAN)


def optimise(model: bytes, *, threads: int, place: str) -> bytes:
    """Bytes of an ONNX file -> what the runtime makes of it for this CPU, as an ONNX file.

    Raises:
        InputError: no runtime; the runtime refuses the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimised.onnx"
        _open(model, threads=threads, place=place, cpu_only=True, optimised=file)
        return file.read_bytes()


def open_as_written(model: bytes, *, threads: int, place: str) -> Any:
    """Bytes of an ONNX file -> the package's session on the CPU, which optimises nothing.

    Raises:
        InputError: no runtime; the runtime refuses the file.
    """
    return _open(model, threads=threads, place=place, cpu_only=True, as_written=True)[1]


def _assigned(session: Any) -> dict[str, int]:
    """Number of operators by provider; empty where the runtime does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)


def read_placement(profile: bytes) -> dict[str, int]:
    """ONNX Runtime's profile (JSON) -> provider -> number of kernels that it ran, most first."""
    ran = Counter(
        str(event["args"]["provider"])
        for event in json.loads(profile)
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    )
    return dict(ran.most_common())


def _providers(ort: Any, *, cpu_only: bool) -> list[str]:
    present = ort.get_available_providers()
    return [name for name in PROVIDERS if name in present and (not cpu_only or name[:3] == "CPU")]


def _check_environment(providers: list[str]) -> None:
    """What no manifest knows must not decide an answer: TensorRT would take calibration tables,
    plugins and engines from wherever the environment says.

    Raises:
        InputError: a variable by which it does.
    """
    prefixes = ("ORT_LOAD_CONFIG_FROM_MODEL", *(GPU_SETTINGS if len(providers) > 1 else ()))
    for name in sorted(os.environ):
        if name.startswith(prefixes):
            raise InputError(
                f"the environment sets {name}, by which onnxruntime takes settings that no report "
                f"tells: unset {name}"
            )


def _open(
    model: bytes,
    *,
    threads: int,
    place: str,
    cpu_only: bool = False,
    optimised: Path | None = None,
    profile: Path | None = None,
    as_written: bool = False,
) -> tuple[str, Any]:
    """The name of the package, and a session.

    ``optimised``: where to leave what it will run; ``profile``: how the file begins that says
    where it ran. ``as_written``: nothing is optimised.
    """
    package, ort = find()
    check_onnx(model, place=place)
    providers = _providers(ort, cpu_only=cpu_only)
    _check_environment(providers)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised anyway, warnings would interrupt
    # Worker threads may spin within a query, as users have it, but not on after it: that would
    # take the cores from the artifact that is measured next. No effect with one thread.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    if profile is not None:
        options.enable_profiling = True
        # Versions that do not know it pass it over.
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.profile_file_prefix = str(profile)
    try:
        return package, ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # its exceptions share no base class
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{place}: onnxruntime refuses the model file: {line}") from None


class _Query:
    """One query through buffers that are bound once, which is ORT's way without allocations."""

    def __init__(
        self, session: Any, inputs: Mapping[str, Port], outputs: Mapping[str, Port], *, batch: int
    ) -> None:
        self._inputs = [_buffer(port, batch) for port in inputs.values()]
        self._outputs = [_buffer(port, batch) for port in outputs.values()]
        self._run = session.run_with_iobinding
        self._binding = session.io_binding()
        for name, x in zip(inputs, self._inputs):
            self._binding.bind_input(name, "cpu", 0, x.dtype, x.shape, x.ctypes.data)
        for name, y in zip(outputs, self._outputs):
            self._binding.bind_output(name, "cpu", 0, y.dtype, y.shape, y.ctypes.data)

    def __call__(self, tensors: Sequence[Array]) -> tuple[Array, ...]:
        for buffer, x in zip(self._inputs, tensors):
            buffer[...] = x
        self._run(self._binding)
        return tuple(y.copy() for y in self._outputs)


def _ports(
    values: Sequence[Any], wanted: Sequence[str] | None, *, what: str, place: str
) -> dict[str, Port]:
    """Inputs or outputs in the order that is wanted."""
    names = [value.name for value in values]
    order = order_of(names, wanted, what=what, place=place)
    return {names[i]: _port(values[i]) for i in order}


def _is_open(port: Port) -> bool:
    return bool(port.shape) and not isinstance(port.shape[0], int)


def _buffer(port: Port, batch: int) -> Array:
    """A first dimension that the file leaves open is the batch.

    Others stand as 1: `check_port` refuses the file later.
    """
    shape = [size if isinstance(size, int) else 1 for size in port.shape]
    if port.shape and not isinstance(port.shape[0], int):
        shape[0] = batch
    return np.zeros(shape, dtype=port.dtype)


def _port(value: Any) -> Port:
    return Port(shape=tuple(value.shape), dtype=DTYPES.get(value.type, value.type))
