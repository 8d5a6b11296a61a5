"""TensorFlow's reference kernels as a second, independent opinion on our TFLite files.

They are slow and simple, share no code with XNNPACK, and round in fixed point, twice: so one code
of difference is theirs to take. LiteRT carries a copy; TensorFlow itself (`pip install
edgeticket[tensorflow]`, 1.8 GB) is asked too where it is installed.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diff_fixtures import images, references, write_small_bundle

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.preprocess import preprocess, to_tensor
from edgeticket.device_runner.taps.tflite_bytes import tap_tflite
from edgeticket.pipeline.diff.layout import find_order
from edgeticket.pipeline.diff.measures import Tally
from edgeticket.pipeline.diff.values import to_codes, to_reals
from edgeticket.pipeline.graph.graph import Quantization


def referee(name: str, model: bytes) -> Any:
    """An interpreter that runs reference kernels only."""
    if name == "tensorflow":
        lite = pytest.importorskip("tensorflow").lite
        make, kinds = lite.Interpreter, lite.experimental.OpResolverType
    else:
        lite = importlib.import_module("ai_edge_litert.interpreter")
        make, kinds = lite.Interpreter, lite.OpResolverType
    interpreter = make(model_content=model, experimental_op_resolver_type=kinds.BUILTIN_REF)
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.filterwarnings("ignore")  # what TensorFlow deprecates of itself
@pytest.mark.parametrize("name", ["litert", "tensorflow"])
def test_reference_kernels_agree_with_every_layer(name: str, tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    with open_bundle(bundle) as opened:
        model = opened.read("artifacts/tflite-int8.tflite")
        steps = opened.manifest.preprocessing
        (entry,) = (a for a in opened.manifest.artifacts if a.id == "tflite-int8")
    interpreter = referee(name, tap_tflite(model, place="it"))
    assert "DELEGATE" not in {op["op_name"] for op in interpreter._get_ops_details()}
    reference = references()["int8"]
    tallies: dict[str, Tally] = {}
    for image in images():
        real = preprocess(image[np.newaxis], steps)
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], to_tensor(real, entry.input)
        )
        interpreter.invoke()
        x = np.ascontiguousarray(real.transpose(0, 3, 1, 2))
        expected = reference.run(x, {})
        maps = [array.shape for array in expected.values() if array.ndim == 4]
        given = {}
        for output in interpreter.get_output_details():
            scale, zero_point = output["quantization"]
            array = to_reals(
                interpreter.get_tensor(output["index"]),
                Quantization(np.float32(scale), zero_point),
            )
            order = find_order(array, expected[output["name"]], maps=maps)
            assert order is not None
            given[output["name"]] = order(array)
        own = reference.run(x, given)
        for value, array in given.items():
            q = reference.quantizations[value]
            tally = tallies.setdefault(value, Tally())
            tally.add(to_codes(own[value], q), to_codes(array, q), q)
    assert len(tallies) == 9
    for value, tally in tallies.items():
        found = tally.difference()
        assert found.max <= 1, value
        assert found.equal > 0.97, value
