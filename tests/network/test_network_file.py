"""Networks on disk: round trips, and files that are not what they should be."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.network.file import import_weights, load_network, save_network
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.mask import channel_mask
from edgeticket.pipeline.prune.shrink import shrink


@pytest.fixture(scope="module")
def narrow() -> Network:
    """A narrow resnet20 with random weights."""
    network = Network.fresh("resnet20", {"width": 8}, seed=0)
    module = network.module()
    groups = find_groups(module, network.input_shape)
    kept = [torch.arange(group.width) % 3 != 1 for group in groups]
    return shrink(network, channel_mask(module, groups, kept))


def test_round_trip(narrow: Network, tmp_path: Path) -> None:
    save_network(narrow, tmp_path / "a")
    loaded = load_network(tmp_path / "a")
    assert loaded.digest == narrow.digest
    save_network(loaded, tmp_path / "b")
    for name in ("network.json", "weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(f.name for f in (tmp_path / "a").iterdir()) == [
        "network.json",
        "weights.safetensors",
    ]


def test_a_fresh_process_gives_the_same_outputs(narrow: Network, tmp_path: Path) -> None:
    save_network(narrow, tmp_path / "net")
    x = torch.randn(2, *narrow.input_shape)
    np.save(tmp_path / "x.npy", x.numpy())
    program = (
        "import sys, pathlib, numpy, torch\n"
        "from edgeticket.pipeline.network.file import load_network\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "module = load_network(folder / 'net').module()\n"
        "assert 'edgeticket.pipeline.prune.channels' not in sys.modules\n"
        "with torch.no_grad():\n"
        "    y = module(torch.from_numpy(numpy.load(folder / 'x.npy')))\n"
        "numpy.save(folder / 'y.npy', y.numpy())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    with torch.no_grad():
        expected = narrow.module()(x).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-6)


def test_weights_without_the_fixed_shortcuts_are_imported(tmp_path: Path) -> None:
    dense = Network.fresh("resnet20", {}, seed=5)
    kept = {
        name: tensor
        for name, tensor in dense.weights.items()
        if "shortcut" not in name and "num_batches" not in name
    }
    save_file(kept, tmp_path / "weights.safetensors")
    imported = import_weights(tmp_path / "weights.safetensors", "resnet20", {})
    assert imported.digest == dense.digest


def _drop(weights: dict[str, Tensor]) -> None:
    del weights["conv1.weight"]


def _add(weights: dict[str, Tensor]) -> None:
    weights["extra"] = torch.zeros(1)


def _misshape(weights: dict[str, Tensor]) -> None:
    weights["linear.weight"] = torch.zeros(100, 64)


def _spoil(weights: dict[str, Tensor]) -> None:
    weights["linear.bias"] = torch.full((10,), float("nan"))


def _round(weights: dict[str, Tensor]) -> None:
    weights["linear.bias"] = weights["linear.bias"].half()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, "conv1.weight is missing"),
        (_add, "extra is unexpected"),
        (_misshape, r"linear.weight has shape \[100, 64\], not \[10, 64\]"),
        (_spoil, "linear.bias contains NaN or infinity"),
        (_round, "linear.bias is torch.float16, not torch.float32"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    change: Callable[[dict[str, Tensor]], None], message: str, tmp_path: Path
) -> None:
    weights = dict(Network.fresh("resnet20", {}, seed=0).weights)
    change(weights)
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=f"does not fit resnet20: {message}"):
        import_weights(tmp_path / "weights.safetensors", "resnet20", {})


def test_only_a_few_problems_are_listed(tmp_path: Path) -> None:
    save_file({"one": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"and \d+ more$") as caught:
        import_weights(tmp_path / "weights.safetensors", "resnet20", {})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("arch", "args", "message"),
    [
        ("resnet_20", {}, "did you mean resnet20"),
        ("resnet20", {"depth": 3}, "no argument 'depth'"),
        ("resnet20", {"width": "wide"}, "not 'wide'"),
    ],
)
def test_unknown_architectures_are_refused(
    arch: str, args: dict[str, int | str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        import_weights(tmp_path / "none.safetensors", arch, args)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        import_weights(tmp_path / "none.safetensors", "lenet5", {})
    save_file(dict(Network.fresh("lenet5", {}, seed=0).weights), tmp_path / "cut.safetensors")
    data = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        import_weights(tmp_path / "cut.safetensors", "lenet5", {})
    (tmp_path / "text.safetensors").write_text("these are no weights, and never were")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        import_weights(tmp_path / "text.safetensors", "lenet5", {})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"version": 2}, "version 2, but only 1 is known"),
        ({"arch": "resnet21"}, "did you mean resnet20"),
        ({"removed": {"conv1.weight": {"0": [0]}}}, "does not fit resnet20"),
        ({"removed": {"conv1.weight": {"0": [99]}}}, "cannot remove from conv1.weight"),
        ({"removed": [1]}, "describes no network"),
    ],
)
def test_damaged_descriptions_are_refused(
    damage: dict[str, object], message: str, narrow: Network, tmp_path: Path
) -> None:
    save_network(replace(narrow, removed={}), tmp_path)
    path = tmp_path / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(InputError, match=message):
        load_network(tmp_path)


def test_a_missing_file_is_named(narrow: Network, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*network\.json"):
        load_network(tmp_path)
    save_network(narrow, tmp_path)
    assert set(load_file(tmp_path / "weights.safetensors")) == set(narrow.weights)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"cannot read weights .*weights\.safetensors"):
        load_network(tmp_path)
