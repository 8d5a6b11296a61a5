"""What every peer is given and gives back; runs in that peer's own environment.

A folder holds `fp32.onnx` (batch 1, one input), `calibration.npy` (float32 [N, C, H, W], prepared
as the network takes it) and `network/` (for tools that start from torch).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def images(folder: Path) -> Any:
    """The calibration images, float32 [N, C, H, W]."""
    return np.load(folder / "calibration.npy")


def one_by_one(folder: Path) -> Iterator[Any]:
    """The calibration images, each float32 [1, C, H, W]."""
    for image in images(folder):
        yield image[np.newaxis]


def torch_network(folder: Path) -> Any:
    """The same network as a torch module that is ready for inference."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from edgeticket.pipeline.network.file import load_network

    return load_network(folder / "network").module().eval()


def timed(quantize: Callable[[Path, Path], None]) -> None:
    """Run ``quantize(folder, file to write)`` on what the command line says; print its seconds.

    Importing the tool does not count: tools import at the head of their script.
    """
    folder, file = Path(sys.argv[1]), Path(sys.argv[2])
    start_s = time.perf_counter()
    quantize(folder, file)
    print(json.dumps({"seconds": time.perf_counter() - start_s}))
