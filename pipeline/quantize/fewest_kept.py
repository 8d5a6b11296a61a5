"""Which steps to keep out of int8 so that a bound holds: the fewest, and of those the cheapest.

Sets are tried, not sums of single losses: two steps that are harmless alone may break a bound
together, and which they are is not known before. What is learnt of each set that breaks it is a
conflict: a small set of steps that must not all be int8. Whatever holds the bound keeps at least
one step of every conflict, so the smallest set that hits all conflicts is tried next; the first
that holds is the smallest there is. (Implicit hitting sets: Moreno-Centeno and Karp 2013; conflicts
are made small by QuickXplain, Junker 2004.)

That rests on one assumption: with more steps in float32 a bound that held still holds. What is
returned has been tried in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgeticket.pipeline.quantize.hitting_set import cheapest_hitting_set, smallest_hitting_set

Kept = frozenset[str]
Holds = Callable[[Kept], bool]
"""Whether the bound holds with these steps in float32, all others in int8."""


@dataclass(frozen=True)
class Choice:
    """Steps that are kept in float32, and how sure it is that fewer do not suffice."""

    kept: tuple[str, ...]  # in the order in which steps were given
    at_least: int  # no smaller number suffices
    cheapest: bool  # no other set of so many steps that suffices costs less
    steady: bool  # no set that was tried held the bound and broke it with more steps in float32
    tries: int

    @property
    def fewest(self) -> bool:
        """Whether fewer are known not to suffice."""
        return self.at_least == len(self.kept)


def fewest_kept(
    steps: Sequence[str],
    *,
    noise: Mapping[str, float],
    costs: Mapping[str, float],
    holds: Holds,
    most_tries: int,
) -> Choice | None:
    """Find the fewest steps that have to stay in float32, and of equally many the cheapest.

    Args:
        steps: all that could be kept.
        noise: of each, what int8 in it alone does to the outputs; decides only what is tried first.
        costs: of each, what float32 costs, at least 0.
        holds: tries a set; it is asked at most once about each.
        most_tries: then the best set so far is returned, with what is known of fewer. Finding any
            takes a few tries more than the logarithm of the number of steps, whatever this says.

    Returns:
        None: the bound does not hold even with all steps in float32.
    """
    search = _Search(tuple(steps), noise, costs, holds, most_tries)
    if search.holds(frozenset()):
        return search.choice(frozenset(), at_least=0, cheapest=True)
    if not search.holds(frozenset(steps)):
        return None
    best = search.noisiest()
    at_least, cheapest = 1, False
    try:
        best = search.thinned(best)
        while at_least < len(best):
            trial = search.smallest()
            at_least = len(trial)
            if at_least >= len(best):
                break
            best = min(best, search.learn(trial), key=len)
        while not cheapest:
            cheaper = cheapest_hitting_set(search.conflicts, costs=costs, most=len(best))
            if cheaper is None:  # of a bound that is not steady
                break
            trial = cheaper
            if search.cost(trial) >= search.cost(best):
                cheapest = True
            elif search.holds(trial):
                best, cheapest = trial, True
            else:
                search.conflicts.append(search.conflict(trial))
    except _SpentError:
        best = min([best, *search.held()], key=lambda kept: (len(kept), search.cost(kept)))
    return search.choice(best, at_least=at_least, cheapest=cheapest)


class _SpentError(Exception):
    """All tries are spent."""


class _Search:
    """What has been tried, and what was learnt of it."""

    def __init__(
        self,
        steps: tuple[str, ...],
        noise: Mapping[str, float],
        costs: Mapping[str, float],
        holds: Holds,
        most_tries: int,
    ) -> None:
        self.steps = steps
        self.loudest_first = sorted(steps, key=lambda step: -noise[step])
        self.quiet = {step: -noise[step] for step in steps}
        self.costs = costs
        self.conflicts: list[frozenset[str]] = []
        self.tried: dict[Kept, bool] = {}
        self._ask, self._most = holds, most_tries
        self.free = True  # until any set is known to hold, tries are not counted

    def holds(self, kept: Kept) -> bool:
        if kept not in self.tried:
            if not self.free and len(self.tried) >= self._most:
                raise _SpentError
            self.tried[kept] = self._ask(kept)
        return self.tried[kept]

    def held(self) -> list[Kept]:
        return [kept for kept, did in self.tried.items() if did]

    def cost(self, kept: Kept) -> float:
        return sum(self.costs[step] for step in sorted(kept))

    def choice(self, kept: Kept, *, at_least: int, cheapest: bool) -> Choice:
        broke = [more for more, did in self.tried.items() if not did]
        steady = not any(fewer < more for fewer in self.held() for more in broke)
        order = tuple(step for step in self.steps if step in kept)
        return Choice(order, min(at_least, len(kept)), cheapest, steady, len(self.tried))

    def noisiest(self) -> Kept:
        """The shortest beginning of the steps by noise that holds, by halving."""
        breaks, enough = 0, len(self.steps)
        while enough - breaks > 1:
            middle = (breaks + enough) // 2
            if self.holds(frozenset(self.loudest_first[:middle])):
                enough = middle
            else:
                breaks = middle
        self.free = False
        return frozenset(self.loudest_first[:enough])

    def thinned(self, kept: Kept) -> Kept:
        """Without each step that is not needed, the quietest first."""
        for step in [step for step in reversed(self.loudest_first) if step in kept]:
            if self.holds(kept - {step}):
                kept = kept - {step}
        return kept

    def smallest(self) -> Kept:
        """The fewest steps that every conflict wants, of equally many the loudest."""
        return smallest_hitting_set(self.conflicts, first=self.quiet)

    def learn(self, trial: Kept) -> Kept:
        """Add conflicts, none of which shares a step with another, until the rest holds.

        Returns:
            ``trial`` with all steps of these conflicts, which holds.
        """
        while not self.holds(trial):
            conflict = self.conflict(trial)
            self.conflicts.append(conflict)
            trial |= conflict
        return trial

    def conflict(self, kept: Kept) -> frozenset[str]:
        """Of the steps that are int8 in a set that breaks: such as break it without the others,
        none of which could be left out."""
        pool = [step for step in self.loudest_first if step not in kept]
        return frozenset(self._explain([], False, pool))

    def _explain(self, background: list[str], added: bool, pool: list[str]) -> list[str]:
        if added and self._breaks(background):
            return []
        if len(pool) == 1:
            return pool
        half = len(pool) // 2
        first, second = pool[:half], pool[half:]
        of_second = self._explain(background + first, True, second)
        of_first = self._explain(background + of_second, bool(of_second), first)
        return of_first + of_second

    def _breaks(self, int8: Sequence[str]) -> bool:
        return not self.holds(frozenset(self.steps) - frozenset(int8))
