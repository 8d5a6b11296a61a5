"""A teacher that looks at each view of an example once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distil_fixtures import DATA, LARGE
from torch import Tensor, nn
from training_fixtures import StopAfter

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Teacher
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import Distil, Features, SoftTargets, TrainConfig
from edgeticket.pipeline.train import train
from edgeticket.pipeline.train.augment import draw
from edgeticket.pipeline.train.batches import check_moves

OUTPUTS = Distil(soft_targets=SoftTargets(weight=0.9), cross_entropy=0.1)
LAYERS = Distil(features=Features(layers=(("features", "features"),)))


def trained(
    *,
    views: int | None,
    epochs: int = 5,
    distil: Distil = OUTPUTS,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Network:
    student = Network.fresh("digits_cnn", {"width": 4}, seed=1)
    module = student.module()
    cfg = TrainConfig(
        epochs=epochs, batch_size=50, lr=0.05, augment="shift", views=views, distil=distil
    )
    split = DATA.taught_by(Teacher(LARGE, DATA.preprocessing)).train
    train(
        module,
        split,
        cfg,
        preprocessing=DATA.preprocessing,
        seed=7,
        resume=resume,
        progress=progress,
    )
    return student.with_weights(module)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often the teacher was shown each picture."""
    seen = Counter[bytes]()
    module_of = Network.module

    def module(network: Network) -> nn.Module:
        built = module_of(network)
        if network is LARGE:
            built.register_forward_pre_hook(lambda _, given: count(given[0]))
        return built

    def count(batch: Tensor) -> None:
        seen.update(picture.numpy().tobytes() for picture in batch)

    monkeypatch.setattr(Network, "module", module)
    return seen


def test_the_teacher_looks_once(looked_at: Counter[bytes]) -> None:
    trained(views=2)
    whole = 2 * len(DATA.train) + 2  # and two examples, to see the shapes
    assert looked_at.total() == whole


@pytest.mark.parametrize(("views", "distil"), [(None, OUTPUTS), (2, LAYERS)])
def test_it_looks_in_every_epoch(
    views: int | None, distil: Distil, looked_at: Counter[bytes]
) -> None:
    """Where changes are new each time, and where its layers are wanted, too."""
    trained(views=views, distil=distil)
    steps = len(DATA.train) // 50
    assert looked_at.total() == 5 * steps * 50 + 2


def test_what_is_kept_teaches_as_the_teacher_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """An example in its view, and no other, whatever the order: else they would teach nonsense."""
    kept = trained(views=2)
    monkeypatch.setattr("edgeticket.pipeline.train.loop._ask", lambda *_: None)
    asked = trained(views=2)
    for name, value in kept.weights.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, asked.weights[name], rtol=1e-3, atol=1e-4)


def test_views_come_round_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[int, bytes]] = []
    from edgeticket.pipeline.train import epoch

    as_taken = epoch.as_taken

    def record(stored: Any, preprocessing: Any, part: Any = None) -> Any:
        if part is not None:
            numbers = part.order.tolist()
            shown.append({n: x.numpy().tobytes() for n, x in zip(numbers, stored, strict=True)})
        return as_taken(stored, preprocessing, part)

    monkeypatch.setattr(epoch, "as_taken", record)
    trained(views=2)
    steps = len(DATA.train) // 50
    epochs: list[dict[int, bytes]] = [{} for _ in range(5)]
    for step, batch in enumerate(shown):
        epochs[step // steps] |= batch

    def differ(first: int, second: int) -> float:
        both = epochs[first].keys() & epochs[second].keys()
        return float(np.mean([epochs[first][n] != epochs[second][n] for n in both]))

    assert differ(0, 2) == differ(0, 4) == differ(1, 3) == 0
    assert differ(0, 1) > 0.5
    assert list(epochs[0]) != list(epochs[2])  # the order is new


def test_an_interrupted_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    undisturbed = trained(views=2)
    steps = len(DATA.train) // 50
    with pytest.raises(KeyboardInterrupt):
        trained(views=2, resume=tmp_path / "state.pt", progress=StopAfter(3 * steps + 2))
    assert trained(views=2, resume=tmp_path / "state.pt").digest == undisturbed.digest
    assert undisturbed.digest != trained(views=3).digest


def test_recordings_are_changed_anew() -> None:
    with pytest.raises(InputError, match=r"train\.views: 2 .* speech changes recordings anew"):
        check_moves("speech", DATA.train, views=2)


def test_a_part_of_a_draw_may_be_in_any_order() -> None:
    drawn = draw("crop_flip", 20, seed=3)
    some = torch.tensor([7, 0, 19])
    part = drawn.take(some)
    assert part.order.tolist() == drawn.order[some].tolist()
    assert part.corner.tolist() == drawn.corner[some].tolist()
    assert part.mirror.tolist() == drawn.mirror[some].tolist()
