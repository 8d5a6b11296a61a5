"""Ticket files: they hold a strong ticket to the bit, in no more bits than its densities need."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ticket_fixtures import example, masks_by_hand, read_by_hand, strong

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.network.draw import settle
from edgeticket.pipeline.network.initialise import Init
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.tickets.file import (
    SettledBySeed,
    decode,
    encode,
    is_strong,
    layout,
    weigh,
)
from edgeticket.pipeline.tickets.file import mask_code as code
from edgeticket.pipeline.tickets.file.mask_code import LANES, Model, bound_bits, fit

GOLDEN = Path(__file__).parents[1] / "golden" / "strong.ticket"
DRAWN = {"init": "signed_constant", "init_kept": 0.25, "seed": 3}

matrices = st.tuples(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([0.0, 0.002, 0.05, 0.5, 0.97, 1.0]),
    st.sampled_from(["outputs", "inputs"]),
    st.integers(1, 2**20),
    st.integers(0, 2**32),
)


def random_matrix(outputs: int, inputs: int, density: float, seed: int) -> code.Bits:
    return np.random.default_rng(seed).random((outputs, inputs)) < density


# --- masks that a seed decides in part


@settings(max_examples=60, deadline=None)
@given(st.lists(matrices, max_size=4), st.sampled_from([(0.5, 0.0), (0.0, 0.3), (0.6, 0.39)]))
def test_settled_elements_come_back_without_a_code(
    drawn: list[tuple[int, int, float, str, int, int]], shares: tuple[float, float]
) -> None:
    zeros, ones = shares
    known = [
        code.Known(*settle((rows, columns), name=str(i), seed=9, zeros=zeros, ones=ones))
        for i, (rows, columns, *_) in enumerate(drawn)
    ]
    given_ = [
        (random_matrix(rows, columns, p, seed) | sure.ones) & ~sure.zeros
        for (rows, columns, p, _, _, seed), sure in zip(drawn, known, strict=True)
    ]
    models = [
        Model(int((matrix & sure.free).sum()), along, prior)  # type: ignore[arg-type]
        for matrix, sure, (_, _, _, along, prior, _) in zip(given_, known, drawn, strict=True)
    ]
    data = code.encode(given_, models, known)
    back = code.decode(data, [matrix.shape for matrix in given_], models, known)
    for before, after in zip(given_, back, strict=True):
        np.testing.assert_array_equal(before, after)
    entries = [
        {"name": str(i), "shape": matrix.shape, "mask": {**vars(model), "settled": True}}
        for i, (matrix, model) in enumerate(zip(given_, models, strict=True))
    ]
    by_hand = masks_by_hand(data, entries, {"zeros": zeros, "ones": ones, "seed": 9})
    for i, matrix in enumerate(given_):
        assert by_hand[str(i)] == matrix.ravel().tolist()


def test_what_is_settled_costs_nothing() -> None:
    """Half settled: half of the bits, at the same density among the others."""
    sure = code.Known(*settle((256, 512), name="w", seed=1, zeros=0.5, ones=0.0))
    matrix = random_matrix(256, 512, 0.1, seed=2) & ~sure.zeros
    plain, settled = (
        8 * len(code.encode([matrix], [fit(matrix, known)], [known])) - 32 * 32
        for known in (code.Known.none(matrix.shape), sure)
    )
    entropy = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
    assert settled == pytest.approx(entropy * sure.free.sum(), rel=0.03)
    assert settled < 0.86 * plain


def test_a_ticket_of_which_a_seed_decides_a_part() -> None:
    by_seed = SettledBySeed(zeros=0.5, ones=0.05, seed=4)
    network, mask = strong("digits_cnn", {"width": 3}, init="uniform", kept=0.2, seed=7)
    tensors = {}
    for name, kept in mask.tensors.items():
        zeros, ones = settle(kept.shape, name=name, seed=4, zeros=0.5, ones=0.05)
        tensors[name] = (kept | torch.from_numpy(ones)) & ~torch.from_numpy(zeros)
    odd = "features.6.weight"  # a later pass did not keep to it
    tensors[odd] = torch.ones_like(tensors[odd])
    whole, _ = strong("digits_cnn", {"width": 3}, init="uniform", kept=1.0, seed=7)
    mask = Mask(tensors)
    network = mask.apply(whole)
    drawn = {"init": "uniform", "init_kept": 0.25, "seed": 7}
    data = encode(network, mask, **drawn, settled=by_seed)
    assert data[4] == 2
    ticket = decode(data, place="x")
    assert ticket.settled == by_seed
    assert ticket.network.digest == network.digest
    assert all(ticket.mask.tensors[name].equal(kept) for name, kept in tensors.items())
    assert len(data) < len(encode(network, mask, **drawn))
    by_hand = read_by_hand(data)
    for name, tensor in network.weights.items():
        assert by_hand[name] == tensor.flatten().tolist()


# --- masks


@settings(max_examples=60, deadline=None)
@given(st.lists(matrices, max_size=4))
def test_masks_come_back_whatever_their_shape_density_and_model(
    drawn: list[tuple[int, int, float, str, int, int]],
) -> None:
    given_ = [random_matrix(rows, columns, p, seed) for rows, columns, p, _, _, seed in drawn]
    models = [
        Model(int(matrix.sum()), along, prior)  # type: ignore[arg-type]
        for matrix, (_, _, _, along, prior, _) in zip(given_, drawn, strict=True)
    ]
    data = code.encode(given_, models)
    back = code.decode(data, [matrix.shape for matrix in given_], models)
    for before, after in zip(given_, back, strict=True):
        np.testing.assert_array_equal(before, after)
    entries = [
        {"name": str(i), "shape": matrix.shape, "mask": vars(model)}
        for i, (matrix, model) in enumerate(zip(given_, models, strict=True))
    ]
    by_hand = masks_by_hand(data, entries)
    assert [by_hand[str(i)] for i in range(len(given_))] == [m.ravel().tolist() for m in given_]


@pytest.mark.parametrize("density", [0.002, 0.05, 0.3, 0.5])
def test_what_cannot_be_foreseen_costs_its_entropy(density: float) -> None:
    masks = [random_matrix(300, 784, density, 0), random_matrix(100, 300, 2 * density % 1, 1)]
    models = [fit(mask) for mask in masks]
    bound = bound_bits([mask.size for mask in masks], [model.kept for model in models])
    bits = 8 * len(code.encode(masks, models))
    assert bound < bits < 1.005 * bound + 28 * LANES


def test_densities_that_differ_between_units_save_bits() -> None:
    rng = np.random.default_rng(0)
    density = 0.1 * rng.random(256) ** 3
    across = rng.random((256, 1000)) < density[:, np.newaxis]
    own = sum(bound_bits([1000], [int(row.sum())]) for row in across)
    for mask, along in ((across, "outputs"), (np.ascontiguousarray(across.T), "inputs")):
        model = fit(mask)
        assert model.along == along
        assert 8 * len(code.encode([mask], [model])) < 0.9 * bound_bits([mask.size], [model.kept])
        assert 8 * len(code.encode([mask], [model])) < 1.1 * own


def test_the_bound_is_the_binary_entropy() -> None:
    assert bound_bits([1000], [500]) == pytest.approx(1000)
    assert bound_bits([1000, 10, 10], [50, 0, 10]) == pytest.approx(286.4, abs=0.1)


# --- networks


@pytest.mark.parametrize("init", ["signed_constant", "uniform", "kaiming_normal"])
@pytest.mark.parametrize(
    ("arch", "args"),
    [("lenet5", {}), ("digits_cnn", {"width": 3}), ("resnet20", {"width": 4})],
)
@pytest.mark.parametrize("kept", [0.0, 0.07, 1.0])
def test_a_network_comes_back_bit_for_bit(
    arch: str, args: dict[str, int], init: Init, kept: float
) -> None:
    network, mask = strong(arch, args, init=init, kept=kept, seed=11)
    drawn = {"init": init, "init_kept": 0.25, "seed": 11}
    assert is_strong(network, mask, **drawn)  # type: ignore[arg-type]
    data = encode(network, mask, **drawn)  # type: ignore[arg-type]
    shuffled = Network(arch, args, dict(reversed(network.weights.items())))  # as safetensors does
    assert encode(shuffled, mask, **drawn) == data  # type: ignore[arg-type]
    ticket = decode(data, place="x")
    assert ticket.network.digest == network.digest
    assert ticket.mask.digest == mask.digest
    assert (ticket.init, ticket.init_kept, ticket.seed) == (init, 0.25, 11)
    inputs = torch.randn(2, *network.input_shape)
    assert torch.equal(ticket.network.module()(inputs), network.module()(inputs))


def test_layers_that_were_not_pruned_are_drawn_too() -> None:
    network, mask = strong(
        "lenet5", {}, init="signed_constant", kept=0.1, seed=3, exclude=("conv1", "fc3")
    )
    ticket = decode(encode(network, mask, **DRAWN), place="x")  # type: ignore[arg-type]
    assert ticket.network.digest == network.digest
    assert ticket.mask.tensors["conv1.weight"].all()
    for name, kept in mask.tensors.items():
        assert torch.equal(ticket.mask.tensors[name], kept)


def test_statistics_take_two_bytes_where_that_loses_nothing() -> None:
    network, mask = strong("resnet20", {"width": 8}, init="signed_constant", kept=0.1, seed=3)
    rounded = Network(
        network.arch,
        network.args,
        {n: t.half().float() if "running" in n else t for n, t in network.weights.items()},
    )
    sizes = []
    for given_ in (network, rounded):
        data = encode(given_, mask, **DRAWN)  # type: ignore[arg-type]
        ticket = decode(data, place="x")
        assert ticket.network.digest == given_.digest
        sizes.append(weigh(data, ticket).numbers_bytes)
    channels = sum(len(t) for n, t in network.weights.items() if n.endswith("running_var"))
    assert sizes[0] > 5 * channels  # means are halves already
    assert sizes[1] < 4 * channels + 120


def test_its_size_is_told() -> None:
    network, mask = strong(
        "conv2", {"width": 4, "hidden": 64}, init="signed_constant", kept=0.05, seed=3
    )
    data = encode(network, mask, **DRAWN)  # type: ignore[arg-type]
    facts = weigh(data, decode(data, place="x"))
    assert facts.size_bytes == len(data)
    assert facts.weights == sum(t.numel() for t in mask.tensors.values())
    assert facts.kept == sum(int(t.sum()) for t in mask.tensors.values())
    assert facts.bound_bits_per_weight == pytest.approx(0.2864, abs=0.003)
    assert facts.bound_bits_per_weight < facts.bits_per_weight
    assert facts.bits_per_weight < 1.005 * facts.bound_bits_per_weight + 28 * LANES / facts.weights
    assert facts.deflated_mask_bytes > 1.2 * facts.mask_bytes
    assert facts.size_bytes < facts.mask_bytes + 500
    assert math.isclose(facts.bits_per_weight, 8 * facts.mask_bytes / facts.weights)


def test_only_strong_tickets_fit() -> None:
    network, mask = strong("lenet5", {}, init="signed_constant", kept=0.1, seed=3)

    def refused(match: str, changed: Network = network, **drawn: object) -> None:
        given_ = {**DRAWN, **drawn}
        assert not is_strong(changed, mask, **given_)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=match):
            encode(changed, mask, **given_)  # type: ignore[arg-type]

    refused("conv1.weight is not what seed 4 draws", seed=4)
    refused("with init uniform and init_kept 0.25", init="uniform")
    refused("init_kept 0.5", init_kept=0.5)
    refused("those of default cannot be drawn again", init="default")
    weights = dict(network.weights)
    weights["fc2.weight"] = weights["fc2.weight"] * (1 + 2**-23)
    refused("fc2.weight is not what seed 3 draws", Network("lenet5", {}, weights))
    slim = Network("lenet5", {}, network.weights, {"conv1.weight": {0: (1,)}})
    refused("no channel or block was removed", slim)


# --- the format


def test_the_golden_file_is_what_is_written_and_read() -> None:
    network, mask = example()
    golden = GOLDEN.read_bytes()
    drawn = {"init": "uniform", "init_kept": 0.25, "seed": 7}
    ticket = decode(golden, place="golden")
    assert ticket.network.digest == network.digest
    assert ticket.mask.digest == mask.digest
    # Another build of zlib may pack the same header in other bytes.
    written = layout.split(encode(network, mask, **drawn), place="new")  # type: ignore[arg-type]
    kept = layout.split(golden, place="golden")
    assert (written.mask, written.digest) == (kept.mask, kept.digest)
    for part in ("header", "numbers"):
        assert zlib.decompress(getattr(written, part)) == zlib.decompress(getattr(kept, part))


def test_a_reader_made_from_the_documentation_gets_the_same_weights() -> None:
    network, _ = example()
    by_hand = read_by_hand(GOLDEN.read_bytes())
    assert list(by_hand) == list(network.weights)
    for name, tensor in network.weights.items():
        assert tensor.flatten().tolist() == by_hand[name], name


def test_a_mask_that_names_nothing_still_makes_a_file() -> None:
    network, _ = strong("lenet5", {}, init="uniform", kept=1.0, seed=3)
    data = encode(network, Mask({}), init="uniform", init_kept=0.25, seed=3)
    assert decode(data, place="x").network.digest == network.digest
    assert len(data) < 600
