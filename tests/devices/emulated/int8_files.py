"""One network's int8 files for the boards and for this machine, as the pipeline writes them."""

from __future__ import annotations

from collections.abc import Sequence

from diff_fixtures import tensor_spec
from torch import Tensor, nn

from edgeticket.device_runner.manifest import Artifact
from edgeticket.pipeline.convert.onnx_file import write_onnx
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.convert.tflite_file import write_tflite
from edgeticket.pipeline.export import export
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq


def write_int8_files(
    network: nn.Module, values: Sequence[Tensor], *, name: str
) -> list[tuple[Artifact, bytes]]:
    """Round a network with the ranges of ``values``: signed codes for ARM, unsigned ones here."""
    folded = fold_bn(network, tuple(values[0].shape[1:]))
    scales = calibrate(folded, list(values), Ptq(method="ptq"))
    graph = prepare(export(fake_quantized(folded, scales)))
    kinds = {
        "onnx-int8-s8": ("ort", write_onnx(graph, unsigned=False), ("aarch64",)),
        "onnx-int8-u8": ("ort", write_onnx(graph, unsigned=True), ("x86_64",)),
        "tflite-int8": ("tflite", write_tflite(graph), ("aarch64", "x86_64")),
    }
    files = []
    for kind, (runtime, data, architectures) in kinds.items():
        unsigned, last = kind.endswith("u8"), runtime == "tflite"
        inputs, outputs = (
            tuple(tensor_spec(graph, end, last=last, unsigned=unsigned) for end in ends)
            for ends in (graph.inputs, graph.outputs)
        )
        artifact = Artifact(
            id=kind,
            file=f"artifacts/{kind}.{'tflite' if last else 'onnx'}",
            network=name,
            role="deploy",
            runtime=runtime,
            precision="int8",
            architectures=architectures,
            exact_with=(),
            inputs=inputs,
            outputs=outputs,
        )
        files.append((artifact, data))
    return files
