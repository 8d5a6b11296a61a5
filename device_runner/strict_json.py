"""JSON without the loose ends of the standard parser (RFC 8259; I-JSON's limits, RFC 7493)."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.unavailable import Unavailable

MAX_DEPTH = 64  # far more than any of our documents; far less than Python's own stack
MAX_INTEGER = 2**63 - 1  # every reader in every language can hold these


def parse_json(data: bytes, *, place: str) -> Any:
    """UTF-8 JSON text -> dict, list, str, int, float, bool or None.

    Args:
        data: the bytes of the document.
        place: what errors call it, e.g. a file name.

    Raises:
        InputError: not UTF-8, not JSON, a repeated key, NaN or an infinity, an integer beyond
            64 bits, half a surrogate pair, or nesting deeper than ``MAX_DEPTH``.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
        _check_tree(value)
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise InputError(f"{place} is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # JSONDecodeError is one
        raise InputError(f"{place} is not usable as JSON: {error}") from None
    return value


def to_json(value: Any) -> Any:
    """Frozen dataclasses, tuples and ``Unavailable`` -> plain JSON values."""
    if isinstance(value, Unavailable):
        return {"unavailable": value.reason}
    if dataclasses.is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def flat_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """The way back from `to_json` for a dataclass of scalars, tuples, mappings and such."""
    return {key: _field(item) for key, item in document.items()}


def format_json(value: Any) -> bytes:
    """Plain JSON value -> UTF-8 text: objects one key per line, lists of scalars on one line.

    The same value always gives the same bytes.

    Raises:
        ValueError: NaN or an infinity.
    """
    return (_format(value, "\n") + "\n").encode("utf-8")


def _format(value: Any, newline: str) -> str:
    deeper = newline + "  "
    if isinstance(value, Mapping) and value:
        lines = (f"{_scalar(key)}: {_format(item, deeper)}" for key, item in value.items())
        return "{" + deeper + ("," + deeper).join(lines) + newline + "}"
    if isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        return "[" + deeper + ("," + deeper).join(_format(v, deeper) for v in value) + newline + "]"
    return _scalar(value)


def _field(item: Any) -> Any:
    if isinstance(item, list):
        return tuple(item)
    if isinstance(item, dict) and set(item) == {"unavailable"}:
        return Unavailable(item["unavailable"])
    return item


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} is given twice")
            seen.add(key)
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:24]} does not fit a 64-bit float")
    return number


def _bounded(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"{text[:24]} does not fit a 64-bit integer")
    return int(text)


def _check_tree(document: Any) -> None:
    """Depth and text of a parsed document, level by level, without recursion of its own."""
    level: list[Any] = [document]
    for depth in itertools.count():
        for item in level:
            if isinstance(item, str):
                check_text(item)
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers:
            return
        if depth == MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        level = []
        for container in containers:
            level += container  # of an object: its keys
            if isinstance(container, dict):
                level += container.values()


def check_text(text: str) -> None:
    """
    Raises:
        ValueError: no encoding could write it.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{text[:24]!a} holds half a surrogate pair") from None
