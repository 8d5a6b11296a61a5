"""Layer by layer: an error in a file is pinned to its layer, and nothing else is blamed."""

from __future__ import annotations

from pathlib import Path

import pytest
from diff_fixtures import (
    Plant,
    dropped_bias,
    references,
    transposed_kernel,
    write_small_bundle,
    wrong_output_scale,
    wrong_weight_scale,
)

from device_runner.taps.file import open_taps
from device_runner.taps.tap import tap
from pipeline.diff import ArtifactDiff, Bounds, compare_taps
from pipeline.diff.reference import Reference
from pipeline.progress import QUIET

PLANTS: dict[str, tuple[Plant, str]] = {
    "weight scale, convolution": (wrong_weight_scale("wide"), "wide"),
    "weight scale, depthwise": (wrong_weight_scale("depth"), "depth"),
    "weight scale, behind a flattened map": (wrong_weight_scale("hidden"), "hidden"),
    "output scale, convolution": (wrong_output_scale("wide"), "wide"),
    "output scale, addition": (wrong_output_scale("add"), "add"),
    "transposed kernel": (transposed_kernel("wide"), "wide"),
    "transposed depthwise kernel": (transposed_kernel("depth"), "depth"),
    "transposed kernel, first layer": (transposed_kernel("first"), "first"),
    "dropped bias": (dropped_bias("point"), "point"),
    "dropped bias, linear": (dropped_bias("last"), "last"),
}


def judge(bundle: Path, artifact: str, reference: Reference, folder: Path) -> ArtifactDiff:
    file = folder / f"{artifact}.npz"
    tap(bundle, file, artifact=artifact)
    with open_taps(file) as taps:
        found = compare_taps(
            bundle, [taps], {artifact: reference}, hosts={}, bounds=Bounds(), progress=QUIET
        )
    return found.artifacts[0]


@pytest.mark.parametrize("artifact", ["ort-int8", "tflite-int8"])
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_error_is_pinned_to_its_layer(plant: str, artifact: str, tmp_path: Path) -> None:
    make, layer = PLANTS[plant]
    bundle = write_small_bundle(tmp_path / "b", {artifact: make})
    found = judge(bundle, artifact, references()["int8"], tmp_path)
    assert [row.name for row in found.layers if row.over] == [layer]
