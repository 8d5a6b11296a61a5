"""What holds for all tests: one thread for torch, and no test fails by the clock."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

# A machine that others use, too, is slow at any moment; 200 ms an example is hypothesis's default.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # With two, test sizes spend their time waiting for each other.
    torch.set_num_threads(1)
