"""What a file may say of a network: the one place that decides what may be built from it.

A file alone never runs code, opens no other file, and costs no more than a file of its size may.
Whoever builds a network that a file describes comes through `read_description` or `permit`:

    this project's architectures   yes: whole numbers are their only arguments
    torchvision:NAME, timm:NAME    yes: the name is looked up in their lists; numbers, yes and no,
                                   and plain words for arguments, none of which brings weights
    onnx:NAME, pt2:NAME            yes: a graph of known operators, see `pipeline.graph.written`
    import:MODULE:FUNCTION         no. It runs that function, so a recipe must name it, or a flag
                                   that the user types must say where it is
"""

from __future__ import annotations

import difflib
import functools
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import parse_json
from edgeticket.models.bounds import TooLargeError, bounded
from edgeticket.models.network import Removed, Takes
from edgeticket.models.own import FILES, LIBRARIES, SOURCES, WRITTEN, build_own
from edgeticket.pipeline.graph.network import build
from edgeticket.pipeline.store.code import code_digest

# Architectures are built by `models`, which has no table of operators.
WRITTEN |= {"graph": build, "version": functools.partial(code_digest, build)}

FORMAT_VERSION = 1
ANY = "*"
"""Trusts every function; for networks that a recipe asked for, or a flag."""

MOST_BYTES = 1 << 26  # of a description: the graph of a large network has some 100,000
MOST_INPUT_NUMBERS = 1 << 28
LARGEST_ARGUMENT = 1 << 16  # of an architecture: some count before they build
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


@dataclass(frozen=True)
class Description:
    """A `models.network.Network` without its weights."""

    arch: str
    args: models.Args
    removed: Removed
    bypassed: frozenset[str]
    takes: Takes


def read_description(data: bytes, *, place: str, trusted: str = "") -> Description:
    """The bytes of network.json -> what it describes; nothing has been built.

    Args:
        data: the bytes.
        place: what errors call them.
        trusted: the one function of the user's own that may be named; `ANY`: each.

    Raises:
        InputError: no JSON, no description, from a newer version, or one that names what no file
            alone may name.
    """
    document = parse_json(data, place=place)
    if not isinstance(document, dict):
        raise InputError(f"{place} describes no network: it is no mapping; write it again")
    version = document.get("version")
    if version != FORMAT_VERSION or type(version) is not int:
        shown = reprlib.repr(version)
        raise InputError(f"{place}: version {shown}, but only {FORMAT_VERSION} is known")
    try:
        made = Description(
            document["arch"],
            document["args"],
            {
                _text(name): {int(axis): _whole_numbers(indices) for axis, indices in axes.items()}
                for name, axes in document["removed"].items()
            },
            frozenset(map(_text, document["bypassed"])),
            _shapes(document.get("takes", [])),
        )
    except KeyError as error:
        raise InputError(
            f"{place} describes no network: {error} is missing; write it again"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{place} describes no network: {error}; write it again") from None
    permit(made.arch, made.args, place=place, trusted=trusted)
    return made


def _shapes(takes: Any) -> Takes:
    """The shape of an input, or one for each of several.

    Raises:
        ValueError, TypeError: it is none.
    """
    several = isinstance(takes, list) and bool(takes) and isinstance(takes[0], list)
    shapes = tuple(map(_whole_numbers, takes)) if several else (_whole_numbers(takes),)
    for shape in shapes:
        if any(size < 1 for size in shape) or math.prod(shape) > MOST_INPUT_NUMBERS:
            raise ValueError(f"takes {list(shape)[:8]} is no shape of an input")
    return shapes if several else shapes[0]


def permit(arch: object, args: object, *, place: str, trusted: str = "") -> None:
    """Refuse what a file must not name; ``place`` and ``trusted`` as `read_description` has them.

    Raises:
        InputError: an architecture that is unknown or runs code, or an argument that it cannot
            have.
    """
    if not isinstance(arch, str) or not isinstance(args, Mapping):
        raise InputError(f"{place} describes no network: arch is a name, and args a mapping")
    shown, (source, colon, _) = reprlib.repr(arch), arch.partition(":")
    if not colon and arch not in models.ARCHITECTURES:
        near = difflib.get_close_matches(arch[:64], models.ARCHITECTURES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        known = ", ".join(models.ARCHITECTURES)
        raise InputError(f"{place}: unknown architecture {shown} ({hint}known: {known})")
    if colon and source not in SOURCES:
        raise InputError(
            f"{place}: unknown architecture {shown}: networks from elsewhere are "
            f"{', '.join(f'{name}:' for name in SOURCES)} with a name behind"
        )
    if source == "import":
        if trusted not in (ANY, arch):
            raise InputError(
                f"{place} is a network of {shown}: building it runs that code, so name it in a "
                "recipe, or tell `edgeticket diff` where it is (--code DIR), if you trust it"
            )
        return
    for name, value in args.items():
        if trusted == ANY or (source in FILES and name == "graph" and isinstance(value, str)):
            continue
        if not _is_harmless(value, words=source in LIBRARIES):
            raise InputError(
                f"{place}: {shown} with {reprlib.repr(name)}: {reprlib.repr(value)}: from a file "
                f"alone, arguments are numbers up to {LARGEST_ARGUMENT:,}, true and false"
                f"{', and plain words' * (source in LIBRARIES)}"
            )


def check_size(arch: str, args: models.Args, *, numbers: int, tensors: int, place: str) -> None:
    """Refuse a network that is larger than its file can account for, before it takes memory.

    Args:
        arch, args: that `permit` has let pass.
        numbers: that it may have in all its parameters and buffers.
        tensors: how many of them.
        place: what errors call the file.

    Raises:
        InputError: it is larger, or cannot be built.
    """
    try:
        with bounded(numbers=numbers, tensors=tensors):
            _build_without_values(arch, args)
    except TooLargeError as error:
        raise InputError(
            f"{place} does not fit {reprlib.repr(arch)}: with the arguments that it gives, {error} "
            f"and the file has far less; it is damaged, or made to hurt"
        ) from None
    except (ValueError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{place}: {reason}") from None


def _build_without_values(arch: str, args: models.Args) -> None:
    try:
        with torch.device("meta"):
            models.build(arch, args)
    except ValueError as error:
        # Some networks of torchvision reckon with tensors while they are built.
        if arch.startswith("torchvision:") and isinstance(error.__cause__, NotImplementedError):
            build_own(arch, args)
        else:
            raise


def _is_harmless(value: object, *, words: bool) -> bool:
    if isinstance(value, str):
        return words and _WORD.fullmatch(value) is not None
    return isinstance(value, bool | int | float) and abs(value) <= LARGEST_ARGUMENT  # nor NaN


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{reprlib.repr(value)} is no name")
    return value


def _whole_numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise TypeError(f"{reprlib.repr(values)} is no list of whole numbers")
    return tuple(values)
