"""What networks answer in torch, in float32, to the first examples that a bundle carries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from edgeticket.device_runner.strict_json import format_json
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.graph.batches import leaves_of, tensors_of
from edgeticket.pipeline.reference.outputs import Reference, bytes_of, fitting_count
from edgeticket.pipeline.train import to_torch


@torch.inference_mode()
def reference_of(network: Network, carried: Split, data: Dataset) -> Reference:
    """The outputs of ``network`` for the first queries of ``carried``, one at a time, as devices
    ask them."""
    module = network.module()
    queries = carried.queries()

    def answer(at: int) -> list[np.ndarray]:
        batch = tensors_of(to_torch(queries[at : at + 1], data.preprocessing))
        return [output[0].numpy() for output in leaves_of(module(*batch))]

    first = answer(0)
    count = fitting_count(len(queries), bytes_of(first))
    rows = [first, *(answer(at) for at in range(1, count))]
    outputs = tuple(np.stack(parts) for parts in zip(*rows, strict=True))
    return Reference(f"torch {torch.__version__}, float32", outputs)


def save_reference(folder: Path, name: str, reference: Reference) -> None:
    """Write it beside the artifacts of a stage."""
    for i, output in enumerate(reference.outputs):
        np.save(folder / f"reference-{name}-{i}.npy", output, allow_pickle=False)
    described = {"made_by": reference.made_by, "outputs": len(reference.outputs)}
    (folder / f"reference-{name}.json").write_bytes(format_json(described))


def load_reference_outputs(folder: Path, name: str) -> Reference:
    """Read what `save_reference` wrote."""
    described = json.loads((folder / f"reference-{name}.json").read_bytes())
    outputs = tuple(
        np.load(folder / f"reference-{name}-{i}.npy", allow_pickle=False)
        for i in range(described["outputs"])
    )
    return Reference(described["made_by"], outputs)
