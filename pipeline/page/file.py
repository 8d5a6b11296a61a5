"""Pages as files: which one is ours, and may give way to a newer one."""

from __future__ import annotations

from pathlib import Path

from edgeticket.pipeline.output_folder import check_output

GENERATOR = "edgeticket report"


def is_page(data: bytes) -> bool:
    """Whether ``data`` is a page of ours, so that a newer one may take its place."""
    return data.startswith(b"<!DOCTYPE html>") and (
        f'<meta name="generator" content="{GENERATOR}">'.encode() in data[:2000]
    )


def check_place(file: Path) -> None:
    """Refuse a place for a page, before the work.

    Raises:
        InputError: a file that is no page is there.
    """
    check_output(file, ours=is_page)
