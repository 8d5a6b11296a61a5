"""The fewest, cheapest steps that hold a bound, against all subsets."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeticket.pipeline.quantize.fewest_kept import Kept, fewest_kept
from edgeticket.pipeline.quantize.hitting_set import cheapest_hitting_set, smallest_hitting_set

STEPS = tuple("abcdefg")
SETS = st.frozensets(st.sampled_from(STEPS), min_size=1)


def subsets() -> list[Kept]:
    sizes = range(len(STEPS) + 1)
    return [frozenset(c) for size in sizes for c in itertools.combinations(STEPS, size)]


@given(
    conflicts=st.lists(SETS, max_size=12),
    costs=st.lists(st.integers(0, 9), min_size=7, max_size=7),
    noise=st.lists(st.floats(0, 1), min_size=7, max_size=7),
)
@settings(max_examples=150, deadline=None)
def test_as_good_as_every_subset_tried(
    conflicts: list[frozenset[str]], costs: list[int], noise: list[float]
) -> None:
    """Any bound that is not broken by more float32 is one of conflicts; noise tells nothing."""
    price = dict(zip(STEPS, map(float, costs), strict=True))

    def holds(kept: Kept) -> bool:
        return all(kept & conflict for conflict in conflicts)

    right = min((len(kept), sum(map(price.get, kept))) for kept in subsets() if holds(kept))  # type: ignore[arg-type]
    asked: list[Kept] = []

    def ask(kept: Kept) -> bool:
        asked.append(kept)
        return holds(kept)

    choice = fewest_kept(
        STEPS,
        noise=dict(zip(STEPS, noise, strict=True)),
        costs=price,
        holds=ask,
        most_tries=1000,
    )
    assert choice is not None
    assert holds(frozenset(choice.kept))
    assert (len(choice.kept), sum(price[step] for step in choice.kept)) == right
    assert choice.fewest
    assert choice.cheapest
    assert choice.steady
    assert len(asked) == len(set(asked)) == choice.tries


def test_the_order_by_noise_alone_would_keep_too_many() -> None:
    """Two loud steps that break nothing, and a quiet one that does."""
    noise = {"loud": 3.0, "louder": 4.0, "quiet": 0.1, "rest": 0.2}
    choice = fewest_kept(
        tuple(noise),
        noise=noise,
        costs=dict.fromkeys(noise, 1.0),
        holds=lambda kept: "quiet" in kept,
        most_tries=100,
    )
    assert choice is not None
    assert choice.kept == ("quiet",)


def test_few_tries_give_what_holds_and_a_bound_from_below() -> None:
    steps = tuple(f"step{i}" for i in range(24))
    pairs = [{a, b} for a, b in zip(steps[::2], steps[1::2], strict=True)]  # twelve are needed

    def holds(kept: Kept) -> bool:
        return all(kept & pair for pair in pairs)

    for tries in (6, 30, 60):
        choice = fewest_kept(
            steps,
            noise=dict.fromkeys(steps, 1.0),
            costs=dict.fromkeys(steps, 1.0),
            holds=holds,
            most_tries=tries,
        )
        assert choice is not None
        assert choice.tries <= max(tries, 8)
        assert holds(frozenset(choice.kept))
        assert choice.at_least <= 12 <= len(choice.kept)
    assert not choice.cheapest


@given(st.sets(st.frozensets(st.sampled_from(STEPS)), min_size=1))
@settings(max_examples=100, deadline=None)
def test_a_bound_that_moves_both_ways_still_ends_in_a_set_that_holds(
    good: set[frozenset[str]],
) -> None:
    choice = fewest_kept(
        STEPS,
        noise=dict.fromkeys(STEPS, 1.0),
        costs=dict.fromkeys(STEPS, 1.0),
        holds=good.__contains__,
        most_tries=1000,
    )
    if choice is None:
        assert frozenset(STEPS) not in good
    else:
        assert frozenset(choice.kept) in good


@given(sets=st.lists(SETS, min_size=1, max_size=8), costs=st.lists(st.integers(0, 9), min_size=7))
@settings(max_examples=100, deadline=None)
def test_hitting_sets_are_the_smallest_and_the_cheapest(
    sets: list[frozenset[str]], costs: list[int]
) -> None:
    price = dict(zip(STEPS, map(float, costs), strict=False))
    hitting = [kept for kept in subsets() if all(kept & wanted for wanted in sets)]
    chosen = smallest_hitting_set(sets, first=price)
    assert (len(chosen), sum(price[s] for s in chosen)) == min(
        (len(kept), sum(price[s] for s in kept)) for kept in hitting
    )
    cheap = cheapest_hitting_set(sets, costs=price, most=len(chosen))
    assert cheap is not None
    assert sum(price[s] for s in cheap) == sum(price[s] for s in chosen)
    assert cheapest_hitting_set(sets, costs=price, most=len(chosen) - 1) is None
