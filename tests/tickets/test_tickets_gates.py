"""Gates on single weights: their arithmetic, their noise, their steering; and empty layers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.network.draw import settle
from edgeticket.pipeline.network.initialise import initialise
from edgeticket.pipeline.recipe import (
    TICKET_METHODS,
    DataConfig,
    TrainConfig,
    WeightGates,
    WeightTicket,
)
from edgeticket.pipeline.tickets import TICKETS
from edgeticket.pipeline.tickets.density_control import CHOOSE_AT, EVERY
from edgeticket.pipeline.tickets.masked import Span, flatten, unflatten
from edgeticket.pipeline.tickets.noise import NoisePool
from edgeticket.pipeline.tickets.prunable import keep_best, keep_largest, spare_last_weights
from edgeticket.pipeline.tickets.weight_gates import GATES, HardConcrete, Noisy, Stg

DATA = load_dataset(
    DataConfig(name="digits", train=200, validation=100, test=100), seed=0, folder=Path()
)
NETWORK = initialise(Network.fresh("digits_cnn", {"width": 4}, seed=0), "signed_constant", seed=1)
SPAN = Span(epochs=10, per_epoch=20)


def gated(gate: str = "stg", **fields: object) -> Noisy:
    cfg = WeightGates.model_validate({"method": "weight_gates", "sparsity": 0.9} | fields)
    return GATES[gate](NETWORK, cfg, span=SPAN, seed=0).train()


# --- arithmetic


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_are_those_that_autograd_finds(gate: str, rounded: bool, frozen: bool) -> None:
    module = gated(gate, rounded=rounded, frozen=frozen)
    with torch.no_grad():
        module.scores.add_(0.4 * torch.randn(module.size))
    x = torch.randn(8, *NETWORK.input_shape)
    torch.manual_seed(5)
    module.step = 0
    outputs = module(x)
    outputs.square().sum().backward()
    found = module.scores.grad

    torch.manual_seed(5)
    noise = torch.empty(module.size + (1 << 16))
    module.fill(noise)
    first = int(torch.randint(1 << 16, ()))
    noise = noise[first : first + module.size]
    scores = module.scores.detach().requires_grad_()
    module.step = 1
    if gate == "stg":
        drawn = scores + module.temperature_now() * noise
        # Probability of being open at σ = ½, over its slope in the middle.
        smooth = torch.special.ndtr((drawn - 0.5) / 0.5) * math.sqrt(math.pi / 2)
    else:
        drawn = 1.2 * torch.sigmoid((scores + noise) / module.temperature_now()) - 0.1
        smooth = drawn.clamp(0, 1)
    gates = smooth + ((drawn > 0.5).float() - smooth).detach() if rounded else drawn.clamp(0, 1)
    plain = NETWORK.module().train()
    if frozen:
        plain.requires_grad_(False)
    parts = module.split(gates)
    tensors = {name: plain.get_parameter(name) * part for name, part in parts.items()}
    again = torch.func.functional_call(plain, tensors, (x,))
    again.square().sum().backward()
    torch.testing.assert_close(outputs, again, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, scores.grad, rtol=1e-3, atol=1e-3)
    for name in parts:
        mine, theirs = module.module.get_parameter(name).grad, plain.get_parameter(name).grad
        assert (mine is None) == frozen
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


def test_gradients_add_up_where_nobody_clears_them() -> None:
    module = gated(frozen=True)
    x = torch.randn(4, *NETWORK.input_shape)
    grads = []
    for clear in (True, True, False):
        torch.manual_seed(5)
        module.step, module.pool.row = 0, None
        if clear:
            module.scores.grad = None
        module(x).square().sum().backward()
        grads.append(module.scores.grad.clone())  # type: ignore[union-attr]
    torch.testing.assert_close(grads[1], grads[0])
    torch.testing.assert_close(grads[2], 2 * grads[0])


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (2, 3, 5, 4)])
def test_flat_and_back(shape: tuple[int, ...]) -> None:
    weight = torch.arange(math.prod(shape)).reshape(shape)
    assert torch.equal(unflatten(flatten(weight), weight.shape), weight)
    if len(shape) == 4:  # as the training loop stores convolutions: nothing is copied
        stored = weight.contiguous(memory_format=torch.channels_last)
        assert flatten(stored).data_ptr() == stored.data_ptr()


# --- noise


def test_noise_is_standard_independent_and_new_in_every_step_and_epoch() -> None:
    torch.manual_seed(0)

    def fill(row: torch.Tensor) -> None:
        row.normal_()

    pool = NoisePool(20_000, fill)
    like = torch.zeros(1)
    windows = torch.stack([pool.window(like, renew=step % 10 == 0) for step in range(40)])
    assert windows.mean().abs() < 0.01
    assert (windows.var() - 1).abs() < 0.01
    correlations = torch.corrcoef(windows)
    assert (correlations - torch.eye(40)).abs().max() < 6 / 20_000**0.5
    per_gate = torch.corrcoef(windows[:, :200].T)
    assert (per_gate - torch.eye(200)).abs().max() < 6 / 40**0.5


def test_a_run_that_resumes_at_an_epoch_draws_the_same_noise() -> None:
    undisturbed, resumed = gated(), gated()
    for module, first in ((undisturbed, 1), (resumed, 21)):
        for step in range(first, 31):
            if step % SPAN.per_epoch == 1:
                torch.manual_seed(step)  # as the training loop does in every epoch
            module.step = step
            drawn = module.draw()
    assert torch.equal(undisturbed.memory("drawn"), drawn)


# --- steering


@pytest.mark.parametrize("kind", [Stg, HardConcrete])
@pytest.mark.parametrize("rounded", [True, False])
def test_the_density_is_that_of_drawn_gates_and_is_steered(kind: type, rounded: bool) -> None:
    module = gated("stg" if kind is Stg else "hard_concrete", rounded=rounded, gate_lr=0.1)
    for step in range(0, int(CHOOSE_AT * SPAN.steps), 5):
        module.step = step
        if step % EVERY:  # the optimizer disturbs what was steered
            with torch.no_grad():
                module.scores.add_(0.03 * torch.randn(module.size))
            continue
        module.before_step()
        assert module.density().item() == pytest.approx(module.target(), rel=0.1, abs=0.005)
        drawn = torch.stack([module.draw().clone() for _ in range(30)])
        is_open = drawn > (0.5 if rounded else 0)
        assert is_open.float().mean().item() == pytest.approx(module.density().item(), abs=0.02)
    assert module.target() == pytest.approx(0.1)


def test_in_the_last_part_exactly_the_best_gates_are_open() -> None:
    module = gated()
    module.step = math.ceil(CHOOSE_AT * SPAN.steps) - 1
    assert not module.choosing()
    module(torch.randn(2, *NETWORK.input_shape)).sum().backward()
    assert int(module.gates().sum()) == module.count
    best = keep_best(module.scores, module.count, sizes=module.sizes)
    assert torch.equal(module.gates() > 0, best)
    shut = module.scores.grad[~best]  # type: ignore[index]
    assert (shut != 0).float().mean() > 0.5  # those outside learn, too, and can come in


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_what_a_seed_settled_stays_settled(gate: str, rounded: bool, frozen: bool) -> None:
    settled = {"zeros": 0.5, "ones": 0.04}
    cfg = WeightGates.model_validate(
        {
            "method": "weight_gates",
            "sparsity": 0.9,
            "gate": gate,
            "rounded": rounded,
            "frozen": frozen,
            "gate_lr": 0.1,
            "settled": settled,
            "train": {"epochs": 3, "batch_size": 40, "lr": 0.01},
        }
    )
    ticket = TICKETS["weight_gates"](NETWORK, DATA, cfg, seed=5)
    assert ticket.log["settled"] == settled | {"seed": 5}
    for name, kept in ticket.mask.tensors.items():
        zeros, ones = settle(kept.shape, name=name, seed=5, **settled)
        assert not kept[torch.from_numpy(zeros)].any(), name
        assert kept[torch.from_numpy(ones)].all(), name
    assert ticket.mask.density == pytest.approx(0.1, abs=0.001)
    assert all(torch.isfinite(w).all() for w in ticket.start.weights.values())


@pytest.mark.parametrize(
    ("settled", "sentence"),
    [
        ({"zeros": 0.95}, "settled.zeros prunes 0.95 of the weights, more than sparsity, 0.9"),
        ({"ones": 0.2}, "settled.ones keeps 0.2 of the weights, and sparsity leaves 0.1"),
        ({"zeros": 0.6, "ones": 0.5}, "leave nothing to search for"),
    ],
)
def test_more_than_the_sparsity_cannot_be_settled(settled: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        gated(settled=settled)


@pytest.mark.parametrize(("spread", "agree"), [(0.01, 0.5), (0.3, 0.98)])
def test_spread_scores_open_nearly_the_same_gates_in_every_step(
    spread: float, agree: float
) -> None:
    module = gated(spread=spread, noise=(0.5, 0.5) if spread < 0.1 else (0.005, 0.005))
    module.step = 1
    first, second = (module.draw() > 0.5 for _ in range(2))
    assert (first == second).float().mean().item() == pytest.approx(agree, abs=0.02)
    assert first.float().mean().item() == pytest.approx(0.5, abs=0.05)


# --- layers that would be left with nothing


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
       share=st.floats(0, 1))  # fmt: skip
def test_every_layer_keeps_its_best_weight(seed: int, sizes: list[int], share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(sum(sizes), generator=generator)
    scores += torch.repeat_interleave(5 * torch.arange(len(sizes)), torch.tensor(sizes))
    count = max(len(sizes), round(share * len(scores)))
    plain = torch.zeros(len(scores), dtype=torch.bool)
    plain[scores.topk(count).indices] = True
    kept = spare_last_weights(plain.clone(), scores, sizes=sizes)
    assert int(kept.sum()) == count
    for mine, before, score in zip(
        kept.split(sizes), plain.split(sizes), scores.split(sizes), strict=True
    ):
        assert mine.any()
        assert mine[score.argmax()]
        if not before.any():
            assert int(mine.sum()) == 1
    if all(part.any() for part in plain.split(sizes)):
        assert torch.equal(kept, plain)


METHODS = {c.model_fields["method"].annotation.__args__[0]: c for c in TICKET_METHODS}  # type: ignore[union-attr]
BRIEF = TrainConfig(epochs=2, batch_size=50, lr=0.5, warmup=0.0)


@pytest.mark.parametrize("sparsity", [0.98, 0.999])
@pytest.mark.parametrize("method", [n for n, c in METHODS.items() if issubclass(c, WeightTicket)])
def test_no_method_empties_a_layer(method: str, sparsity: float) -> None:
    cls = METHODS[method]
    fields: dict[str, object] = {"method": method, "sparsity": sparsity}
    if cls.model_fields["train"].default is not None or method == "magnitude":
        fields["train"] = BRIEF
    if "share" in cls.model_fields:
        fields["share"] = 0.9
    network = initialise(Network.fresh("lenet5", {}, seed=0), "uniform", seed=1)
    cfg = cls.model_validate(fields)
    ticket = TICKETS[method](network, DATA, cfg, seed=2)
    assert ticket.mask is not None
    counts = {name: int(kept.sum()) for name, kept in ticket.mask.tensors.items()}
    assert min(counts.values()) >= 1
    assert ticket.log["last_weight_layers"] == [
        name.removesuffix(".weight") for name, count in counts.items() if count == 1
    ]
    assert 1 - ticket.mask.density == pytest.approx(sparsity, abs=0.0005)


def test_fewer_weights_than_layers_are_refused() -> None:
    scores = {"a": torch.rand(10), "b": torch.rand(10)}
    with pytest.raises(InputError, match=r"leaves 1 of 20 weights.*2 layers: lower it to 0.9 or"):
        keep_largest(scores, sparsity=0.95, scope="global")
    each = keep_largest(scores, sparsity=0.99, scope="layer").tensors
    assert [int(kept.sum()) for kept in each.values()] == [1, 1]
    with pytest.raises(InputError, match="fewer than one for each of the 6 layers"):
        gated(sparsity=0.9999)
