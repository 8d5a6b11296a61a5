"""Where points find data and keep stages, on whichever machine they are worked on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.pipeline.data import data_folder

NAME_FILE = "store-name"


@dataclass(frozen=True)
class Places:
    """Where a run finds what it needs."""

    experiment: Path  # where relative paths of the experiment start
    data: Path
    store: Path
    store_name: str  # that of the store when the experiment began, see `store_name`
    code: str  # digest of the program when the experiment began


def store_name(store: Path) -> str:
    """A name that the store keeps, wherever a machine sees it; it is given one if it has none."""
    file = store / NAME_FILE
    if not file.exists():
        write_atomic(file, uuid.uuid4().hex.encode())
    return file.read_text()


def reachable(places: Places) -> Places:
    """The places as this machine has them: shared ones, else its own."""
    with contextlib.suppress(OSError):
        if (places.store / NAME_FILE).read_text() == places.store_name:
            return places
    store = Path(os.environ.get("EDGETICKET_STAGES") or "~/.cache/edgeticket/stages").expanduser()
    make_folder(store)
    own_data = places.data if places.data.is_dir() else data_folder(None)
    return dataclasses.replace(places, store=store, data=own_data)
