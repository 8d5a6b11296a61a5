"""Data of the user's own: pictures in folders, a .npz file, or a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.device_runner.preprocess import capture
from edgeticket.models.imported import find_function
from edgeticket.pipeline.data.classes import read_classes
from edgeticket.pipeline.data.decoded import decoded
from edgeticket.pipeline.data.examples import Collection, Dataset, Split
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.folder import Listing, list_folder
from edgeticket.pipeline.data.given import (
    call_factory,
    check_arrays,
    has_labels,
    pictures_of,
    read_arrays,
)
from edgeticket.pipeline.data.named import check_targets, splits_of, target_names
from edgeticket.pipeline.data.rebuilt import with_rebuilt
from edgeticket.pipeline.data.scaling import capture_steps, scaling
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.data.unlabelled import arrays_dataset, split_unlabelled
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.recipe import DataConfig
from edgeticket.pipeline.recipe.sources import CHANGES
from edgeticket.pipeline.store import Store

SPATIAL = ("masks", "boxes", "keypoints", "images")  # targets that lie in the picture
AT_A_TIME = 256  # inputs that are resized together


def load_own(
    cfg: DataConfig, *, folders: Sequence[Path], store: Store, progress: Progress
) -> Collection:
    """What ``cfg`` names by folder, npz or factory.

    Args:
        cfg: has one of the three.
        folders: where relative paths are looked up, in order.
        store: keeps decoded pictures.
        progress: shows how far decoding is.

    Raises:
        InputError: it is not there, damaged, or something else.
    """
    steps = capture_steps(cfg)
    named = find_file(cfg.classes, folders=folders) if cfg.classes else None
    known = None if named is None else read_classes(named)
    if cfg.folder is not None:
        place = find_file(cfg.folder, folders=folders, kind="folder")
        layout = list_folder(place, classes=known)

        def split(listing: Listing) -> Split:
            listing.tell_passed_over(progress.say, used=(named,))
            return Split(decoded(listing, steps, store=store, progress=progress), listing.labels)

        made = Collection(
            split(layout.pool),
            split(layout.test) if layout.test else None,
            layout.classes.labels,
            (),
            split(layout.validation) if layout.validation else None,
            steps,
        )
    else:
        arrays, where = _arrays(cfg, folders)
        pool, test, names = check_arrays(arrays, place=where)
        tops = [int(s.labels.max()) for s in (pool, test) if s is not None and s.labels is not None]
        count = 1 + max(tops)
        labels = known.labels if known else names or tuple(map(str, range(max(count, 2))))
        if len(labels) < count:
            raise InputError(
                f"data.classes: {cfg.title} has labels up to {count - 1}, but {len(labels)} classes"
            )
        pool = replace(pool, inputs=_changed(pool.inputs, steps))
        test = test and replace(test, inputs=_changed(test.inputs, steps))
        made = replace(Collection(pool, test, labels, ()), capture=steps)
    return replace(made, preprocessing=(scaling(cfg, made.pool.inputs.shape[-1]),))


def load_for_task(cfg: DataConfig, task: Task, *, folders: Sequence[Path]) -> Collection:
    """What ``cfg`` names by npz or factory, with the targets of ``task``.

    Raises:
        InputError: it is not there, damaged, or something else.
    """
    if cfg.npz is None and cfg.factory is None:
        raise InputError(
            f"data: {cfg.title} has no targets for task {task.name}: give an npz or a factory with "
            f"{' or '.join(target_names(task))}, or leave task out"
        )
    arrays, where = _arrays(cfg, folders)
    pool, test = splits_of(arrays, task, place=where)
    if isinstance(pool.inputs, Tensors):
        _refuse_pixels(cfg)
        preprocessing: tuple[Mapping[str, Any], ...] = ()
        steps: tuple[Mapping[str, Any], ...] = ()
    else:
        steps = capture_steps(cfg)
        moving = [key for key in ("resize", "crop", "letterbox") if getattr(cfg, key)]
        if moving and task.name in SPATIAL:
            raise InputError(
                f"data.{moving[0]}: targets of task {task.name} would not move along: give inputs "
                "in the size that the network takes, or files in a layout of docs/data.md"
            )
        pool = replace(pool, inputs=_changed(pool.inputs, steps))
        test = test and replace(test, inputs=_changed(test.inputs, steps))
        preprocessing = (scaling(cfg, pool.inputs.shape[-1]),)
    pool, test = with_rebuilt(pool, preprocessing), test and with_rebuilt(test, preprocessing)
    assert pool.targets is not None
    check_targets(pool.targets, place=where, is_pool=True)
    if test is not None:
        assert test.targets is not None
        check_targets(test.targets, place=f"{where}, test set")
    return Collection(pool, test, (), preprocessing, capture=steps)


def _refuse_pixels(cfg: DataConfig) -> None:
    """
    Raises:
        InputError: the recipe says what is to be done with pixels, and there are none.
    """
    for key in (*CHANGES, "mean", "std"):
        if getattr(cfg, key):
            raise InputError(
                f"data.{key}: inputs of {cfg.title} are no uint8 pictures: they go into the "
                "network as they are; leave it out"
            )


def _arrays(cfg: DataConfig, folders: Sequence[Path]) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """Those that ``cfg`` names by npz or factory, and where messages say that they are from."""
    if cfg.npz is not None:
        file = find_file(cfg.npz, folders=folders)
        return read_arrays(file), f"data.npz: {file}"
    assert cfg.factory is not None  # the recipe has one of the three
    try:
        function = find_function(cfg.factory)
    except ValueError as error:
        raise InputError(f"data.factory: {error}") from error
    return call_factory(function, cfg.args, name=cfg.factory), f"data.factory: {cfg.factory}"


def load_unlabelled(cfg: DataConfig, *, folders: Sequence[Path], seed: int) -> Dataset | None:
    """What ``cfg`` names by npz, if it has no labels: pictures as `data.npz` otherwise wants them,
    or arrays for a network's inputs; None: it has some.

    Raises:
        InputError: it is not there, damaged, or something else.
    """
    if cfg.npz is None:
        return None
    arrays = read_arrays(find_file(cfg.npz, folders=folders))
    if has_labels(arrays):
        return None
    pictures = arrays.get("inputs")
    if set(arrays) == {"inputs"} and pictures is not None and pictures.dtype == np.uint8:
        stored = _changed(pictures_of(pictures, place=f"data.npz: {cfg.npz}"), capture_steps(cfg))
        steps = (scaling(cfg, stored.shape[-1]),)
        return split_unlabelled(
            stored, cfg, seed=seed, preprocessing=steps, capture=capture_steps(cfg)
        )
    if not arrays:
        raise InputError(f"data.npz: {cfg.npz} has nothing in it")
    return arrays_dataset(arrays, cfg, seed=seed)


def _changed(pictures: Any, steps: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.uint8]:
    """Arrays that are given go through the same steps as pictures in folders."""
    if not steps:
        unchanged: npt.NDArray[np.uint8] = pictures
        return unchanged
    parts = [
        capture(pictures[at : at + AT_A_TIME], steps) for at in range(0, len(pictures), AT_A_TIME)
    ]
    return np.concatenate(parts)
