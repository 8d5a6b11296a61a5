"""Data sets, and the one place that splits them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.basic_motions import load_basic_motions
from edgeticket.pipeline.data.cifar10 import fetch_cifar10, load_cifar10
from edgeticket.pipeline.data.digit_anomaly import load_digit_anomaly
from edgeticket.pipeline.data.digit_scenes import load_digit_boxes, load_digit_masks
from edgeticket.pipeline.data.digits import load_digits
from edgeticket.pipeline.data.examples import Collection, Dataset, Inputs, Split, Teacher
from edgeticket.pipeline.data.fashion_mnist import fetch_fashion_mnist, load_fashion_mnist
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.for_task import for_task
from edgeticket.pipeline.data.layouts import read_layout
from edgeticket.pipeline.data.librispeech import (
    fetch_librispeech_speakers,
    load_librispeech_speakers,
)
from edgeticket.pipeline.data.librispeech_texts import fetch_librispeech, load_librispeech
from edgeticket.pipeline.data.own import load_for_task, load_own, load_unlabelled
from edgeticket.pipeline.data.recordings import Recordings, Spoken
from edgeticket.pipeline.data.rows import Rows
from edgeticket.pipeline.data.sizes import split_sizes
from edgeticket.pipeline.data.speech_commands import fetch_speech_commands, load_speech_commands
from edgeticket.pipeline.data.strata import classes_of
from edgeticket.pipeline.data.super_resolution import load_super_resolution
from edgeticket.pipeline.data.unlabelled import split_unlabelled
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import DataConfig
from edgeticket.pipeline.store import Store

__all__ = [
    "DATASETS",
    "Dataset",
    "Inputs",
    "Recordings",
    "Rows",
    "Split",
    "Spoken",
    "Teacher",
    "data_folder",
    "fetch",
    "find_file",
    "load_dataset",
]


@dataclass(frozen=True)
class Source:
    """How a data set is read, and how it gets into the data folder (None: it needs not)."""

    load: Callable[[Path], Collection]  # from the data folder
    fetch: Callable[[Path, Path | None, Progress], Path] | None  # (folder, file given, progress)


def load_dataset(
    cfg: DataConfig,
    *,
    seed: int,
    folder: Path,
    beside: Sequence[Path] = (),
    task: Task | None = None,
    store: Path | None = None,
    progress: Progress = QUIET,
) -> Dataset:
    """Read a data set and split it: seeded, disjoint, and every class equally in every split.

    Args:
        cfg: the name or place, and the sizes of the splits.
        seed: decides which example goes where.
        folder: the data folder.
        beside: where files that ``cfg`` names are looked up before that.
        task: what the examples' targets are for; None: classes or texts, or there are none.
        store: keeps decoded pictures; None: below the data folder.
        progress: shows how far decoding is.

    Raises:
        InputError: the data set is unknown, absent or damaged, or the sizes do not fit it.
    """
    unlabelled = None
    if task is None:
        unlabelled = load_unlabelled(cfg, folders=(*beside, folder), seed=seed)
    if unlabelled is not None:
        return unlabelled
    kept = Store(store or folder / "decoded")
    if cfg.layout is not None:
        collection = read_layout(
            cfg, task, folders=(*beside, folder), store=kept, progress=progress
        )
    elif cfg.name is not None:
        collection = for_task(_source(cfg.name).load(folder), task, title=cfg.name)
    elif task is not None:
        collection = load_for_task(cfg, task, folders=(*beside, folder))
    else:
        collection = load_own(cfg, folders=(*beside, folder), store=kept, progress=progress)
    pool, title = collection.pool, cfg.title
    if not cfg.labels:
        return split_unlabelled(
            pool.inputs,
            cfg,
            seed=seed,
            preprocessing=collection.preprocessing,
            capture=collection.capture,
        )
    own_validation, own_calibration = collection.validation, collection.calibration
    sizes = split_sizes(cfg, collection, title=title)
    order = _order(pool, np.random.default_rng([seed, 0]))
    parts = [sizes.get(name, 0) for name in ("test", "validation", "calibration")]
    own_test, validation, calibration, rest = np.split(order, np.cumsum(parts))
    test = collection.test
    if any(size != getattr(cfg, key) for key, size in sizes.items()):
        trained = len(rest[: cfg.train])
        told = ", ".join(f"{size} {key}" for key, size in sorted(sizes.items(), reverse=True))
        progress.say(f"{title}: of {len(pool)} examples {told}, {trained} train")
    if test is None:
        test = pool.take(own_test)
    elif cfg.test is not None:
        test = _some_of(test, cfg.test, seed=(seed, 1))
    return Dataset(
        name=title,
        train=pool.take(rest[: cfg.train]),
        validation=_some_of(own_validation, cfg.validation, seed=(seed, 2))
        if own_validation
        else pool.take(validation),
        calibration=_some_of(own_calibration, cfg.calibration, seed=(seed, 3))
        if own_calibration
        else pool.take(calibration),
        test=test,
        labels=collection.labels,
        preprocessing=collection.preprocessing,
        capture=collection.capture,
    )


def _some_of(split: Split, count: int, *, seed: tuple[int, int]) -> Split:
    """At most ``count`` examples, the classes in fair shares."""
    return split.take(_order(split, np.random.default_rng(seed))[:count])


def _order(split: Split, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A random order of all indices, with the classes in fair shares where there are some."""
    classes = split.labels
    if split.targets is not None:
        classes = classes_of(split.targets)
    return rng.permutation(len(split)) if classes is None else _evenly_mixed(classes, rng)


def _evenly_mixed(labels: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A random order of all indices in which every slice holds the classes in fair shares."""
    order = rng.permutation(len(labels))
    by_class = np.argsort(labels[order], kind="stable")
    counts = np.bincount(labels)
    first = np.cumsum(counts) - counts  # where each class starts in by_class
    rank = np.empty(len(labels), dtype=np.int64)  # of each example within its class
    rank[by_class] = np.arange(len(labels)) - np.repeat(first, counts)
    share = (rank + 0.5) / counts[labels[order]]
    return order[np.argsort(share, kind="stable")]


def fetch(name: str, *, folder: Path, source: Path | None, progress: Progress) -> Path:
    """Put a data set into the data folder, from ``source`` if given, and return its file.

    Raises:
        InputError: it is unknown, needs no fetching, cannot be got, or is not what it should be.
    """
    get = _source(name).fetch
    if get is None:
        raise InputError(f"{name} comes with the installed packages; there is nothing to fetch")
    return get(folder, source, progress)


def data_folder(flag: Path | None) -> Path:
    """Where data sets lie: the flag, else EDGETICKET_DATA, else ~/.cache/edgeticket/data."""
    if flag is not None:
        return flag
    from_environment = os.environ.get("EDGETICKET_DATA")
    return Path(from_environment or "~/.cache/edgeticket/data").expanduser()


def _source(name: str) -> Source:
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"unknown data set {name!r} ({hint}known: {', '.join(DATASETS)})")
    return DATASETS[name]


DATASETS: dict[str, Source] = {
    "digits": Source(load_digits, None),
    "digit_boxes": Source(load_digit_boxes, None),
    "digit_masks": Source(load_digit_masks, None),
    "digit_anomaly": Source(load_digit_anomaly, None),
    "super_resolution": Source(load_super_resolution, None),
    "basic_motions": Source(load_basic_motions, None),
    "fashion_mnist": Source(load_fashion_mnist, fetch_fashion_mnist),
    "cifar10": Source(load_cifar10, fetch_cifar10),
    "speech_commands": Source(load_speech_commands, fetch_speech_commands),
    "librispeech": Source(load_librispeech, fetch_librispeech),
    "librispeech_speakers": Source(load_librispeech_speakers, fetch_librispeech_speakers),
}
