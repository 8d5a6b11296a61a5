"""The training loop: reproducible, resumable, honest about divergence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_fixtures import StopAfter

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.preprocess import preprocess
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Split, load_dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import DataConfig, TrainConfig
from edgeticket.pipeline.train import evaluate, lr_share, normalize, steps_per_epoch, train
from edgeticket.pipeline.train.augment import Draw, draw

DATA = load_dataset(
    DataConfig(name="digits", train=300, validation=500, test=100), seed=0, folder=Path()
)
CFG = TrainConfig(epochs=4, batch_size=50, lr=0.05, augment="shift")


def trained(
    arch: str = "digits_cnn",
    cfg: TrainConfig = CFG,
    *,
    seed: int = 7,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Network:
    network = Network.fresh(arch, {"width": 4} if arch == "digits_cnn" else {}, seed=0)
    module = network.module()
    train(
        module,
        DATA.train,
        cfg,
        preprocessing=DATA.preprocessing,
        seed=seed,
        resume=resume,
        progress=progress,
    )
    return network.with_weights(module)


def test_training_learns_digits() -> None:
    module = trained(cfg=CFG.model_copy(update={"epochs": 40})).module()
    result = evaluate(module, DATA.validation, preprocessing=DATA.preprocessing)
    assert result.top1 > 0.6
    assert result.outputs.shape == (500, 10)
    assert result.top1 == float((result.predictions == DATA.validation.labels).mean())


def test_the_result_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = trained()
    torch.manual_seed(2)
    torch.rand(3)
    assert trained().digest == first.digest
    assert trained(seed=8).digest != first.digest


def test_every_epoch_has_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = []

    def record(augment: str, examples: int, *, seed: int) -> Draw:
        plans.append(draw(augment, examples, seed=seed))
        return plans[-1]

    monkeypatch.setattr("edgeticket.pipeline.train.epoch.draw", record)
    trained("lenet5")
    assert len({tuple(plan.order.tolist()) for plan in plans}) == CFG.epochs
    assert len({tuple(plan.corner.flatten().tolist()) for plan in plans}) == CFG.epochs


def test_a_long_training_says_what_its_time_went_to(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Listening(type(QUIET)):  # type: ignore[misc]
        def say(self, line: str) -> None:
            said.append(line)

    trained(progress=Listening())
    assert not said  # a second is not worth a line
    monkeypatch.setattr("edgeticket.pipeline.train.pace.WORTH_A_LINE_S", 0.0)
    trained(progress=Listening())
    (line,) = said
    found = re.fullmatch(
        r"  train: ([\d,]+) examples a second; (\d+)% of the time was not the network's", line
    )
    assert found is not None
    assert int(found[1].replace(",", "")) > 10
    assert 0 <= int(found[2]) < 100


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_interrupted_run_ends_in_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    cfg = CFG.model_copy(update={"optimizer": optimizer, "lr": 0.01})
    undisturbed = trained(cfg=cfg)
    for steps in (8, 9):  # in the second epoch; then again, in the third
        with pytest.raises(KeyboardInterrupt):
            trained(cfg=cfg, resume=tmp_path / "state.pt", progress=StopAfter(steps))
    resumed = trained(cfg=cfg, resume=tmp_path / "state.pt")
    assert resumed.digest == undisturbed.digest
    # A finished run that is asked for again is not repeated.
    again = trained(cfg=cfg, resume=tmp_path / "state.pt", progress=StopAfter(25))
    assert again.digest == undisturbed.digest
    assert [f.name for f in tmp_path.iterdir()] == ["state.pt"]


def test_bfloat16_multiplies_and_float32_remembers() -> None:
    seen = []

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        seen.append(outputs.dtype)
        return nn.functional.cross_entropy(outputs, labels)

    networks = []
    for precision in ("fp32", "bf16"):
        module = Network.fresh("digits_cnn", {"width": 4}, seed=0).module()
        module.classifier.register_forward_hook(lambda *a: seen.append(a[2].dtype))
        cfg = CFG.model_copy(update={"precision": precision, "epochs": 1})
        train(module, DATA.train, cfg, preprocessing=DATA.preprocessing, seed=7, loss=loss)
        networks.append(module.state_dict())
    half = len(seen) // 2
    assert set(seen[:half]) == {torch.float32}
    assert set(seen[half::2]) == {torch.bfloat16}  # the classifier
    assert set(seen[half + 1 :: 2]) == {torch.float32}  # what the loss is given
    exact, rounded = networks
    for name, value in rounded.items():
        assert value.dtype == exact[name].dtype, name
        if value.is_floating_point():
            torch.testing.assert_close(value, exact[name], rtol=0.2, atol=0.02)
    assert any(not torch.equal(value, exact[name]) for name, value in rounded.items())


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    trained("lenet5", CFG.model_copy(update={"epochs": 1}), resume=tmp_path / "state.pt")
    with pytest.raises(InputError, match="belongs to another run"):
        trained("lenet5", resume=tmp_path / "state.pt")
    with pytest.raises(InputError, match="belongs to another network"):
        trained("lenet300", CFG.model_copy(update={"epochs": 1}), resume=tmp_path / "state.pt")
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:1000])
    with pytest.raises(InputError, match="is damaged"):
        trained("lenet5", resume=tmp_path / "state.pt")


def test_divergence_is_reported() -> None:
    cfg = CFG.model_copy(update={"lr": 1e6, "warmup": 0.0})
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in epoch 1, step \d.*lower"):
        trained("lenet5", cfg)


def test_fixed_parameters_stay_and_small_ones_do_not_decay() -> None:
    network = Network.fresh("resnet20", {"width": 2, "in_channels": 1}, seed=0)
    module = network.module()
    images = Split(np.zeros((8, 32, 32, 1), np.uint8), np.zeros(8, np.int64))

    def nothing(outputs: Tensor, labels: Tensor) -> Tensor:
        return 0 * outputs.sum()

    cfg = TrainConfig(epochs=1, batch_size=8, lr=0.1, weight_decay=0.1, warmup=0.0)
    train(module, images, cfg, preprocessing=(), seed=0, loss=nothing)
    after = network.with_weights(module).weights
    for name, before in network.weights.items():
        shrunk = 1 - 0.1 * 0.1 * 1.9  # one Nesterov step on the decay alone
        if "shortcut" in name or name.endswith("bias") or ".bn" in name or name == "bn1.weight":
            if "running" not in name and "num_batches" not in name:
                assert torch.equal(after[name], before), name
        elif "weight" in name:
            torch.testing.assert_close(after[name], before * shrunk)


def test_adam_lr_trains_apart() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 2)
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.linear(x.mean((2, 3))) + self.scale.sum()
            return outputs

    module = Scaled()
    images = Split(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, np.int64))
    cfg = TrainConfig(epochs=1, batch_size=4, lr=1e-9, warmup=0.0)
    train(
        module,
        images,
        cfg,
        preprocessing=(),
        seed=0,
        loss=lambda outputs, labels: outputs.sum(),
        adam_lr={"scale": 0.25},
    )
    # Adam's first step is its learning rate, whatever the gradient.
    torch.testing.assert_close(module.scale.detach(), torch.full((3,), 0.75))


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from edgeticket.models.network import Network\n"
        "from edgeticket.pipeline.data import load_dataset\n"
        "from edgeticket.pipeline.recipe import DataConfig, TrainConfig\n"
        "from edgeticket.pipeline.train import train\n"
        "sizes = dict(train=300, validation=500, test=100)\n"
        "data = load_dataset(DataConfig(name='digits', **sizes), seed=0, folder=Path())\n"
        "network = Network.fresh('lenet5', {}, seed=0)\n"
        "module = network.module()\n"
        "cfg = TrainConfig(epochs=4, batch_size=50, lr=0.05, augment='shift')\n"
        "state = Path(sys.argv[1])\n"
        "train(module, data.train, cfg, preprocessing=data.preprocessing, seed=7, resume=state)\n"
    )
    launch = [sys.executable, "-m", "lightning_fabric.cli", "--accelerator", "cpu"]
    launch += ["--strategy", "ddp", "--devices", "2", str(program), str(tmp_path / "state.pt")]
    done = subprocess.run(launch, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["epochs"] == 4
    for name, tensor in trained("lenet5").weights.items():
        torch.testing.assert_close(state["module"][name], tensor, atol=1e-4, rtol=1e-3)


def test_normalisation_has_the_bits_of_the_runner() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    steps = [{"op": "normalize", "mean": [125.307, 122.95, 0.1], "std": [62.993, 0.3, 66.705]}]
    here = normalize(torch.from_numpy(images), steps).permute(0, 2, 3, 1).numpy()
    assert here.tobytes() == preprocess(images, steps).tobytes()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schedule": "cosine", "warmup": 0.0}, {0.0: 1.0, 0.5: 0.5, 1.0: 0.0}),
        ({"schedule": "cosine", "warmup": 0.2}, {0.0: 0.01, 0.1: 0.505, 0.2: 1.0, 1.0: 0.0}),
        ({"schedule": "step", "warmup": 0.0}, {0.0: 1.0, 0.49: 1.0, 0.5: 0.1, 0.75: 0.01}),
        ({"schedule": "constant", "warmup": 0.0}, {0.0: 1.0, 0.99: 1.0}),
    ],
)
def test_learning_rate(changes: dict[str, object], expected: dict[float, float]) -> None:
    cfg = TrainConfig(**changes)
    assert {share: pytest.approx(lr_share(cfg, share)) for share in expected} == expected


def test_batches_fill_up() -> None:
    assert steps_per_epoch(DATA.train, TrainConfig(batch_size=128)) == 2
    assert steps_per_epoch(DATA.train, TrainConfig(batch_size=1000)) == 1


def test_augmentation_shifts_whole_images() -> None:
    images = torch.zeros(200, 9, 9, 1, dtype=torch.uint8)
    images[:, 4, 4] = 255
    plan = draw("shift", 200, seed=0)
    assert sorted(plan.order.tolist()) == list(range(200))
    where = plan.apply(images).flatten(1).argmax(1)
    shifts = {(int(i) // 9 - 4, int(i) % 9 - 4) for i in where}
    assert shifts == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}
    assert torch.equal(draw("none", 200, seed=0).apply(images), images)


def test_augmentation_mirrors_half_of_the_images() -> None:
    images = torch.zeros(400, 32, 32, 3, dtype=torch.uint8)
    images[:, 16, 14] = 1
    images[:, 16, 15] = 2
    moved = draw("crop_flip", 400, seed=0).apply(images).amax((1, 3)).int()
    mirrored = moved.argmax(1) < torch.where(moved == 1, 1, 0).argmax(1)
    assert 150 < int(mirrored.sum()) < 250
    assert (moved.sum(1) == 3).all()
