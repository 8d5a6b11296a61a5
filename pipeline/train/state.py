"""The state file of a training run: where an interrupted run goes on from."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.errors import InputError


@dataclass(frozen=True)
class TrainingState:
    """All that changes during a run, and the file that keeps it (None: nothing is kept)."""

    path: Path | None
    run: str  # what must be the same for a run to go on from the file
    modules: Mapping[str, nn.Module]  # by their names in the file
    optimizers: Sequence[torch.optim.Optimizer]

    def load(self) -> int:
        """Bring modules and optimizers to where the file left them -> finished epochs.

        Raises:
            InputError: the file is damaged, or belongs to another run.
        """
        if self.path is None or not self.path.exists():
            return 0
        try:
            # Only tensors and plain values; a state file cannot run code.
            state = torch.load(self.path, weights_only=True, map_location="cpu")
            run, epochs = state["run"], int(state["epochs"])
        except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
            raise InputError(f"{self.path} is damaged ({error!r}); delete it") from None
        if run != self.run:
            raise InputError(f"{self.path} belongs to another run ({run}); delete it")
        try:
            for name, module in self.modules.items():
                module.load_state_dict(state[name])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
        except (RuntimeError, ValueError, KeyError):
            raise InputError(f"{self.path} belongs to another network; delete it") from None
        return epochs

    def save(self, epochs: int) -> None:
        """Replace the file, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        if self.path is None:
            return
        state = {
            "run": self.run,
            "epochs": epochs,
            **{name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        data = io.BytesIO()  # torch would report a full disk as an internal error
        torch.save(state, data)
        write_atomic(self.path, data.getvalue())
