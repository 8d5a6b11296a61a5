"""Random weights: the documented steps, done here once more in plain Python, give the same bits."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from ticket_fixtures import drawn_by_hand

from edgeticket.pipeline.network.draw import DRAWS, draw


@pytest.mark.parametrize("init", DRAWS)
@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_another_implementation_draws_the_same_bits(init: str, seed: int) -> None:
    shape, kept = (7, 3, 3, 3), 0.05
    drawn = draw(init, shape, name="features.0.weight", seed=seed, kept=kept)
    deviation = math.sqrt(2 / (27 * kept))
    units = drawn_by_hand(init, drawn.size, name="features.0.weight", seed=seed)
    again = np.array([np.float32(unit * deviation) for unit in units]).reshape(shape)
    assert drawn.dtype == np.float32
    assert drawn.tobytes() == again.tobytes()


def test_what_was_drawn_once_is_drawn_for_ever() -> None:
    digests = {
        init: hashlib.sha256(draw(init, (50, 40), name="fc.weight", seed=3, kept=0.1)).hexdigest()
        for init in DRAWS
    }
    assert digests == {
        "kaiming_normal": "b8757d0386e7d5f0f8bf8f4a8ac120545d47cc9a76462bcc64f68bc7c100722d",
        "signed_constant": "05c5b93f3325148a73b2eadc7ef2b48635717d925b12f082b3e2bd2cf6830a5d",
        "uniform": "e4a961d613da81089583869ab3ab8249733a98fb1b617c73b6b7bde32a528b5e",
    }


@pytest.mark.parametrize("init", DRAWS)
def test_weights_are_centred_with_unit_variance(init: str) -> None:
    weights = draw(init, (400, 500), name="w", seed=1, kept=1.0) / math.sqrt(2 / 500)
    assert abs(weights.mean()) < 0.01
    assert weights.var() == pytest.approx(1, abs=0.01)
    beyond = {"signed_constant": 0.0, "uniform": 0.0, "kaiming_normal": 0.0455}[init]
    assert (abs(weights) > 2).mean() == pytest.approx(beyond, abs=0.003)


def test_tensors_and_seeds_have_streams_of_their_own() -> None:
    drawn = [
        draw("signed_constant", (64, 64), name=name, seed=seed, kept=1.0).ravel()
        for name in ("a", "b")
        for seed in (0, 1)
    ]
    correlations = np.corrcoef(drawn) - np.eye(4)
    assert abs(correlations).max() < 0.06
