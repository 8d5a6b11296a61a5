"""Data sets brought to where recipes look for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.api.paths import StrPath, optional_path

if TYPE_CHECKING:
    from edgeticket.pipeline.progress import Progress


def fetch(
    dataset: str,
    *,
    source: StrPath | None = None,
    data: StrPath | None = None,
    progress: Progress | None = None,
) -> Path:
    """Bring a data set into the data folder, checked, ready for recipes.

    Args:
        dataset: its name, such as ``cifar10``.
        source: take it from this file or folder, and use no network; None: from where it is
            published.
        data: where data sets lie; None: ``$EDGETICKET_DATA``, else ``~/.cache/edgeticket/data``.
        progress: where to show how far it is; None: nowhere.

    Returns:
        The file that recipes read.

    Raises:
        InputError: it is unknown, needs no fetching, cannot be got, or is not what it should be.
    """
    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.data import fetch as fetch_dataset
    from edgeticket.pipeline.progress import QUIET

    return fetch_dataset(
        dataset,
        folder=data_folder(optional_path(data)),
        source=optional_path(source),
        progress=progress or QUIET,
    )
