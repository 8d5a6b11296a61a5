"""Pictures at half their size, and as they were: what the package scikit-image carries, in grey.

Each picture is in one split alone. Nothing of the package is imported.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeticket.device_runner.manifest import Task
from edgeticket.device_runner.pictures import grey, resize
from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.data.installed import packaged_file, read_packaged
from edgeticket.pipeline.data.targets import Targets

SMALL, LARGE = 32, 64  # sides of what a network gets, and of what it is to give
BORDER = 4  # pixels of the large picture that do not count: there nobody knows what lies outside

# PNG, so that any decoder gives the same pixels.
PICTURES = {
    "train": ("astronaut", "brick", "cell", "grass", "gravel", "moon", "motorcycle_left"),
    "validation": ("ihc",),
    "calibration": ("coins",),
    "test": ("camera", "chelsea", "coffee"),
}
_SHA256 = {
    "astronaut": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "cell": "8d23a7fb81f7cc877cd09f330357fc7f595651306e84e17252f6e0a1b3f61515",
    "chelsea": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "coins": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
    "grass": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "ihc": "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    "moon": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
    "motorcycle_left": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
}
_STRIDE = {"train": LARGE // 2, "calibration": LARGE // 2}  # else pieces that do not overlap
_PREPROCESSING = ({"op": "normalize", "mean": [0.0], "std": [255.0]},)


def load_super_resolution(_folder: Path) -> Collection:
    """Pieces uint8 [32, 32, 1] of pictures at half their size (bicubic), and the same pieces
    [1, 64, 64] of the pictures themselves, in 0..1.

    Raises:
        InputError: scikit-image is not installed, or its pictures are others.
    """
    splits = {name: _split(name) for name in PICTURES}
    return Collection(
        splits["train"],
        splits["test"],
        (),
        _PREPROCESSING,
        validation=splits["validation"],
        calibration=splits["calibration"],
    )


def _split(name: str) -> Split:
    stride = _STRIDE.get(name, LARGE)
    pairs = [_pieces(_picture(title), stride) for title in PICTURES[name]]
    small = np.concatenate([one for one, _ in pairs])
    large = np.concatenate([one for _, one in pairs])
    image = np.moveaxis(large, -1, 1).astype(np.float32) / np.float32(255)
    task = Task("images", {"border": BORDER})
    return Split(small, None, targets=Targets(task, {"image": image}, len(image)))


def _picture(title: str) -> npt.NDArray[np.uint8]:
    """A picture as uint8 [H, W, 1], its sides even."""
    file = packaged_file(
        ("skimage",), f"data/{title}.png", title="the pictures", install="scikit-image"
    )
    data = read_packaged(file, sha256=_SHA256[title])
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.array(image)
    pixels = pixels.reshape(1, *pixels.shape[:2], -1)[:, : image.height & ~1, : image.width & ~1]
    one: npt.NDArray[np.uint8] = grey(pixels, {})[0]
    return one


def _pieces(
    picture: npt.NDArray[np.uint8], stride: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A picture -> pieces of it at half its size, and at its own."""
    height, width = picture.shape[:2]
    step = {"size": [height // 2, width // 2], "filter": "bicubic"}
    half = resize(picture[np.newaxis], step)[0]
    corners = [
        (y, x)
        for y in range(0, height - LARGE + 1, stride)
        for x in range(0, width - LARGE + 1, stride)
    ]
    small = [half[y // 2 : y // 2 + SMALL, x // 2 : x // 2 + SMALL] for y, x in corners]
    large = [picture[y : y + LARGE, x : x + LARGE] for y, x in corners]
    return np.stack(small), np.stack(large)
