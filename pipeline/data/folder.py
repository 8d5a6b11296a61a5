"""Pictures in folders, one folder for each class: the layout of torchvision's ImageFolder.

    PATH/CLASS/*.jpg                             one pool, which is split
    PATH/train/CLASS/*.jpg and PATH/val/CLASS/   an official test set
    ... and PATH/test/CLASS/                     then val is for validation

ImageNet as torchvision lays it out is of the second kind; its meta.bin names the classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import is_litter, is_regular, name_some
from edgeticket.pipeline.data.classes import IMAGENET_CLASSES, Classes, imagenet_classes
from edgeticket.pipeline.data.decode import SUFFIXES

TRAIN = ("train",)
VALIDATION = ("val", "valid", "validation")
TEST = ("test",)
SHOWN = 4  # pictures in one message

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Listing:
    """Picture files and the numbers of their classes."""

    root: Path
    files: tuple[str, ...]  # relative to the root, forward slashes
    labels: npt.NDArray[np.int64]
    passed_over: tuple[str, ...] = ()  # what else lies there, but for what systems leave

    def tell_passed_over(self, tell: Tell, *, used: Iterable[Path | None] = ()) -> None:
        """Name what was passed over, if anything was.

        Args:
            tell: hears the sentence.
            used: files that were read for their own sake, such as a list of classes.
        """
        known = {path.resolve() for path in used if path is not None}
        names = {path.name for path in known}
        others = [
            name
            for name in self.passed_over
            if name not in names or (self.root / name).resolve() not in known
        ]
        if others:
            tell(f"passed over in {self.root}, no plain pictures: {name_some(others)}")


@dataclass(frozen=True, eq=False)
class Layout:
    """What there is below a folder; nothing has been decoded."""

    classes: Classes
    pool: Listing
    validation: Listing | None
    test: Listing | None


def list_folder(root: Path, *, classes: Classes | None) -> Layout:
    """Find pictures and classes below ``root``.

    Args:
        root: see above.
        classes: which class has which number; None: as meta.bin of ImageNet says if there is one,
            else in the order of the folders' names.

    Raises:
        InputError: no class folders, a class without pictures, or classes that are not known.
    """
    parts = {kind: _first(root, kind) for kind in (TRAIN, VALIDATION, TEST)}
    train, validation, test = parts[TRAIN], parts[VALIDATION], parts[TEST]
    if train is None:
        if validation is not None or test is not None:
            other = validation or test
            raise InputError(
                f"data.folder: {root} has {other.name if other else ''}/ but no train/: "
                f"to split that one itself, give {other}"
            )
        train = root
    elif validation is None and test is None:
        raise InputError(f"data.folder: {root} has train/ alone: to split that, give {train}")
    known = classes or imagenet_classes(root)
    if known is None:
        names = tuple(sorted(entry.name for entry in _subfolders(train)))
        known = Classes(names, names)
    if test is None:
        validation, test = None, validation
    return Layout(
        known,
        _list(train, known),
        _list(validation, known) if validation else None,
        _list(test, known) if test else None,
    )


def _first(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _subfolders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [e for e in entries if os.path.isdir(e.path) and not is_litter(e.name)]
    except OSError as error:
        raise _unreadable(folder, error) from None


def _beside_folders(folder: Path) -> list[str]:
    """Names of what lies beside the folders of classes."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise _unreadable(folder, error) from None
    known = {name for name in names if is_litter(name) or name == IMAGENET_CLASSES}
    return [name for name in names if name not in known and not os.path.isdir(folder / name)]


def _unreadable(folder: Path, error: OSError) -> InputError:
    return InputError(f"data.folder: cannot read {folder}: {error.strerror}")


def _list(root: Path, classes: Classes) -> Listing:
    numbers = {name: i for i, name in enumerate(classes.folders) if name}
    found = sorted(entry.name for entry in _subfolders(root))
    if not found:
        raise InputError(
            f"data.folder: {root} has no folders: pictures lie in one folder for each class, "
            f"like {root.name}/cat/1.jpg"
        )
    strange = [name for name in found if name not in numbers]
    if strange:
        raise InputError(
            f"data.folder: {root} has {name_some(strange)}, which the classes do not "
            f"({len(numbers)}: {name_some(list(numbers))}); training and test have the same classes"
        )
    files: list[str] = []
    labels: list[int] = []
    passed_over = _beside_folders(root)
    for name in found:
        pictures, others = _pictures(root / name)
        files += [f"{name}/{picture}" for picture in pictures]
        labels += [numbers[name]] * len(pictures)
        passed_over += [f"{name}/{other}" for other in others]
    return Listing(root, tuple(files), np.array(labels, dtype=np.int64), tuple(passed_over))


def _pictures(folder: Path) -> tuple[list[str], list[str]]:
    """The pictures in a folder and in those below it, by name; and what else is there."""
    found: list[str] = []
    others: list[str] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(folder / below) as entries:
                inside = sorted((e for e in entries if not is_litter(e.name)), key=_by_name)
        except OSError as error:
            raise _unreadable(folder / below, error) from None
        for entry in inside:
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            elif Path(name).suffix.lower() in SUFFIXES and is_regular(Path(entry.path)):
                found.append(name)
            else:
                others.append(name)
    if not found:
        kinds = sorted({Path(name).suffix.lower() or Path(name).name for name in others})
        there = f" (but {name_some(kinds)})" if others else ""
        raise InputError(
            f"data.folder: {folder} has no pictures{there}: remove the folder, or fill it with "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return sorted(found, key=_in_order), sorted(others, key=_in_order)


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _in_order(name: str) -> tuple[tuple[bool, str], ...]:
    """What lies in a folder itself comes before what lies further down."""
    *folders, file = name.split("/")
    return (*((True, folder) for folder in folders), (False, file))
