"""torchvision and torchaudio beside a CPU build of torch.

The package registry's wheels of both link CUDA libraries. Beside a CPU torch their compiled
parts do not load, and torchvision does not even import (``operator torchvision::nms does not
exist``). Their Python parts need little of it: with the operators declared, models, transforms
and data sets work. Where the wheels load by themselves, nothing here does anything.

Import both through this module: ``torchvision = import_torchvision()``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor


@functools.cache
def import_torchvision() -> ModuleType:
    """torchvision, whole or without its compiled image decoders and detection operators."""
    if "torchvision" in sys.modules or _loads("torchvision", "_C*.so"):
        return importlib.import_module("torchvision")
    # torchvision registers Python meta kernels for these two on import, so they must exist.
    for operator in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{operator}",
            "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )
    return importlib.import_module("torchvision")


@functools.cache
def import_torchaudio() -> ModuleType:
    """torchaudio, whole or without its compiled part; then `load` reads through soundfile."""
    if "torchaudio" in sys.modules or _loads("torchaudio", "lib/_torchaudio*.so"):
        return importlib.import_module("torchaudio")
    sys.modules["torchaudio._extension"] = _absent_extension()
    torchaudio = importlib.import_module("torchaudio")
    # torchaudio's own `load` decodes with torchcodec, which links CUDA and FFmpeg libraries.
    torchaudio.load = load_audio  # type: ignore[attr-defined]
    return torchaudio


def load_audio(
    uri: str | os.PathLike[str],
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
) -> tuple[Tensor, int]:
    """An audio file -> (float32 [channels, frames] in −1..1, sample rate in Hz).

    The arguments are `torchaudio.load`'s; ``normalize=False`` is not available.
    """
    import soundfile  # here, because most of the pipeline never hears anything

    if not normalize:
        raise NotImplementedError("load_audio returns normalised samples only")
    samples, rate = soundfile.read(
        os.fspath(uri), start=frame_offset, frames=num_frames, dtype="float32", always_2d=True
    )
    waveform = torch.from_numpy(samples)
    return (waveform.T.contiguous() if channels_first else waveform), int(rate)


def _loads(package: str, pattern: str) -> bool:
    """Whether the compiled part of ``package`` can be loaded beside this torch."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return True  # not installed: let its import say so
    try:
        for library in sorted(Path(spec.origin).parent.glob(pattern)):
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True


def _absent_extension() -> ModuleType:
    """What `torchaudio._extension` looks like where torchaudio was built without C++."""

    def fail_if_no_align(function: Callable[..., Any]) -> Callable[..., NoReturn]:
        @functools.wraps(function)
        def fail(*_args: object, **_kwargs: object) -> NoReturn:
            raise RuntimeError(f"{function.__name__} needs torchaudio's compiled extension")

        return fail

    module = ModuleType("torchaudio._extension")
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=fail_if_no_align,
    )
    return module
