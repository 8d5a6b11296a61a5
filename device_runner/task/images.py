"""Images: a picture out of a picture. PSNR, and SSIM as scikit-image has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.kind import (
    HIGHER,
    Flags,
    Floats,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    finite_samples,
    pick,
)
from edgeticket.device_runner.task.settings import Settings, choice, flag, integer, number
from edgeticket.device_runner.task.sums import ExactSum
from edgeticket.device_runner.task.targets import check_count, check_finite, target
from edgeticket.device_runner.unavailable import Unavailable

HIGHEST_DB = 100.0  # of one picture: equal pictures would be infinitely good
SIDE, SIGMA, RADIUS = 7, 1.5, 5  # of the windows: Wang et al. 2004, as scikit-image cuts them
_IMAGE = "give the right picture of each sample, in the shape of the output"


@dataclass(frozen=True)
class ImagesSettings(Settings):
    """Settings of the task `images`."""

    output: int = integer(0, "the output to read")
    form: str = choice(
        "channels_first",
        ("channels_first", "channels_last", "grey"),
        "what output and target are: [N, C, H, W], [N, H, W, C] or [N, H, W]",
    )
    peak: float = number(1.0, "the range of values: 1 for 0..1, 255 for 0..255", least=1e-12)
    clip: bool = flag(True, "values of the output below 0 and above `peak` are set to these")
    border: int = integer(0, "pixels at each edge that do not count", least=0)
    window: str = choice(
        "uniform",
        ("uniform", "gaussian"),
        "of SSIM: 7x7 pixels that count alike, or a Gaussian of 11x11, sigma 1.5",
    )
    sample_covariance: bool = flag(
        True, "of SSIM: divide by the window's pixels less one; Wang et al. do not"
    )
    agree_db: float = number(40.0, "two answers agree if their PSNR is at least this")


def metrics(settings: ImagesSettings) -> tuple[Metric, ...]:
    """Of pictures, mean over all."""
    return (
        Metric("psnr_db", HIGHER, "dB", "10 log10(peak^2 / mean squared error), 100 at most"),
        Metric("ssim", HIGHER, "", "structural similarity, mean over windows and channels"),
    )


def psnr_db(a: Floats, b: Floats, peak: float) -> float:
    """Two pictures of any shape -> dB; at most `HIGHEST_DB`, which equal ones have."""
    error = float(((a - b) ** 2).mean())
    if error == 0.0:
        return HIGHEST_DB
    return min(HIGHEST_DB, 10.0 * math.log10(peak * peak / error))


def ssim(a: Floats, b: Floats, settings: ImagesSettings) -> float:
    """Two pictures [C, H, W], no side smaller than the window -> their structural similarity."""
    weights = window(settings.window)
    pixels = len(weights) ** 2
    # With a Gaussian, too: so does scikit-image.
    scale = pixels / (pixels - 1) if settings.sample_covariance else 1.0
    mean_a, mean_b = _blur(a, weights), _blur(b, weights)
    var_a = scale * (_blur(a * a, weights) - mean_a * mean_a)
    var_b = scale * (_blur(b * b, weights) - mean_b * mean_b)
    covariance = scale * (_blur(a * b, weights) - mean_a * mean_b)
    c1, c2 = (0.01 * settings.peak) ** 2, (0.03 * settings.peak) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float((above / below).mean())


def window(name: str) -> Floats:
    """The weights of a window along one side; their sum is 1."""
    if name == "uniform":
        return np.full(SIDE, 1.0 / SIDE)
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    return np.asarray(weights / weights.sum())


def _blur(picture: Floats, weights: Floats) -> Floats:
    """Weighted sums over all windows that lie within [C, H, W]."""
    for axis in (1, 2):
        size = picture.shape[axis] - len(weights) + 1
        total = np.zeros([size if i == axis else n for i, n in enumerate(picture.shape)])
        for tap, weight in enumerate(weights):
            cut = slice(tap, tap + size)
            total += weight * (picture[:, cut] if axis == 1 else picture[:, :, cut])
        picture = total
    return picture


def read_pictures(array: npt.NDArray[Any], settings: ImagesSettings, place: str) -> Floats:
    """Output or target -> [N, C, H, W] in float64, without the border.

    Raises:
        InputError: an array of another shape, or nothing within the border.
    """
    rank = 3 if settings.form == "grey" else 4
    if array.ndim != rank:
        raise InputError(f"{place} has shape {list(array.shape)}: form is {settings.form}")
    wide = array.astype(np.float64)
    if settings.form == "grey":
        wide = wide[:, np.newaxis]
    if settings.form == "channels_last":
        wide = np.moveaxis(wide, 3, 1)
    border = settings.border
    if min(wide.shape[2:]) <= 2 * border or 0 in wide.shape[1:]:
        raise InputError(f"{place}: pictures of {_size(wide)} have nothing within {border} pixels")
    inner: Floats = wide[:, :, border : wide.shape[2] - border, border : wide.shape[3] - border]
    return inner


def _answers(outputs: Outputs, settings: ImagesSettings) -> Floats:
    pictures = read_pictures(pick(outputs, settings.output), settings, f"output {settings.output}")
    return np.clip(pictures, 0.0, settings.peak) if settings.clip else pictures


def agree(outputs: Outputs, others: Outputs, settings: ImagesSettings) -> Flags:
    """The PSNR of one to the other is high enough."""
    finite = finite_samples(pick(outputs, settings.output))
    finite = finite & finite_samples(pick(others, settings.output))
    a, b = _answers(outputs, settings), _answers(others, settings)
    flags = finite.copy()
    for i in np.flatnonzero(finite):
        flags[i] = psnr_db(a[i], b[i], settings.peak) >= settings.agree_db
    return flags


def check(targets: Targets, settings: ImagesSettings, count: int) -> None:
    """Refuse what is not finite."""
    image = target(targets, "image", _IMAGE)
    check_count(image, "image", count)
    check_finite(image, "image")
    if image.dtype.kind in "iu" and image.size and int(image.max()) > settings.peak:
        raise InputError(
            f"targets: 'image' is {image.dtype} up to {image.max()}, beyond peak = "
            f"{settings.peak:g}: set peak to 255 if the output is in 0..255, too, or give the "
            "pictures as float32 in the output's range"
        )
    read_pictures(image[:1], settings, "targets: 'image'")


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: ImagesSettings, count: int) -> None:
        super().__init__(targets, settings, count)
        self.psnr, self.ssim = ExactSum(), ExactSum()
        self.smallest = ""

    def take(self, outputs: Outputs, samples: slice) -> None:
        settings = self.settings
        answers = _answers(outputs, settings)
        right = read_pictures(self.targets["image"][samples], settings, "targets: 'image'")
        if answers.shape != right.shape:
            raise InputError(
                f"output {settings.output} gives pictures of {_size(answers)}, the targets' are "
                f"{_size(right)}: they must be alike"
            )
        side = len(window(settings.window))
        for answer, wanted in zip(answers, right):
            self.parts.append((psnr_db(answer, wanted, settings.peak), 1.0))
            self.psnr.add(self.parts[-1][0])
            if min(answer.shape[1:]) < side:
                self.smallest = f"pictures of {_size(answers)} are smaller than {side}x{side}"
            else:
                self.ssim.add(ssim(answer, wanted, settings))

    def finish(self) -> Mapping[str, float | Unavailable]:
        similar = Unavailable(self.smallest) if self.smallest else self.ssim.mean
        return {"psnr_db": self.psnr.mean, "ssim": similar}


def _size(pictures: Floats) -> str:
    return f"{pictures.shape[3]}x{pictures.shape[2]}x{pictures.shape[1]}"


TASK = Task(
    name="images",
    meaning="a picture out of a picture (super-resolution, denoising)",
    settings=ImagesSettings,
    targets={"image": "pictures in the shape of the output"},
    metrics=metrics,
    headline="psnr_db",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
)
