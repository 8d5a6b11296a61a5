"""Training states of rewinding's levels, which several runs share.

They do not depend on the sparsity that is wanted, nor on what a control does with the ticket, and
they are what takes so long. Each file is as large as a training state, so an experiment that has
all its lines removes those that only it has used; those of single recipes stay, because the next
sparsity that is tried goes on from them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeticket.device_runner.atomic import make_folder
from edgeticket.pipeline.store import canonical_json, locked

USED_BY = "used-by-"


@contextmanager
def shared_levels(root: Path, decides: Mapping[str, Any], *, user: str) -> Iterator[Path]:
    """A folder below ``root`` for the states of one pruning; one run at a time has it.

    Args:
        root: of the stage store.
        decides: JSON values: all that the levels depend on.
        user: name of the recipe or the experiment that needs them.

    Raises:
        InputError: the folder cannot be made.
    """
    name = f"levels-{hashlib.sha256(canonical_json(decides)).hexdigest()[:32]}"
    folder = root / name
    make_folder(root)
    with locked(root / f"{name}.lock"):
        make_folder(folder)
        (folder / f"{USED_BY}{user}").touch()
        yield folder


def remove_levels(root: Path, *, user: str) -> int:
    """Remove the folders below ``root`` that ``user`` alone has used -> how many."""
    removed = 0
    for folder in sorted(root.glob("levels-*/")):
        with locked(root / f"{folder.name}.lock"):
            users = [file.name.removeprefix(USED_BY) for file in folder.glob(f"{USED_BY}*")]
            if users == [user]:
                shutil.rmtree(folder)
                removed += 1
    return removed
