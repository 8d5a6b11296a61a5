"""Checks documents against the published JSON Schemas in ``schemas/``.

The schemas are JSON Schema draft 2020-12 restricted to the keywords in ``KEYWORDS``. A keyword
outside of them is an error, so a schema cannot promise more than is enforced here. Two readings
are on the strict side: ``integer`` is a number written without fraction (1.0 is not one), and
``$`` ends a pattern at the very end of the text, as in ECMA-262 and unlike Python.
"""

from __future__ import annotations

import functools
import importlib.resources as resources
from collections.abc import Iterator, Mapping
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.schema.problems import (
    TYPES,
    Schema,
    find_problem,
    resolve,
    write_pointer,
)
from edgeticket.device_runner.strict_json import parse_json

ANNOTATIONS = frozenset({"$schema", "title", "description", "$defs"})
KEYWORDS = ANNOTATIONS | {
    *("type", "const", "enum", "anyOf", "$ref"),
    *("properties", "required", "additionalProperties"),
    *("items", "minItems", "maxItems"),
    *("minimum", "maximum", "pattern", "minLength", "maxLength"),
}


@functools.cache
def load_schema(name: str) -> Schema:
    """``"manifest"`` or ``"report"`` -> the published schema of that document."""
    # Not by __file__: a device may run this package from inside its wheel.
    path = resources.files("edgeticket.device_runner") / "schemas" / f"{name}.schema.json"
    schema: Schema = parse_json(path.read_bytes(), place=path.name)
    check_schema(schema)
    return schema


def check_schema(schema: Schema) -> None:
    """Refuse a schema that says something ``validate`` would not enforce.

    Raises:
        ValueError: an unknown keyword or type, or a ``$ref`` that leads nowhere.
    """
    for part in _subschemas(schema):
        unknown = sorted(set(part) - KEYWORDS)
        if unknown:
            raise ValueError(f"schema keyword {unknown[0]!r} is not one of {sorted(KEYWORDS)}")
        types = part.get("type", [])
        for name in [types] if isinstance(types, str) else types:
            if name not in TYPES:
                raise ValueError(f"schema type {name!r} is not one of {TYPES}")
        if "$ref" in part:
            if set(part) - ANNOTATIONS != {"$ref"}:
                raise ValueError(f"$ref {part['$ref']!r} must stand alone")
            resolve(part["$ref"], schema)


def validate(value: Any, schema: Schema, *, place: str) -> None:
    """Parsed JSON x schema -> nothing.

    Raises:
        InputError: names the place, a JSON pointer (RFC 6901), what was found there and what
            is allowed.
    """
    problem = find_problem(value, schema, schema, ())
    if problem is not None:
        raise InputError(f"{place} at {write_pointer(problem.pointer)}: {problem.sentence}")


def check_version(document: Any, *, known: int, place: str, oldest: int | None = None) -> None:
    """Tell a document of another time apart from a broken one, before anything else is read.

    Args:
        document: what was parsed.
        known: the version of today.
        place: what errors call it.
        oldest: the first version that can be read; None: only that of today.

    Raises:
        InputError: ``schema_version`` is a number outside of these.
    """
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > known:
        raise InputError(
            f"{place} has schema_version {version}, this runner knows {known}: "
            "made by a newer edgeticket: upgrade the runner"
        )
    if isinstance(version, int) and 0 < version < (known if oldest is None else oldest):
        raise InputError(
            f"{place} has schema_version {version}, this runner knows {known}: "
            "made by an older edgeticket: make it again with this one"
        )


def _subschemas(schema: Schema) -> Iterator[Schema]:
    yield schema
    inner: list[Any] = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inner += [*schema.get("anyOf", []), schema.get("items"), schema.get("additionalProperties")]
    for part in inner:
        if isinstance(part, Mapping):
            yield from _subschemas(part)
