"""Tickets of single weights: what every method keeps to, and what each of them promises."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from training_fixtures import StopAfter

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.network.initialise import initialise
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.prune.mask_file import load_mask, save_mask
from edgeticket.pipeline.recipe import (
    TICKET_METHODS,
    DataConfig,
    Magnitude,
    TrainConfig,
    WeightTicket,
)
from edgeticket.pipeline.tickets import TICKETS, Ticket
from edgeticket.pipeline.tickets.magnitude import GraduallyMasked
from edgeticket.pipeline.tickets.masked import Span
from edgeticket.pipeline.tickets.prunable import cubic, keep_largest, prunable
from edgeticket.pipeline.train import train

DATA = load_dataset(
    DataConfig(name="digits", train=400, validation=200, test=100), seed=0, folder=Path()
)
SHORT = TrainConfig(epochs=2, batch_size=50, lr=0.05, warmup=0.0)
CONFIGS = {c.model_fields["method"].annotation.__args__[0]: c for c in TICKET_METHODS}  # type: ignore[union-attr]
WEIGHT_METHODS = [name for name, c in CONFIGS.items() if issubclass(c, WeightTicket)]


def config(method: str, **fields: Any) -> WeightTicket:
    cls = CONFIGS[method]
    short = {"train": SHORT} if cls.model_fields["train"].default is not None else {}
    made = cls(**{"method": method, "sparsity": 0.9, **short, **fields})
    assert isinstance(made, WeightTicket)
    return made


def find(network: Network, cfg: WeightTicket, **kwargs: Any) -> Ticket:
    return TICKETS[cfg.method](network, DATA, cfg, seed=3, **kwargs)


@pytest.fixture(scope="module")
def random() -> Network:
    """A network with a normalisation, biases, and a layer that its architecture fixes."""
    fresh = Network.fresh("digits_cnn", {"width": 4}, seed=0)
    return initialise(fresh, "signed_constant", seed=1)


def test_every_method_has_a_config_and_a_section_in_the_documentation() -> None:
    assert set(TICKETS) == set(CONFIGS)
    document = (Path(__file__).parents[2] / "docs" / "tickets.md").read_text()
    sections = [line[4:] for line in document.splitlines() if line.startswith("### ")]
    assert sorted(sections) == sorted(TICKETS)


@pytest.mark.parametrize("method", WEIGHT_METHODS)
def test_the_sparsity_is_met_and_excluded_layers_stay(method: str, random: Network) -> None:
    for sparsity, exclude in ((0.9, ()), (0.75, ("features.0", "classifier"))):
        ticket = find(random, config(method, sparsity=sparsity, exclude=exclude))
        names = {*prunable(random.module())} - {f"{layer}.weight" for layer in exclude}
        assert set(ticket.mask.tensors) == names
        assert 1 - ticket.mask.density == pytest.approx(sparsity, abs=0.005)
        assert ticket.log["sparsity"] == pytest.approx(1 - ticket.mask.density)
        assert {n: t.shape for n, t in ticket.start.weights.items()} == {
            n: t.shape for n, t in random.weights.items()
        }


@pytest.mark.parametrize("method", WEIGHT_METHODS)
def test_an_interrupted_search_finds_the_same_ticket(
    method: str, random: Network, tmp_path: Path
) -> None:
    cfg = config(method, **({"train": SHORT} if method == "magnitude" else {}))
    undisturbed = find(random, cfg)
    for steps in (5, 11):
        with pytest.raises(KeyboardInterrupt):
            find(random, cfg, resume=tmp_path / "state.pt", progress=StopAfter(steps))
    resumed = find(random, cfg, resume=tmp_path / "state.pt")
    assert resumed.start.digest == undisturbed.start.digest
    assert resumed.mask.digest == undisturbed.mask.digest
    assert resumed.log == undisturbed.log


# --- what is kept


def test_the_largest_stay_over_all_layers_or_in_each() -> None:
    scores = {"a": torch.tensor([[9.0, 8.0], [7.0, 1.0]]), "b": torch.tensor([2.0, 3.0, 4.0, 5.0])}
    everywhere = keep_largest(scores, sparsity=0.5, scope="global").tensors
    assert everywhere["a"].tolist() == [[True, True], [True, False]]
    assert everywhere["b"].tolist() == [False, False, False, True]
    each = keep_largest(scores, sparsity=0.5, scope="layer").tensors
    assert each["a"].tolist() == [[True, True], [False, False]]
    assert each["b"].tolist() == [False, False, True, True]
    equal = keep_largest({"a": torch.ones(8)}, sparsity=0.5, scope="global").tensors["a"]
    assert equal.tolist() == [True] * 4 + [False] * 4


def test_fixed_weights_biases_and_normalisation_are_not_prunable() -> None:
    resnet = Network.fresh("resnet20", {"width": 4}, seed=0)
    names = set(prunable(resnet.module()))
    assert len(names) == 20
    assert not [n for n in names if "shortcut" in n or "bn" in n or not n.endswith(".weight")]


def test_an_unknown_layer_cannot_be_excluded(random: Network) -> None:
    with pytest.raises(InputError, match=r"exclude: no layer 'clasifier' \(did you mean classif"):
        prunable(random.module(), ["clasifier"])
    with pytest.raises(InputError, match="no layer is left"):
        prunable(torch.nn.Sequential(torch.nn.Linear(1, 1)), ["0"])


def test_one_shot_magnitude_keeps_the_largest_and_changes_no_weight(random: Network) -> None:
    drawn = initialise(random, "default", seed=5)
    ticket = find(drawn, config("magnitude", sparsity=0.8))
    assert ticket.start is drawn
    kept = torch.cat([drawn.weights[n][m].abs() for n, m in ticket.mask.tensors.items()])
    gone = torch.cat([drawn.weights[n][~m].abs() for n, m in ticket.mask.tensors.items()])
    assert kept.min() >= gone.max()
    sparser = find(drawn, config("magnitude", sparsity=0.9))
    assert sparser.mask.is_subset_of(ticket.mask)


def test_a_gradual_sparsity_only_rises_and_follows_the_cubic(random: Network) -> None:
    cfg = Magnitude(method="magnitude", sparsity=0.9, train=SHORT, every=2, reach_at=0.5)
    assert cfg.train is not None
    span = Span.of(DATA.train, cfg.train)
    steps = span.steps
    masked = GraduallyMasked(random, cfg, span=span)
    masks: list[Mask] = []
    gates = masked.gates

    def record() -> torch.Tensor:
        now = gates()
        masks.append(masked.as_mask(masked.split(now)))
        return now

    masked.gates = record  # type: ignore[method-assign]
    train(masked, DATA.train, SHORT, preprocessing=DATA.preprocessing, seed=0)
    assert len(masks) == steps
    assert len({mask.digest for mask in masks}) == 1 + steps // 4  # a rise every 2nd of 8 steps
    for earlier, later in itertools.pairwise(masks):
        assert later.is_subset_of(earlier)
    assert 1 - masks[3].density == pytest.approx(cubic(0.5, first=0, last=0.9), abs=0.002)
    assert 1 - masks[-1].density == pytest.approx(0.9, abs=0.002)


# --- training with a mask


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_masked_weights_stay_zero_through_training_and_resume(
    optimizer: str, random: Network, tmp_path: Path
) -> None:
    mask = find(initialise(random, "default", seed=5), config("magnitude", scope="layer")).mask
    cfg = SHORT.model_copy(update={"optimizer": optimizer, "lr": 0.01})

    def tuned(**kwargs: Any) -> dict[str, torch.Tensor]:
        module = random.module()  # not masked yet
        train(
            module, DATA.train, cfg, preprocessing=DATA.preprocessing, seed=0, mask=mask, **kwargs
        )
        return module.state_dict()

    undisturbed = tuned()
    with pytest.raises(KeyboardInterrupt):
        tuned(resume=tmp_path / "state.pt", progress=StopAfter(10))
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = tuned(resume=tmp_path / "state.pt")
    remembered = state["optimizers"][0]["state"].values()
    for name, kept in mask.tensors.items():
        assert not undisturbed[name][~kept].any()
        assert (undisturbed[name][kept] != 0).all()
        assert not torch.equal(undisturbed[name], random.weights[name] * kept)
        assert torch.equal(undisturbed[name], resumed[name])
        shaped = [t for s in remembered for t in s.values() if t.shape == kept.shape]
        assert any(not t[~kept].any() and t[kept].any() for t in shaped)
    with pytest.raises(InputError, match="belongs to another run"):
        train(
            random.module(),
            DATA.train,
            cfg,
            preprocessing=DATA.preprocessing,
            seed=0,
            resume=tmp_path / "state.pt",
        )


def test_a_run_in_two_parts_follows_one_schedule() -> None:
    network = Network.fresh("lenet5", {}, seed=0)
    cfg = SHORT.model_copy(update={"epochs": 3, "momentum": 0.0})
    whole, parts = network.module(), network.module()
    train(whole, DATA.train, cfg, preprocessing=DATA.preprocessing, seed=0)
    for span in (range(1), range(1, 3)):
        train(parts, DATA.train, cfg, preprocessing=DATA.preprocessing, seed=0, epochs=span)
    assert network.with_weights(whole).digest == network.with_weights(parts).digest


# --- masks on disk


def test_masks_come_back_and_are_checked(random: Network, tmp_path: Path) -> None:
    ticket = find(random, config("magnitude"))
    network, file = ticket.mask.apply(ticket.start), tmp_path / "mask.safetensors"
    save_mask(ticket.mask, file)
    assert load_mask(file, network).digest == ticket.mask.digest
    with pytest.raises(InputError, match="is not zero where the mask says so"):
        load_mask(file, random)
    with pytest.raises(InputError, match="is no mask of this lenet5"):
        load_mask(file, Network.fresh("lenet5", {}, seed=0))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="is no mask of this"):
        load_mask(file, network)
    with pytest.raises(InputError, match="cannot read mask"):
        load_mask(tmp_path / "none", network)


# --- where tickets start


@pytest.mark.parametrize("init", ["default", "kaiming_normal", "uniform", "signed_constant"])
def test_random_weights_have_the_deviation_that_they_should(init: Any) -> None:
    fresh = Network.fresh("resnet20", {}, seed=0)
    one = initialise(fresh, init, seed=1, kept=0.25)
    assert initialise(fresh, init, seed=1, kept=0.25).digest == one.digest
    assert initialise(one, init, seed=2, kept=0.25).digest != one.digest
    weight = one.weights["layer3.0.conv2.weight"]
    deviation = (2 / (weight[0].numel() * 0.25)) ** 0.5
    if init != "default":
        assert weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert not one.weights["linear.bias"].any()
    if init == "signed_constant":
        assert len(weight.unique()) == 2
    if init == "uniform":
        assert weight.abs().max().item() == pytest.approx(3**0.5 * deviation, rel=0.01)
    fixed = "layer2.0.shortcut.weight"
    assert torch.equal(one.weights[fixed], fresh.weights[fixed])


# --- penalties


def test_a_penalty_leaves_more_small_weights(random: Network) -> None:
    drawn = initialise(random, "default", seed=5)
    shares = []
    for strength in (1e-9, 3e-3):
        longer = SHORT.model_copy(update={"epochs": 6})
        cfg = config("weight_penalty", strength=strength, train=longer)
        shares.append(find(drawn, cfg).log["small_before"]["features.9.weight"])
    assert shares[1] > 3 * shares[0]


# --- rewinding and its controls

LEVELS = {"share": 0.5, "train": SHORT.model_copy(update={"epochs": 3})}


def test_levels_go_down_by_the_share_and_each_is_a_part_of_the_one_before(
    random: Network, tmp_path: Path
) -> None:
    masks = []
    for sparsity in (0.4, 0.5, 0.75, 0.8):
        cfg = config("rewinding", sparsity=sparsity, **LEVELS)
        ticket = find(random, cfg, resume=tmp_path / "state.pt")
        assert ticket.mask.density == pytest.approx(1 - sparsity, abs=0.001)
        masks.append(ticket.mask)
    assert [level["density"] for level in ticket.log["levels"]] == [
        pytest.approx(d, abs=0.001) for d in (1, 0.5, 0.25)
    ]
    assert ticket.log["epochs"] == 1 + 3 * 2
    assert masks[3].is_subset_of(masks[2])
    assert masks[2].is_subset_of(masks[1])
    # The files of less sparse tickets were used, and nothing was trained twice.
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        "state-early.pt", "state-level 0.pt", "state-level 1.pt", "state-level 2.pt",
    ]  # fmt: skip
    stopped = StopAfter(2 * 8 * 3 + 8 + 1)
    again = find(random, cfg, resume=tmp_path / "state.pt", progress=stopped)
    assert again.mask.digest == masks[3].digest


def test_weights_rewind_to_the_early_epoch_or_stay_where_they_are(random: Network) -> None:
    one = config("rewinding", sparsity=0.5, **LEVELS)
    module = random.module()
    train(
        module,
        DATA.train,
        one.train,
        preprocessing=DATA.preprocessing,
        seed=3,
        epochs=range(1),  # type: ignore[attr-defined]
    )
    early = random.with_weights(module)
    ticket = find(random, one)
    assert ticket.start.digest == early.digest
    unmoved = find(random, config("rewinding", sparsity=0.5, **LEVELS, rewind_to=0))
    assert unmoved.start is random
    later = find(random, config("rewinding", sparsity=0.5, **LEVELS, rewind="learning_rate"))
    assert later.mask.digest == ticket.mask.digest
    largest = {n: later.start.weights[n].abs() for n in ticket.mask.tensors}
    assert keep_largest(largest, sparsity=0.5, scope="global").digest == ticket.mask.digest


def test_an_early_bird_stops_once_its_mask_has_settled(random: Network, tmp_path: Path) -> None:
    slow = SHORT.model_copy(update={"epochs": 9, "lr": 1e-4})
    drawn = initialise(random, "default", seed=5)
    cfg = config("rewinding", sparsity=0.3, rewind_to=0, early_bird=True, train=slow, share=0.3)
    assert find(drawn, cfg, resume=tmp_path / "state.pt").log["epochs"] == 6
    state = torch.load(tmp_path / "state-level 0.pt", weights_only=True)
    # Five masks to compare with, and the sixth hardly differs: nothing was trained after that.
    assert int(state["module"]["module.features.1.num_batches_tracked"]) == 6 * 8
    fast = cfg.model_copy(update={"train": slow.model_copy(update={"lr": 0.5})})
    find(drawn, fast, resume=tmp_path / "fast.pt")
    state = torch.load(tmp_path / "fast-level 0.pt", weights_only=True)
    assert int(state["module"]["module.features.1.num_batches_tracked"]) > 6 * 8


@pytest.mark.parametrize("of", ["magnitude", "rewinding"])
def test_controls_keep_the_sparsity_of_every_layer(of: str, random: Network) -> None:
    drawn = initialise(random, "default", seed=5)
    original = find(drawn, config(of, sparsity=0.6, **(LEVELS if of == "rewinding" else {})))
    spoiled = find(drawn, config("random_mask", sparsity=0.6, **LEVELS, of=of))
    assert spoiled.mask.densities == original.mask.densities
    assert spoiled.start.digest == original.start.digest
    for name, kept in original.mask.tensors.items():
        both = (kept & spoiled.mask.tensors[name]).double().mean().item()
        assert both == pytest.approx(kept.double().mean().item() ** 2, abs=0.1)  # by chance
    drawn_anew = find(drawn, config("reinit", sparsity=0.6, **LEVELS, of=of))
    assert drawn_anew.mask.digest == original.mask.digest
    for name in original.mask.tensors:
        assert not (drawn_anew.start.weights[name] == original.start.weights[name]).any()


# --- strong tickets

STRONG = ["edge_popup", "score_miner", "continuous_sparsification", "weight_gates"]


@pytest.mark.parametrize("method", STRONG)
def test_frozen_weights_do_not_change_by_a_bit(method: str, random: Network) -> None:
    ticket = find(random, config(method, sparsity=0.5))
    for name, tensor in ticket.start.weights.items():
        statistics = "running" in name or "num_batches" in name
        assert statistics or torch.equal(tensor, random.weights[name]), name
        if "running" in name:
            assert torch.equal(tensor, tensor.half().float()), name
            assert not torch.equal(tensor, random.weights[name]), name
    assert ticket.log["gates"] == sum(t.numel() for t in ticket.mask.tensors.values())
    for moment in ("as_trained", "with_mask"):
        assert 0 <= ticket.log[f"validation_top1_{moment}"] <= 1


@pytest.mark.parametrize("method", ["weight_gates", "continuous_sparsification"])
def test_weights_can_be_trained_along(method: str, random: Network) -> None:
    ticket = find(random, config(method, sparsity=0.5, frozen=False))
    for name in ticket.mask.tensors:
        assert not torch.equal(ticket.start.weights[name], random.weights[name])


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("edge_popup", {}),
        ("score_miner", {}),
        ("continuous_sparsification", {}),
        ("weight_gates", {}),
        ("weight_gates", {"rounded": False}),
        ("weight_gates", {"gate": "hard_concrete", "gate_lr": 0.2}),
        ("weight_gates", {"gate": "hard_concrete", "rounded": False, "gate_lr": 0.1}),
    ],
)
def test_a_strong_ticket_knows_digits(method: str, fields: dict[str, Any]) -> None:
    network = initialise(Network.fresh("lenet300", {}, seed=0), "signed_constant", seed=1)
    rate = CONFIGS[method].model_fields["train"].default.lr
    longer = SHORT.model_copy(update={"epochs": 25, "batch_size": 20, "lr": rate})
    ticket = find(network, config(method, sparsity=0.7, train=longer, **fields))
    assert ticket.log["validation_top1_with_mask"] > 0.7
    # The last tenth of the run was trained with the mask.
    known = ticket.log["validation_top1_as_trained"]
    assert known == pytest.approx(ticket.log["validation_top1_with_mask"], abs=0.02)
