"""Files that data sets name: only those within their folder are ever opened."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.regular import is_litter, is_regular, name_some

PARTS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
"""Parts of data sets, and what folders of them are called."""

MOST_FILES = 10_000_000
_SHOWN = 120  # characters of a foreign name in an error


@dataclass(frozen=True)
class Parted:
    """Folders of one data set by part; all lie in one if ``train`` alone is there."""

    train: Path
    validation: Path | None
    test: Path | None


def shown(name: object) -> str:
    """A foreign name, short and without what steers terminals."""
    text = plain(str(name))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


class Inside:
    """Names of files -> names within one folder.

    A name is relative, has no `..`, and leads to a plain file whose real place, behind all links,
    is in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._real = os.path.realpath(folder)

    def check(self, name: str, *, where: str) -> str:
        """The name as it stands for one file, ``a/b.png``; ``where`` is what names it.

        Raises:
            InputError: it leads out of the folder, or to no plain file.
        """
        plain_name = self.tidy(name, where=where)
        path = self.folder / plain_name
        self.check_real(path, where=where)
        if not is_regular(path):
            raise InputError(
                f"{where}: there is no file {shown(plain_name)} in {self.folder}: copy it there, "
                "or take out what names it"
            )
        return plain_name

    def tidy(self, name: str, *, where: str) -> str:
        """The name without `.` and doubled slashes; nothing is looked up.

        Raises:
            InputError: it is no relative path within a folder.
        """
        parts = PurePosixPath(name).parts
        leaves = ".." in parts or "\\" in name or bool(re.match(r"[A-Za-z]:|/|~", name))
        if not parts or leaves or "\0" in name or len(name) > 4096:
            raise InputError(
                f"{where}: {shown(name)!r} is no name of a file in {self.folder}: give names "
                "relative to that folder, with / and without .."
            )
        return "/".join(parts)

    def check_real(self, path: Path, *, where: str) -> None:
        """
        Raises:
            InputError: links lead out of the folder.
        """
        real = os.path.realpath(path)
        if os.path.commonpath([real, self._real]) != self._real:
            raise InputError(
                f"{where}: {shown(path.relative_to(self.folder))} is a link out of {self.folder}: "
                "put the file itself there"
            )


def parts_of(root: Path, *, place: str) -> Parted:
    """Folders train/, val/ and test/ below ``root``, or ``root`` as a whole.

    Without test/, val/ is the test set, as in folders of classes.

    Raises:
        InputError: val/ or test/ without train/, or train/ alone.
    """
    folders = {part: _first(root, names) for part, names in PARTS.items()}
    train, validation, test = folders["train"], folders["validation"], folders["test"]
    other = validation or test
    if train is None and other is not None:
        raise InputError(
            f"{place}: {root} has {other.name}/ but no train/: to split that one itself, "
            f"give {other}"
        )
    if train is None:
        return Parted(root, None, None)
    if other is None:
        raise InputError(f"{place}: {root} has train/ alone: to split that, give {train}")
    return Parted(train, validation if test else None, test or validation)


def _first(root: Path, names: Iterable[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def list_files(
    folder: Path, suffixes: Collection[str], *, place: str, tell: Callable[[str], None]
) -> tuple[str, ...]:
    """Plain files below ``folder`` with one of ``suffixes``, by name; the rest is named and left.

    Raises:
        InputError: the folder cannot be read, has none, or one is a link out of it.
    """
    inside = Inside(folder)
    names: list[str] = []
    others: list[str] = []
    for here, below, files in os.walk(folder, onerror=_refuse(folder, place)):
        below[:] = sorted(name for name in below if not is_litter(name))
        for file in sorted(name for name in files if not is_litter(name)):
            path = Path(here) / file
            name = path.relative_to(folder).as_posix()
            if Path(file).suffix.lower() not in suffixes:
                others.append(name)
                continue
            inside.check_real(path, where=place)
            (names if is_regular(path) else others).append(name)
        if len(names) > MOST_FILES:
            raise InputError(f"{place}: {folder} has more than {MOST_FILES:,} files: give a part")
    if not names:
        raise InputError(
            f"{place}: {folder} has no {', '.join(sorted(suffixes))}: give the folder that has them"
        )
    if others:
        tell(f"passed over in {folder}: {name_some([shown(name) for name in others])}")
    return tuple(sorted(names))


def _refuse(folder: Path, place: str) -> Callable[[OSError], None]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{place}: cannot read {folder}: {error.strerror}")

    return refuse


def by_stem(names: Sequence[str], *, place: str) -> dict[str, str]:
    """Names of files by what is before their suffix.

    Raises:
        InputError: two differ in their suffix alone, so that nobody knows which is meant.
    """
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        stems[str(PurePosixPath(name).with_suffix(""))].append(name)
    twice = next((group for group in stems.values() if len(group) > 1), None)
    if twice:
        raise InputError(
            f"{place}: {' and '.join(map(shown, twice[:2]))} have one name but for the suffix: "
            "rename or remove one"
        )
    return {stem: group[0] for stem, group in stems.items()}


def match_stems(
    names: Sequence[str], others: Sequence[str], *, place: str, what: tuple[str, str]
) -> list[str]:
    """For each of ``names`` the one of ``others`` that is called alike.

    Raises:
        InputError: a name is there twice, or on one side alone; ``what`` are the two sides.
    """
    first, second = by_stem(names, place=place), by_stem(others, place=place)
    for side, missing in ((what[1], first.keys() - second), (what[0], second.keys() - first)):
        if missing:
            raise InputError(
                f"{place}: {len(missing)} have no {side} of their name "
                f"({name_some(sorted(map(shown, missing)))}): add these, or remove the others"
            )
    return [second[stem] for stem in first]


def first_twice(names: Iterable[str]) -> str | None:
    """The first name that was there before."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
