"""The losses of distillation against arithmetic that is written down another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.recipe import Attention, Decoupled, Features, Review, SoftTargets
from edgeticket.pipeline.train.distil import Answers
from edgeticket.pipeline.train.distil.attention import AttentionLoss, attention_map
from edgeticket.pipeline.train.distil.hints import HintLoss, same_size
from edgeticket.pipeline.train.distil.logits import DecoupledLoss, SoftTargetLoss, decoupled
from edgeticket.pipeline.train.distil.review import Fusion, ReviewLoss, hierarchical_context

STUDENT, TEACHER = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 9, 9, 1, 5])


def answers(outputs: Tensor = STUDENT, **layers: Tensor) -> Answers:
    return Answers(outputs, layers)


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    mine, theirs = answers(student), answers(teacher)
    loss: Tensor = SoftTargetLoss(SoftTargets(temperature=temperature), mine, theirs)(
        mine, theirs, LABELS
    )
    return loss


def dkd(student: Tensor, teacher: Tensor, **settings: float) -> Tensor:
    mine, theirs = answers(student), answers(teacher)
    loss: Tensor = DecoupledLoss(Decoupled(**settings), mine, theirs)(mine, theirs, LABELS)
    return loss


def softened(logits: Tensor, temperature: float) -> np.ndarray:
    powers = np.exp(logits.double().numpy() / temperature)
    return powers / powers.sum(1, keepdims=True)


def test_soft_targets_are_the_divergence_of_softened_probabilities() -> None:
    p, q = softened(TEACHER, 3), softened(STUDENT, 3)
    expected = 9 * (p * np.log(p / q)).sum(1).mean()
    assert soft_targets(STUDENT, TEACHER, 3.0).item() == pytest.approx(expected, rel=1e-5)


def test_hot_soft_targets_match_centred_logits() -> None:
    """For T → ∞ the loss is ‖z_student − z_teacher‖² / (2·classes) of centred logits (Hinton)."""
    apart = (STUDENT - STUDENT.mean(1, keepdim=True)) - (TEACHER - TEACHER.mean(1, keepdim=True))
    expected = apart.square().sum(1).mean() / (2 * 10)
    torch.testing.assert_close(soft_targets(STUDENT, TEACHER, 200.0), expected, rtol=0.02, atol=0)


def test_decoupled_parts_are_the_divergences_of_the_paper() -> None:
    p, q = softened(TEACHER, 2), softened(STUDENT, 2)
    rows, right = np.arange(6), LABELS.numpy()
    of_right, of_others = [], []
    for i in rows:
        pair_p, pair_q = ([m[i, right[i]], 1 - m[i, right[i]]] for m in (p, q))
        of_right.append(sum(a * np.log(a / b) for a, b in zip(pair_p, pair_q, strict=True)))
        rest_p, rest_q = (np.delete(m[i], right[i]) / (1 - m[i, right[i]]) for m in (p, q))
        of_others.append((rest_p * np.log(rest_p / rest_q)).sum())
    found = decoupled(STUDENT / 2, TEACHER / 2, LABELS)
    np.testing.assert_allclose(found[0], of_right, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1], of_others, rtol=1e-4, atol=1e-6)
    expected = 4 * (0.5 * np.mean(of_right) + 3 * np.mean(of_others))
    loss = dkd(STUDENT, TEACHER, temperature=2.0, alpha=0.5, beta=3.0)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.5, 10), classes=st.integers(2, 12))
def test_soft_targets_are_the_sum_of_their_decoupled_parts(
    seed: int, temperature: float, classes: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 5, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (5,), generator=generator)
    of_right, of_others = decoupled(student / temperature, teacher / temperature, labels)
    p = torch.softmax(teacher / temperature, 1)
    log_q = torch.log_softmax(student / temperature, 1)
    whole = (p * (p.log() - log_q)).sum(1)
    sure = p.gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(of_right + (1 - sure) * of_others, whole)


def test_attention_is_where_the_map_is_large() -> None:
    features = torch.zeros(1, 2, 2, 2)
    features[0, 0, 0, 0], features[0, 1, 0, 0], features[0, 0, 1, 1] = 1.0, -2.0, 2.0
    torch.testing.assert_close(
        attention_map(features), torch.tensor([[5.0, 0.0, 0.0, 4.0]]) / 41**0.5
    )


def test_attention_compares_maps_of_other_widths_and_sizes() -> None:
    mine, theirs = torch.rand(3, 4, 8, 8), torch.rand(3, 6, 4, 4)
    cfg = Attention(layers=(("a", "b"),))
    a, b = answers(a=mine), answers(b=theirs)
    pooled = mine.reshape(3, 4, 4, 2, 4, 2).mean((3, 5))
    maps = [m.square().sum(1).flatten(1) for m in (pooled, theirs)]
    first, second = (m / m.norm(dim=1, keepdim=True) for m in maps)
    torch.testing.assert_close(
        AttentionLoss(cfg, a, b)(a, b, LABELS), (first - second).square().mean()
    )


@pytest.mark.parametrize("shapes", [((5, 4, 6, 6), (5, 7, 6, 6)), ((5, 4), (5, 7))])
def test_hints_are_the_error_of_a_linear_map(shapes: tuple[tuple[int, ...], ...]) -> None:
    mine, theirs = torch.rand(shapes[0]), torch.rand(shapes[1])
    a, b = answers(x=mine), answers(x=theirs)
    loss = HintLoss(Features(layers=(("x", "x"),)), a, b)
    (regressor,) = loss.regressors
    weight = regressor.weight.reshape(7, 4)
    mapped = (mine.movedim(1, -1) @ weight.T + regressor.bias).movedim(-1, 1)
    torch.testing.assert_close(loss(a, b, LABELS), (mapped - theirs).square().mean())
    # What is a linear map of the student's features can be learnt exactly.
    with torch.no_grad():
        regressor.weight.copy_(torch.eye(7, 4).reshape(regressor.weight.shape))
        regressor.bias.zero_()
    wide = torch.cat([mine, torch.zeros(5, 3, *mine.shape[2:])], 1)
    assert loss(a, answers(x=wide), LABELS).item() == 0


def test_hints_average_the_larger_map() -> None:
    large, small = same_size(torch.arange(16.0).reshape(1, 1, 4, 4), torch.zeros(1, 9, 2, 3))
    assert large.shape == (1, 1, 2, 3)
    assert small.shape == (1, 9, 2, 3)


def test_hierarchical_context_is_a_weighted_mean_over_scales() -> None:
    mine, theirs = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    apart = mine - theirs
    errors = [apart.square().mean()]
    for block in (2, 4, 8):  # averages of 4 x 4, 2 x 2 and 1 x 1
        parts = apart.reshape(2, 3, 8 // block, block, 8 // block, block).mean((3, 5))
        errors.append(parts.square().mean())
    expected = (errors[0] + errors[1] / 2 + errors[2] / 4 + errors[3] / 8) / (1 + 7 / 8)
    torch.testing.assert_close(hierarchical_context(mine, theirs), expected)
    # On a map of 4 x 4, that scale is the map itself and does not count twice.
    small, other = mine[..., :4, :4], theirs[..., :4, :4]
    apart = small - other
    quarter = apart.reshape(2, 3, 2, 2, 2, 2).mean((3, 5)).square().mean()
    whole = apart.mean((2, 3)).square().mean()
    expected = (apart.square().mean() + quarter / 2 + whole / 4) / 1.75
    torch.testing.assert_close(hierarchical_context(small, other), expected)


def test_fusion_mixes_by_attention() -> None:
    fusion = Fusion(3, 5, 4, deepest=False).eval()
    assert fusion.attend is not None
    nn.init.zeros_(fusion.attend.weight)
    with torch.no_grad():
        fusion.attend.bias.copy_(torch.tensor([0.0, 100.0]))
    x, below = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4, 4)
    merged, left = fusion(x, below, torch.Size((8, 8)))
    assert left.shape == (2, 4, 8, 8)
    stretched = below.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(merged, 0.5 * fusion.enter(x) + stretched)


def test_review_reaches_early_layers_of_the_teacher_through_late_ones() -> None:
    a = answers(x=torch.rand(2, 3, 8, 8), y=torch.rand(2, 4, 4, 4, requires_grad=True))
    b = answers(x=torch.rand(2, 6, 16, 16), y=torch.rand(2, 7, 4, 4))
    cfg = Review(layers=(("x", "x"), ("y", "y")), width=5)
    loss = ReviewLoss(cfg, a, b)
    merged, low = loss.fusions[1](a.layers["y"], None, torch.Size((4, 4)))
    _, high = loss.fusions[0](a.layers["x"], merged, torch.Size((16, 16)))
    expected = hierarchical_context(low, b.layers["y"]) + hierarchical_context(high, b.layers["x"])
    torch.testing.assert_close(loss(a, b, LABELS), expected)
    (slope,) = torch.autograd.grad(hierarchical_context(high, b.layers["x"]), a.layers["y"])
    assert slope.abs().sum() > 0


def test_a_perfect_student_has_nothing_to_learn() -> None:
    assert soft_targets(TEACHER, TEACHER, 4.0).abs() < 1e-6
    assert dkd(TEACHER, TEACHER).abs() < 1e-5
    same = answers(x=torch.rand(2, 3, 4, 4))
    assert AttentionLoss(Attention(layers=(("x", "x"),)), same, same)(same, same, LABELS) == 0
    assert hierarchical_context(same.layers["x"], same.layers["x"]) == 0


def test_the_slope_points_to_the_teacher() -> None:
    for loss in (lambda z: soft_targets(z, TEACHER, 4.0), lambda z: dkd(z, TEACHER)):
        student = STUDENT.clone().requires_grad_()
        loss(student).backward()
        assert student.grad is not None
        moved = (STUDENT - 0.1 * student.grad).detach()
        assert loss(moved) < loss(STUDENT)
        assert torch.allclose(student.grad.sum(1), torch.zeros(6), atol=1e-6)


def test_extreme_logits_stay_finite() -> None:
    sure = 1e4 * F.one_hot(LABELS, 10).float()
    for student, teacher in ((sure, TEACHER), (STUDENT, sure), (sure, sure)):
        assert soft_targets(student, teacher, 1.0).isfinite()
        assert dkd(student, teacher, temperature=1.0).isfinite()


def test_layers_that_do_not_fit_are_named() -> None:
    a, b = answers(x=torch.rand(2, 3, 4, 4)), answers(y=torch.rand(2, 3))
    pairs = (("x", "y"),)
    with pytest.raises(InputError, match=r"distil.attention compares maps \[N, C, H, W\], but x"):
        AttentionLoss(Attention(layers=pairs), a, b)
    with pytest.raises(InputError, match=r"gives \[2, 3, 4, 4\] and y of its teacher \[2, 3\]"):
        HintLoss(Features(layers=pairs), a, b)
    with pytest.raises(InputError, match="has 7 outputs, but the network that it teaches has 10"):
        SoftTargetLoss(SoftTargets(), answers(), answers(torch.rand(6, 7)))
