"""Arrays go into a network as they are: steps for them are refused, not passed over."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.train.batches import as_taken
from edgeticket.pipeline.train.evaluation import to_torch

STEPS = ({"op": "normalize", "mean": [1.0], "std": [2.0]},)
ARRAYS = np.ones((3, 4, 1), np.float32)


def test_steps_for_arrays_are_refused() -> None:
    for work in (
        lambda: to_torch(Tensors((ARRAYS,), ("input",)), STEPS),
        lambda: as_taken((torch.from_numpy(ARRAYS),), STEPS),
    ):
        with pytest.raises(InputError, match="normalize is for pictures and recordings") as caught:
            work()
        assert "\n" not in str(caught.value)


def test_arrays_without_steps_are_taken() -> None:
    (taken,) = as_taken((torch.from_numpy(ARRAYS),), ())
    (evaluated,) = to_torch(Tensors((ARRAYS,), ("input",)), ())
    assert taken.shape == evaluated.shape == (3, 1, 4)
