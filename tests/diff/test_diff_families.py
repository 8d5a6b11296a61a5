"""An error in one layer is found in networks of the families that people deploy."""

from __future__ import annotations

from pathlib import Path

import pytest
from diff_families import FAMILIES
from diff_fixtures import Plant, dropped_bias, references, write_small_bundle, wrong_weight_scale

from edgeticket.device_runner.taps.file import open_taps
from edgeticket.device_runner.taps.tap import tap
from edgeticket.pipeline.diff import ArtifactDiff, Bounds, compare_taps
from edgeticket.pipeline.progress import QUIET

PLANTS: dict[str, list[tuple[list[str], Plant]]] = {
    "detector": [(["head_1"], wrong_weight_scale("head_1"))],
    "unet": [(["up_phases"], wrong_weight_scale("up_phases"))],
    "gru": [
        (["gru_gru_input"], wrong_weight_scale("gru_gru_input")),
        # Every step has the same weight; the first one multiplies it with zeros.
        ([f"gru_gru_t{i}_state" for i in range(1, 8)], wrong_weight_scale("gru_gru_t3_state")),
    ],
    "vit": [(["layer_linear1"], dropped_bias("layer_linear1"))],
}


def judge(name: str, plant: Plant | None, folder: Path) -> dict[str, ArtifactDiff]:
    artifacts = ("ort-int8", "tflite-int8")
    planted = dict.fromkeys(artifacts, plant) if plant else None
    bundle = write_small_bundle(folder / "b", planted, FAMILIES[name])
    found = {}
    for artifact in artifacts:
        tap(bundle, folder / f"{artifact}.npz", artifact=artifact)
        with open_taps(folder / f"{artifact}.npz") as taps:
            found[artifact] = compare_taps(
                bundle,
                [taps],
                {artifact: references(FAMILIES[name])["int8"]},
                hosts={},
                bounds=Bounds(),
                progress=QUIET,
            ).artifacts[0]
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_a_good_file_is_within_bounds(name: str, tmp_path: Path) -> None:
    for found in judge(name, None, tmp_path).values():
        assert found.first_over is None, [row.name for row in found.layers if row.over]


@pytest.mark.parametrize(
    ("name", "layers", "plant"),
    [(name, layers, plant) for name, plants in PLANTS.items() for layers, plant in plants],
)
def test_a_planted_error_is_pinned_to_its_layer(
    name: str, layers: list[str], plant: Plant, tmp_path: Path
) -> None:
    for found in judge(name, plant, tmp_path).values():
        assert [row.name for row in found.layers if row.over] == layers
