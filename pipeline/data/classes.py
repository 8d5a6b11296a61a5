"""Which class of a folder of pictures has which number, from a file that says so."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import is_regular, read_regular, read_regular_text
from edgeticket.pipeline.network.torch_file import read_document

MOST_CLASSES = 1_000_000
MOST_LIST_BYTES = 2**26
IMAGENET_CLASSES = "meta.bin"


@dataclass(frozen=True)
class Classes:
    """The classes of a data set in the order of their numbers: names of folders, and for people."""

    folders: tuple[str, ...]
    labels: tuple[str, ...]


def read_classes(file: Path) -> Classes:
    """A file of classes in the order of their numbers.

    Either lines ``folder`` or ``folder name for people``, or a .csv with a header that has the
    columns ``folder`` (or ``wnid``), and perhaps ``index`` and ``name``.

    Raises:
        InputError: it cannot be read, or names a folder or number twice.
    """
    text = read_regular_text(file, kind="data.classes", limit_bytes=MOST_LIST_BYTES)
    if file.suffix == ".csv":
        rows = _csv_rows(text, file)
    else:
        lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
        rows = [(i, line[0], line[-1].strip()) for i, line in enumerate(lines)]
    named = {number: (folder, label) for number, folder, label in rows}
    if len({folder for _, folder, _ in rows}) < len(rows) or len(named) < max(len(rows), 2):
        raise InputError(f"data.classes: {file} must name two classes or more, each once")
    # Numbers that nothing has are classes without a folder.
    count = max(named) + 1
    if min(named) < 0 or count > MOST_CLASSES:
        raise InputError(f"data.classes: {file} has class numbers from {min(named)} to {count - 1}")
    return Classes(
        tuple(named[n][0] if n in named else "" for n in range(count)),
        tuple(named[n][1] if n in named else f"class {n}" for n in range(count)),
    )


def _csv_rows(text: str, file: Path) -> list[tuple[int, str, str]]:
    try:
        reader = csv.DictReader(text.splitlines())
        columns = reader.fieldnames or ()
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"data.classes: {file} is no whole table: {error}") from None
    key = next((name for name in ("folder", "wnid") if name in columns), None)
    if key is None:
        raise InputError(f"data.classes: {file} has no column folder or wnid")
    try:
        return [
            (int(row["index"]) if "index" in columns else i, row[key], row.get("name") or row[key])
            for i, row in enumerate(rows)
        ]
    except (ValueError, TypeError) as error:
        raise InputError(f"data.classes: {file} is no whole table: {error}") from None


def imagenet_classes(root: Path) -> Classes | None:
    """From torchvision's meta.bin: ({wnid: names}, the wnids of the validation set)."""
    file = root / IMAGENET_CLASSES
    if not is_regular(file):
        return None
    data = read_regular(file, limit_bytes=MOST_LIST_BYTES)
    try:
        names = read_document(data)[0]
        wnids = tuple(sorted(names))
        return Classes(wnids, tuple(str(names[wnid][0]) for wnid in wnids))
    except Exception as error:  # a damaged one may hold anything
        raise InputError(
            f"data.folder: {file} is not what torchvision.datasets.ImageNet writes ({error!r}); "
            "remove it, and the class folders are numbered by name"
        ) from None
