"""A teacher's outputs that are computed once: of examples whose changes repeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeticket.pipeline.graph.batches import Batch
from edgeticket.pipeline.train.augment import Draw
from edgeticket.pipeline.train.distil import Answers

Show = Callable[[str], None]


@dataclass(frozen=True)
class KeptAnswers:
    """What a teacher says about each view of the examples, from the first time it is wanted on.

    All of a view is asked in the order of the examples, not in that of an epoch. So a run that goes
    on from a state file, and has kept nothing, is taught in the same bits.
    """

    ask: Callable[[Batch], Answers]  # a batch as it is stored -> what the teacher answers
    stored: Callable[[Draw], Batch]  # drawn examples -> those as stored, but changed as was drawn
    batch_size: int
    _views: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)  # outputs, [N, ...] each

    def ready(self, number: int, draw: Callable[[], Draw], show: Show) -> None:
        """Ask the teacher about view ``number`` of all examples, which ``draw`` gives, unless that
        is done."""
        if number in self._views:
            return
        view, answers = draw(), []
        for start in range(0, len(view.order), self.batch_size):
            show(f"the teacher looks at view {number + 1}")
            part = view.take(slice(start, start + self.batch_size))
            answers.append(self.ask(self.stored(part)).all_outputs)
        self._views[number] = tuple(torch.cat(parts) for parts in zip(*answers, strict=True))

    def of(self, number: int, examples: Tensor) -> Answers:
        """Indices int64 [N] -> what the teacher says about these examples in view ``number``."""
        first, *others = (outputs[examples.to(outputs.device)] for outputs in self._views[number])
        return Answers(first, {}, tuple(others))
