"""Whether an installed package can run a model here, found out by a process of its own.

That a package is there, or even that its import works, says little: one that was built for
another CPU dies of SIGILL, tflite-runtime 2.14 beside numpy 2 fails at its first model. So a
process is started that runs one, of a single operator.
"""

from __future__ import annotations

import base64
import functools
import importlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Callable

import numpy as np

from edgeticket.device_runner.child import run_child, take_output, tell_signal
from edgeticket.device_runner.plain_text import clean_line

LIMIT_S = 120.0  # an import under QEMU, or from a slow card, takes up to half a minute

# y = max(x, 0) over float32 [1, 4], as ONNX (opset 13) and as TFLite (schema version 3).
ONNX = base64.b64decode(
    "CAgSADo7CgwKAXgSAXkiBFJlbHUSAWdaEwoBeBIOCgwIARIICgIIAQoCCARiEwoBeRIOCgwIARIICgIIAQoCCARCBAoA"
    "EA0="
)
TFLITE = base64.b64decode(
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAcAAAA2AAAAAMAAAABAAAACAAAAAQABAAEAAAAAQAAABAA"
    "AAAMABQAEAAMAAgABAAMAAAAEAAAADwAAABAAAAARAAAAAEAAAAQAAAAAAAKAAwAAAAIAAQACgAAAAgAAAAMAAAA"
    "AQAAAAEAAAABAAAAAAAAAAEAAAABAAAAAQAAAAAAAAACAAAANAAAAAQAAADg////CAAAAAwAAAABAAAAeQAAAAIA"
    "AAABAAAABAAAAAwADAAIAAAAAAAEAAwAAAAIAAAADAAAAAEAAAB4AAAAAgAAAAEAAAAEAAAAAQAAABAAAAAMAAwA"
    "CwAAAAAABAAMAAAAEwAAAAAAABM="
)
X = np.array([[-1, 2, -3, 4]], dtype=np.float32)


@functools.cache
def why_not(runtime: str, module: str) -> str | None:
    """Why a package's module cannot run a model here, in words; None: it can. Asked once.

    Args:
        runtime: a key of `TRIALS`.
        module: what to import.
    """
    try:
        done = run_child(__name__, [runtime, module], timeout_s=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"no answer to a model of one operator for {LIMIT_S:g} s"
    except OSError as error:
        return f"no process can be started to try it: {error.strerror or error}"
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        lines = [clean_line(line) for line in done.stderr.splitlines()]
        last = next((f": {line}" for line in reversed(lines) if line), "")
        if done.returncode < 0:
            return f"it dies of {tell_signal(-done.returncode)}{last}"
        return f"it ends the process with {done.returncode}{last}"
    return None if answer is None else clean_line(str(answer))


def main(arguments: Sequence[str]) -> None:
    """Try one module, and print as JSON why not, or null."""
    runtime, module = arguments
    answer = take_output()
    reason: str | None = None
    try:
        TRIALS[runtime](importlib.import_module(module))
    except BaseException as error:  # SystemExit, too
        reason = f"{type(error).__name__}: {error}"
    answer.write(json.dumps(reason))
    answer.flush()
    os._exit(0)  # what a runtime does at the end of a process is not asked


def _try_ort(ort: Any) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(ONNX, options, providers=["CPUExecutionProvider"])
    _check(session.run(None, {"x": X})[0])


def _try_tflite(tflite: Any) -> None:
    interpreter = tflite.Interpreter(model_content=TFLITE, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], X)
    interpreter.invoke()
    _check(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _check(y: Any) -> None:
    if np.asarray(y).tolist() != np.maximum(X, 0).tolist():
        raise ArithmeticError(f"max(x, 0) of {X.tolist()} is {np.asarray(y).tolist()} by it")


TRIALS: Mapping[str, Callable[[Any], None]] = {"ort": _try_ort, "tflite": _try_tflite}
