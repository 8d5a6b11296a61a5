"""Teaching outputs as they are, whatever they mean."""

import pytest
import torch
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.recipe import SoftTargets
from edgeticket.pipeline.recipe.distil import Outputs
from edgeticket.pipeline.train.distil.answers import Answers
from edgeticket.pipeline.train.distil.logits import SoftTargetLoss
from edgeticket.pipeline.train.distil.outputs import OutputLoss

A, B = torch.randn(3, 2, 4, 4), torch.randn(3, 5)


def value(cfg: Outputs, mine: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    student, teacher = Answers.of(mine, {}), Answers.of(theirs, {})
    return float(OutputLoss(cfg, student, teacher)(student, teacher, None))


@pytest.mark.parametrize("loss", ["mse", "l1", "cosine"])
def test_equal_outputs_have_nothing_to_learn(loss: str) -> None:
    cfg = Outputs.model_validate({"loss": loss})
    assert value(cfg, (A, B), (A, B)) == pytest.approx(0, abs=1e-6)
    assert value(cfg, (A, B), (A, -B)) > 0.1
    assert value(cfg.model_copy(update={"which": (0,)}), (A, B), (A, -B)) == pytest.approx(
        0, abs=1e-6
    )


def test_distances_are_those_of_their_names() -> None:
    other = A + 2
    assert value(Outputs(loss="mse"), (A,), (other,)) == pytest.approx(4, rel=1e-5)
    assert value(Outputs(loss="l1"), (A,), (other,)) == pytest.approx(2, rel=1e-5)
    assert value(Outputs(loss="cosine"), (A,), (3 * A,)) == pytest.approx(0, abs=1e-5)


def test_outputs_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match="the network has 2 outputs, its teacher 1"):
        value(Outputs(), (A, B), (A,))
    with pytest.raises(InputError, match=r"distil.outputs names output 1, but a network has 1"):
        value(Outputs(which=(1,)), (A, B), (A,))
    with pytest.raises(InputError, match=r"has outputs of \[2, 4, 4\], but .* has 5 outputs"):
        value(Outputs(), (B,), (A,))


def test_soft_targets_of_maps_are_those_of_every_place() -> None:
    other = torch.randn_like(A)
    student, teacher = Answers(A, {}), Answers(other, {})
    whole = SoftTargetLoss(SoftTargets(), student, teacher)(student, teacher, B)
    flat = [t.movedim(1, -1).reshape(-1, 2) for t in (A, other)]
    mine, theirs = (Answers(t, {}) for t in flat)
    each = SoftTargetLoss(SoftTargets(), mine, theirs)(mine, theirs, B)
    torch.testing.assert_close(whole, each)
    second = SoftTargets(output=1)
    pair, taught = Answers.of((B, A), {}), Answers.of((B, other), {})
    torch.testing.assert_close(SoftTargetLoss(second, pair, taught)(pair, taught, B), whole)
