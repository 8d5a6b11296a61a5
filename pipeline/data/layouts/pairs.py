"""Pictures, and what a network should make of them: larger ones, or better ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.pictures import cropped
from edgeticket.device_runner.task.images import ImagesSettings
from edgeticket.pipeline.data.decode import SUFFIXES
from edgeticket.pipeline.data.decoded import Decoded
from edgeticket.pipeline.data.examples import Inputs
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.layouts.part import Part, Reading, Source, Steps
from edgeticket.pipeline.data.layouts.paths import Parted, list_files, match_stems, parts_of
from edgeticket.pipeline.data.scaling import scaling

PLACE = "data.pairs"
WHITE = 255.0


def read_pairs(source: Source) -> Reading:
    """What `data.pairs` names.

    Raises:
        InputError: a picture without its other, or of another size; names it.
    """
    cfg = source.cfg.pairs
    assert cfg is not None
    settings = ImagesSettings.from_json(dict(source.task.settings))
    wholes = _parted(cfg.targets, "targets", source)
    inputs = _parted(cfg.pictures, "pictures", source) if cfg.pictures is not None else None
    parts: dict[str, Part] = {}
    capture: Steps = ()
    for name in ("train", "validation", "test"):
        folder = getattr(wholes, name)
        beside = None if inputs is None else getattr(inputs, name)
        if inputs is not None and (folder is None) != (beside is None):
            raise InputError(
                f"{PLACE}: {folder or beside} is on one side alone: give pictures and targets the "
                "same of train/, val/ and test/"
            )
        if folder is not None:
            stored, targets, capture = _read(folder, beside, source)
            parts[name] = Part(stored, {"image": _as_output(targets, settings)})
    pool = parts["train"]
    return Reading(
        pool,
        parts.get("validation"),
        parts.get("test"),
        (),
        (scaling(source.cfg, pool.inputs.shape[-1]),),
        capture,
    )


def _parted(name: str, key: str, source: Source) -> Parted:
    place = f"{PLACE}.{key}"
    return parts_of(find_file(name, folders=source.folders, kind="folder"), place=place)


def _read(folder: Path, beside: Path | None, source: Source) -> tuple[Inputs, Inputs, Steps]:
    """What goes in, what should come out, and the steps that made the first of pictures."""
    cfg = source.cfg.pairs
    assert cfg is not None
    tell, factor = source.progress.say, cfg.factor
    names = list_files(folder, SUFFIXES, place=PLACE, tell=tell)
    targets = source.decode(folder, names)
    height, width = targets.arrays.shape[1:3]
    if height % factor or width % factor:
        raise InputError(
            f"{PLACE}: targets become {width}x{height} pixels, which factor {factor} does not "
            "divide: cut them by data.crop"
        )
    small = height // factor, width // factor
    if beside is None:
        shrink = {"op": "resize", "size": list(small), "filter": source.cfg.filter}
        steps = (*source.steps, shrink)
        return source.decode(folder, names, steps=steps).arrays, targets.arrays, steps
    others = list_files(beside, SUFFIXES, place=PLACE, tell=tell)
    matched = match_stems(names, others, place=PLACE, what=("target", "picture"))
    steps = tuple(step for step in source.steps if step["op"] != "center_crop")
    crop = next((step for step in source.steps if step["op"] == "center_crop"), None)
    if crop is not None:
        steps = (*steps, {"op": "center_crop", "size": list(small)})
    pictures = source.decode(beside, matched, steps=steps)
    _check_sizes(folder, names, targets, pictures, factor)
    if crop is not None:
        _check_middle(targets, pictures, source.steps, steps, factor)
    if pictures.arrays.shape[1:3] != small:
        raise InputError(
            f"{PLACE}: pictures become {_by(pictures.arrays.shape[1:3])} pixels, targets "
            f"{width}x{height}: factor is {factor}, so they must be {_by(small)}"
        )
    return pictures.arrays, targets.arrays, steps


def _check_sizes(
    folder: Path, names: tuple[str, ...], targets: Decoded, pictures: Decoded, factor: int
) -> None:
    wrong = (targets.sizes != pictures.sizes * factor).any(axis=1)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{PLACE}: {folder / names[i]} has {_by(targets.sizes[i])} pixels, the picture that "
            f"goes in {_by(pictures.sizes[i])}: each side must be factor ({factor}) times as long"
        )


def _check_middle(
    targets: Decoded, pictures: Decoded, steps: Steps, small_steps: Steps, factor: int
) -> None:
    """The middle of both must be the same place: an odd rest is rounded otherwise in each."""
    size, small = steps[-1], small_steps[-1]
    for whole, part in zip(targets.sizes.tolist(), pictures.sizes.tolist(), strict=True):
        first, inner = cropped(whole[0], whole[1], size), cropped(part[0], part[1], small)
        if first != (inner[0] * factor, inner[1] * factor):
            raise InputError(
                f"data.crop: the middle of {_by(whole)} pixels is not that of {_by(part)} to the "
                "pixel: cut the pictures before, or crop to sides that leave an even rest"
            )


def _as_output(pictures: Inputs, settings: ImagesSettings) -> npt.NDArray[Any]:
    """uint8 [N, H, W, C] -> in the form and range of the network's output.

    Raises:
        InputError: colours for a grey output.
    """
    image = np.asarray(pictures[:])
    if settings.form == "grey":
        if image.shape[-1] != 1:
            raise InputError("task.form is grey, and data have colours: say data.grey: true")
        image = image[..., 0]
    elif settings.form == "channels_first":
        image = np.ascontiguousarray(np.moveaxis(image, -1, 1))
    if settings.peak == WHITE:
        return image
    return (image * np.float32(settings.peak / WHITE)).astype(np.float32)


def _by(size: Any) -> str:
    return f"{size[1]}x{size[0]}"
