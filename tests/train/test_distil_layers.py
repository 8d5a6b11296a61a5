"""Distillation on layers: found by name wherever the network is, in every training."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from distil_fixtures import ALL, DATA, LARGE
from torch import nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Teacher
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.quantize import fold_bn
from edgeticket.pipeline.recipe import (
    PASS_CONFIGS,
    Distil,
    Features,
    Qat,
    TrainConfig,
    check,
)
from edgeticket.pipeline.run.candidate import Candidate
from edgeticket.pipeline.run.quantize_passes import quantize_while_training
from edgeticket.pipeline.tickets import TICKETS
from edgeticket.pipeline.tickets.masked import Masked, Span
from edgeticket.pipeline.train import normalize
from edgeticket.pipeline.train.distil import Distillation
from edgeticket.pipeline.train.distil.taps import Taps


def lesson(student: nn.Module, distil: Distil, teacher: nn.Module) -> Distillation:
    few = torch.from_numpy(DATA.train.inputs[:4])
    see = functools.partial(normalize, preprocessing=DATA.preprocessing)
    return Distillation(
        student, teacher, distil, of_labels=F.cross_entropy, see=see, example=(see(few), few)
    )


@pytest.mark.parametrize("distil", ALL.values(), ids=ALL)
def test_gradients_reach_the_student_and_never_the_teacher(distil: Distil) -> None:
    student = Network.fresh("digits_cnn", {"width": 4}, seed=1).module().train()
    teacher = LARGE.module().train()
    taught = lesson(student, distil, teacher)
    images = torch.from_numpy(DATA.train.inputs[:4])
    labels = torch.from_numpy(DATA.train.labels[:4])
    taught(images, student(taught.see(images)), labels).backward()
    assert student.get_parameter("features.0.weight").grad is not None
    assert all(p.grad is not None for p in taught.parameters())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not teacher.training
    assert all(torch.equal(t, LARGE.weights[n]) for n, t in teacher.state_dict().items())
    assert not any(key.startswith("teacher") for key in taught.state_dict())
    taught.close()
    assert not any(layer._forward_hooks for layer in [*student.modules(), *teacher.modules()])


def test_a_layer_that_is_not_there() -> None:
    student = Network.fresh("resnet20", {"in_channels": 1, "width": 4}, seed=1).module()
    for layer, sentence in {
        "layer1.3": "the network has no layer 'layer1.3' (did you mean layer1",
        "layers1": "the network has no layer 'layers1' (did you mean layer1?",
        "x": "known: conv1, bn1, layer1, layer1.*, layer1.*.conv1, ",
    }.items():
        with pytest.raises(InputError, match=re.escape(sentence)):
            Taps(student, [layer], owner="the network")
    small = Network.fresh("digits_cnn", {"width": 4}, seed=1).module()
    pairs = Features(layers=(("features.8", "layer1"),))
    with pytest.raises(InputError, match="distil: its teacher has no layer 'layer1'"):
        lesson(small, Distil(features=pairs), LARGE.module())


def test_layers_keep_their_names_under_gates_and_in_the_folded_graph() -> None:
    network = Network.fresh("resnet20", {"width": 4}, seed=1)
    images = torch.rand(2, 3, 32, 32)
    plain = network.module()
    wrapped = Masked(network, (), span=Span(epochs=1, per_epoch=1), frozen=False).eval()
    wrapped.gates = lambda: torch.ones(wrapped.size)  # type: ignore[method-assign]
    names = ["layer1.0", "layer2.1", "layer3", "linear"]
    outputs = {}
    for module in (plain, wrapped, fold_bn(plain, (3, 32, 32))):
        taps = Taps(module, names, owner="the network")
        module(images)
        outputs[type(module)] = taps.read()
        taps.close()
    first, *others = outputs.values()
    for name in names:
        for other in others:
            torch.testing.assert_close(other[name], first[name], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"has no layer 'layer1\.0\.bn1'"):
        Taps(fold_bn(plain, (3, 32, 32)), ["layer1.0.bn1"], owner="the network")


METHODS = {
    "stochastic_gates": {"budget": {"macs": 0.5}, "round_to": 1},
    "channel_penalty": {"budget": {"macs": 0.5}, "round_to": 1},
    "magnitude": {"sparsity": 0.5},
    "weight_penalty": {"sparsity": 0.5},
    "weight_gates": {"sparsity": 0.5, "frozen": False},
    "edge_popup": {"sparsity": 0.5},
    "rewinding": {"sparsity": 0.3, "rewind_to": 0, "early_bird": True},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_training_can_have_a_teacher(method: str) -> None:
    network = Network.fresh("digits_cnn", {"width": 4}, seed=1)
    tickets = []
    for distil in (None, ALL["attention"]):
        data = DATA.taught_by(Teacher(LARGE, DATA.preprocessing)) if distil else DATA
        brief = TrainConfig(epochs=1, batch_size=100, lr=0.05, distil=distil).model_dump()
        cfg = check(
            next(
                m
                for m in PASS_CONFIGS
                if get_args(m.model_fields["method"].annotation)[0] == method
            ),
            {"method": method, "train": brief, **METHODS[method]},
            place="test",
        )
        tickets.append(TICKETS[method](network, data, cfg, seed=3))
    plain, taught = tickets
    assert (plain.start.digest, plain.mask.digest) != (taught.start.digest, taught.mask.digest)
    assert taught.start.weights.keys() == network.weights.keys()


def test_training_with_int8_rounding_can_have_a_teacher(tmp_path: Path) -> None:
    network = Network.fresh("digits_cnn", {"width": 4}, seed=1)
    before = Candidate(network, None, None, (), digest="")
    made = []
    for distil in (None, ALL["review"]):
        data = DATA.taught_by(Teacher(LARGE, DATA.preprocessing)) if distil else DATA
        brief = TrainConfig(epochs=2, batch_size=100, lr=0.01, distil=distil)
        resume = tmp_path / str(len(made))
        resume.mkdir()
        cfg = Qat(method="qat", train=brief)
        made.append(
            quantize_while_training(before, data, cfg, seed=3, resume=resume, progress=QUIET)
        )
    plain, taught = made
    assert plain.network.digest != taught.network.digest
    assert taught.network.weights.keys() == network.weights.keys()
