"""A loss of the user's own: what it is given, and what it may return."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.models.imported import look_in
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task.own import loss_for, loss_version

CODE = """
import torch


def squared(outputs, targets):
    return ((outputs - targets["values"]) ** 2).mean()


def entropy(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets["label"])


def number(outputs, targets):
    return 1.0


def many(outputs, targets):
    return outputs


def apart(outputs, targets):
    return outputs.detach().mean()


def broken(outputs, targets):
    return targets["value"]
"""

X = np.zeros((4, 2), np.float32)
SPLIT = Split(Tensors((X,), ("x",)), None, targets=Targets(Task("numbers", {}), {"values": X}, 4))
OUTPUTS = torch.ones(4, 2, requires_grad=True)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("losses")
    (folder / "losses_of_a_user.py").write_text(CODE)
    look_in([folder])
    return "losses_of_a_user"


def test_it_gets_outputs_and_targets_by_name(module: str) -> None:
    cfg = TrainConfig(loss=f"{module}:squared")
    assert loss_for(cfg, SPLIT)(OUTPUTS, {"values": torch.zeros(4, 2)}).item() == 1
    classes = Split(np.zeros((2, 1, 1, 1), np.uint8), np.zeros(2, np.int64))
    value = loss_for(TrainConfig(loss=f"{module}:entropy"), classes)(
        OUTPUTS[:2], torch.zeros(2).long()
    )
    assert value.item() == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("number", "returned a float: it should return one number"),
        ("many", r"returned a tensor of shape \[4, 2\]: it should"),
        ("apart", r"returned a tensor of shape \[\] without a gradient"),
        ("broken", "raised KeyError: 'value'"),
    ],
)
def test_what_it_returns_wrongly_is_one_sentence(module: str, name: str, sentence: str) -> None:
    cfg = TrainConfig(loss=f"{module}:{name}")
    with pytest.raises(InputError, match=f"train.loss: {module}:{name} {sentence}"):
        loss_for(cfg, SPLIT)(OUTPUTS, {"values": torch.zeros(4, 2)})


def test_one_that_is_not_there_is_refused_and_its_source_is_known(module: str) -> None:
    with pytest.raises(InputError, match=r"train.loss: .* has no function squarred"):
        loss_for(TrainConfig(loss=f"{module}:squarred"), SPLIT)
    with pytest.raises(InputError, match=r"train.loss: no module losses_of_nobody"):
        loss_version(TrainConfig(loss="losses_of_nobody:squared"))
    assert loss_version(None) == loss_version(TrainConfig()) == ""
    assert loss_version(TrainConfig(loss="mse")) == ""
    assert loss_version(TrainConfig(loss=f"{module}:squared"))


def test_its_file_is_part_of_what_a_stage_depends_on(tmp_path: Path) -> None:
    look_in([tmp_path])
    versions = set()
    for number in (1, 2):
        file = tmp_path / "changing_loss.py"
        file.write_text(f"def f(outputs, targets):\n    return {number} * outputs.mean()\n")
        versions.add(loss_version(TrainConfig(loss="changing_loss:f")))
    assert len(versions) == 2
