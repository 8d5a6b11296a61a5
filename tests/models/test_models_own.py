"""Networks from elsewhere: torchvision's, and functions of the user's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.imported import look_in, source_digest
from edgeticket.models.network import Network
from edgeticket.models.own import build_own
from edgeticket.models.torchvision_cure import import_torchvision
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.data.examples import Dataset
from edgeticket.pipeline.network.file import import_weights, load_network, save_network
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.recipe import ModelConfig, Recipe, check
from edgeticket.pipeline.run.candidate import Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.fitting import check_takes
from edgeticket.pipeline.run.passes import apply_pass
from edgeticket.pipeline.store import Store

SHAPE = (3, 32, 32)
NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 16, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(16, classes)
        self.register_buffer("scale", torch.full((1,), 2.0), persistent=False)
    def forward(self, x):
        return self.head(self.features(x).mean((2, 3))) * self.scale.item()

def make(width=16, classes=4):
    return Net(width, classes)

def trained():
    net = Net(16, 4)
    nn.init.constant_(net.head.bias, 7.0)
    return net

def fails(): raise RuntimeError("no such\\ndisk")
def half(): return Net(16, 4).half()
def text(): return "a network"
def frozen(): return Net(16, 4).requires_grad_(False)
class Two(Net):
    def forward(self, x): return super().forward(x), x
def two(): return Two(16, 4)
def fixed(): return nn.Sequential(nn.Flatten(), nn.Linear(7, 4))
"""


@pytest.fixture(autouse=True)
def their_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.getbasetemp() / "code"
    folder.mkdir(exist_ok=True)
    (folder / "their_nets.py").write_text(NETS)
    look_in((folder,))
    return folder


def data(count: int = 60, side: int = 32) -> Dataset:
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int64) % 4
    inputs = rng.integers(0, 100, (count, side, side, 3)).astype(np.uint8)
    inputs += (50 * labels[:, None, None, None]).astype(np.uint8)
    split = Split(inputs, labels)
    steps = ({"op": "normalize", "mean": [127.5] * 3, "std": [64.0] * 3},)
    return Dataset("made up", split, split, split, split, tuple("abcd"), steps)


def recipe(model: dict[str, Any], *passes: dict[str, Any], **keys: Any) -> Recipe:
    common = {"name": "own", "data": {"name": "digits"}, "model": model, "compress": [*passes]}
    return check(Recipe, {**common, **keys}, place="test")


TRAIN = {"epochs": 3, "batch_size": 20, "lr": 0.05}
PASSES: dict[str, dict[str, Any]] = {
    "channel_magnitude": {"budget": {"macs": 0.6}},
    "magnitude": {"sparsity": 0.5},
    "finetune": {"train": {"epochs": 1, "batch_size": 20, "distil": {"soft_targets": {}}}},
    "ptq": {},
    "qat": {"train": {"epochs": 2, "batch_size": 20, "lr": 1e-3}},
}


@pytest.mark.parametrize(
    "model",
    [
        {"import": "their_nets:make", "args": {"width": 24}},
        {"torchvision": "mobilenet_v2", "args": {"num_classes": 4, "width_mult": 0.25}},
    ],
    ids=lambda model: str(next(iter(model.values()))),
)
def test_every_pass_works_on_them(model: dict[str, Any], tmp_path: Path) -> None:
    """Training, pruning of channels and of weights, a teacher, int8 with and without training."""
    plan = recipe(model, *({"method": name, **keys} for name, keys in PASSES.items()), train=TRAIN)
    job = Job(plan, data(), Store(tmp_path / "stages"), QUIET)
    candidate = dense = dense_network(job)
    for position in range(len(plan.compress)):
        candidate = apply_pass(job, candidate, position)
    assert candidate.scales is not None
    assert candidate.mask is not None
    assert candidate.log[-1]["parameters"] < dense.log[-1]["parameters"]
    assert candidate.log[-1]["validation_agreement"] > 0.8
    assert dense_network(job).digest == dense.digest


def test_a_network_comes_back_from_disk_with_the_code_that_built_it(tmp_path: Path) -> None:
    network = Network.fresh("import:their_nets:make", {"width": 8}, seed=1, takes=SHAPE)
    x = torch.rand(2, *SHAPE)
    save_network(network, tmp_path)
    with pytest.raises(InputError, match="building it runs that code"):
        load_network(tmp_path)
    for trusted in ("*", "import:their_nets:make"):
        again = load_network(tmp_path, trusted=trusted)
        assert again.digest == network.digest
        assert again.input_shape == SHAPE
        assert torch.equal(again.module()(x), network.module()(x))


def test_what_is_not_in_the_state_is_as_it_was_built() -> None:
    network = Network.fresh("import:their_nets:make", {}, seed=1, takes=SHAPE)
    assert float(network.module().scale) == 2.0
    assert "scale" not in network.weights


def test_removed_channels_leave_the_function_as_it_was() -> None:
    args = {"num_classes": 4, "width_mult": 0.25}
    network = Network.fresh("torchvision:mobilenet_v2", args, seed=0, takes=SHAPE)
    module = network.module()
    group = next(g for g in find_groups(module, SHAPE) if len(g.producers) >= 4)
    mask = {n: torch.ones(t.shape, dtype=torch.bool) for n, t in network.weights.items() if t.ndim}
    for layer, span in group.producers.items():
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in mask:
                mask[name][list(span.indices[:3])] = False
    kept = {n: m for n, m in mask.items() if not m.all()}
    narrow = shrink(network, Mask(kept))
    x = torch.rand(2, *SHAPE)
    assert sum(t.numel() for t in narrow.weights.values()) < sum(
        t.numel() for t in network.weights.values()
    )
    torch.testing.assert_close(narrow.module()(x), Mask(kept).apply(network).module()(x))


def test_an_imported_function_may_bring_trained_weights(tmp_path: Path) -> None:
    plan = recipe({"import": "their_nets:trained", "trained": True}, {"method": "ptq"})
    job = Job(plan, data(), Store(tmp_path), QUIET)
    assert (dense_network(job).network.weights["head.bias"] == 7.0).all()


def test_stages_know_the_source_of_what_was_imported(their_code: Path) -> None:
    before = source_digest("their_nets:make")
    (their_code / "their_nets.py").write_text(NETS.replace("stride=2", "stride=1"))
    assert source_digest("their_nets:make") != before
    (their_code / "their_nets.py").write_text(NETS)
    assert source_digest("their_nets:make") == before


@pytest.mark.parametrize(
    ("arch", "args", "sentence"),
    [
        ("import:their_nets:fails", {}, "fails raised RuntimeError: no such disk"),
        ("import:their_nets:make", {"depth": 3}, "raised TypeError: make.. got an unexpected"),
        ("import:their_nets:text", {}, "returned a str, not a torch.nn.Module"),
        ("import:their_nets:half", {}, "features.0.weight is torch.float16: return the network"),
        ("import:their_nets:frozen", {}, "without parameters that can be trained"),
        ("import:their_nets:absent", {}, "their_nets has no function absent"),
        ("import:absent_nets:make", {}, "no module absent_nets"),
        ("torchvision:mobilnet_v2", {}, "torchvision has no model 'mobilnet_v2' .it has mobilenet"),
        ("torchvision:resnet18", {"widht": 3}, "raised TypeError"),
        ("import:their_nets:two", {}, "gives a tuple for two inputs"),
        ("import:their_nets:fixed", {}, "does not take inputs of 3x32x32"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(
    arch: str, args: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        check_takes(arch, args, data(), place="model")
    assert str(caught.value).startswith("model: ")
    assert "\n" not in str(caught.value)


def test_what_installs_timm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'edgeticket.timm.'"):
        check_takes("timm:resnet18", {}, data(), place="model")


def test_outputs_are_counted() -> None:
    assert check_takes("import:their_nets:make", {"classes": 9}, data(), place="model") == 9


@pytest.mark.parametrize(
    ("wrap", "suffix"),
    [
        (lambda state: state, "pth"),
        (lambda state: {"epoch": 3, "model": state}, "pt"),
        (lambda state: {"state_dict": {f"module.{n}": t for n, t in state.items()}}, "ckpt"),
    ],
)
def test_weights_as_training_scripts_save_them(wrap: Any, suffix: str, tmp_path: Path) -> None:
    module = build_own("import:their_nets:make", {})
    file = tmp_path / f"weights.{suffix}"
    torch.save(wrap(module.state_dict()), file)
    network = import_weights(file, "import:their_nets:make", {}, takes=SHAPE)
    x = torch.rand(2, *SHAPE)
    assert torch.equal(network.module()(x), module.eval()(x))


def test_names_of_tensors_can_be_changed(tmp_path: Path) -> None:
    state = build_own("import:their_nets:make", {}).state_dict()
    save_file({f"_{n}": t for n, t in state.items()}, tmp_path / "w.safetensors")
    arch, file = "import:their_nets:make", tmp_path / "w.safetensors"
    assert import_weights(file, arch, {}, rename={"^_": ""}).weights.keys() == state.keys()
    with pytest.raises(InputError, match=r"features\.0\.weight is missing"):
        import_weights(file, arch, {})
    with pytest.raises(InputError, match=r"gives two tensors of .* one name"):
        import_weights(file, arch, {}, rename={".*": "x"})
    with pytest.raises(InputError, match=r"model\.rename: "):
        import_weights(file, arch, {}, rename={"(": "x"})


def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(InputError, match="holds more than tensors"):
        import_weights(tmp_path / "whole.pt", "import:their_nets:make", {})
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:200])
    with pytest.raises(InputError, match="is not a whole file of"):
        import_weights(tmp_path / "cut.pt", "import:their_nets:make", {})


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({}, "exactly one of arch, import, torchvision, timm, onnx"),
        ({"arch": "lenet5", "torchvision": "resnet18"}, "exactly one of"),
        ({"arch": "lenet5", "trained": True}, "trained is for an imported function"),
        ({"import": "a:b", "weights": "w", "trained": True}, "trained is for"),
        ({"imports": "a:b"}, "did you mean import?"),
    ],
)
def test_recipes_name_one_architecture(model: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        check(ModelConfig, model, place="model")
    assert sentence in str(caught.value)


def test_torchvisions_own_weights_fit(tmp_path: Path) -> None:
    module = import_torchvision().models.squeezenet1_1(num_classes=4).eval()
    torch.save(module.state_dict(), tmp_path / "w.pth")
    arch = "torchvision:squeezenet1_1"
    network = import_weights(tmp_path / "w.pth", arch, {"num_classes": 4}, takes=SHAPE)
    x = torch.rand(2, *SHAPE)
    assert torch.equal(network.module()(x), module(x))
