"""Settings of tasks: frozen dataclasses whose fields say what they may hold.

A field's schema is JSON Schema as in `device_runner.schema`, so settings are checked in one way
whether they come from a manifest or from Python, and a manifest's schema can take them in.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Callable, TypeVar

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.schema import validate
from edgeticket.device_runner.strict_json import to_json

S = TypeVar("S", bound="Settings")

REQUIRED: Any = dataclasses.MISSING


class Settings:
    """The parent of all settings: checks every field when they are made.

    Raises:
        InputError: a field that its schema does not allow, or fields that contradict one another.
    """

    output: int  # those of most tasks have it

    def __post_init__(self) -> None:
        document = to_json(self)
        _refuse_nonfinite(document, "settings")
        validate(document, self.schema(), place="settings")
        contradiction = self.contradiction()
        if contradiction is not None:
            raise InputError(f"settings: {contradiction}")

    def contradiction(self) -> str | None:
        """What no schema can say: how fields do not fit one another, as a sentence."""
        return None

    def used(self, count: int) -> tuple[int, ...]:
        """Which of a network's ``count`` outputs are read, counted from 0."""
        return (self.output,)

    def input_size(self) -> tuple[int, int] | None:
        """Height and width that the network's input has to have; None: any."""
        return None

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """The JSON Schema of these settings."""
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        required = [
            f.name
            for f in fields
            if f.default is dataclasses.MISSING or "const" in f.metadata["schema"]
        ]
        return {
            "type": "object",
            "properties": {f.name: f.metadata["schema"] for f in fields},
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    @classmethod
    def from_json(cls: type[S], document: Any, *, place: str = "task") -> S:
        """A JSON object -> settings; what is left out has its default.

        Raises:
            InputError: place, field, value and what is allowed.
        """
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        for field in fields if isinstance(document, dict) else ():
            _require_kind(document.get(field.name), field, place)
        validate(document, cls.schema(), place=place)
        _refuse_nonfinite(document, place)
        try:
            return cls(
                **{
                    f.name: f.metadata["make"](document[f.name])
                    for f in fields
                    if f.name in document
                }
            )
        except InputError as error:
            raise InputError(f"{place}: {str(error).replace('settings: ', '', 1)}") from None


def described(
    default: Any, schema: Mapping[str, Any], says: str, make: Callable[[Any], Any] | None = None
) -> Any:
    """A field of settings: its default, what it may hold, and what it means."""
    metadata = {
        "schema": {"description": says, **schema},
        "says": says,
        "make": make if make is not None else lambda value: value,
    }
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def integer(default: Any, says: str, *, least: int = 0, most: int | None = None) -> Any:
    """A whole number."""
    bounds = {"minimum": least, **({} if most is None else {"maximum": most})}
    return described(default, {"type": _or_null("integer", default), **bounds}, says)


def number(
    default: Any,
    says: str,
    *,
    least: float | None = None,
    most: float | None = None,
    optional: bool = False,
) -> Any:
    """A real number; ``optional`` or with no default: or null."""
    bounds = {key: v for key, v in (("minimum", least), ("maximum", most)) if v is not None}
    schema = {"type": _or_null("number", None if optional else default), **bounds}
    return described(default, schema, says, lambda v: None if v is None else float(v))


def share(default: Any, says: str) -> Any:
    """A real number from 0 to 1."""
    return number(default, says, least=0.0, most=1.0)


def flag(default: bool, says: str) -> Any:
    """True or false."""
    return described(default, {"type": "boolean"}, says)


def choice(default: Any, names: Sequence[str], says: str) -> Any:
    """One of some words."""
    return described(default, {"enum": list(names)}, says)


def constant(value: str, says: str) -> Any:
    """The word by which settings of several kinds are known."""
    return described(value, {"const": value}, says)


def items(
    default: Any, item: Mapping[str, Any], says: str, *, least: int = 0, most: int | None = None
) -> Any:
    """A list, in Python a tuple; of lists, a tuple of tuples."""
    count = {"minItems": least, **({} if most is None else {"maxItems": most})}
    schema = {"type": _or_null("array", default), "items": dict(item), **count}
    return described(default, schema, says, _as_tuples)


def nested(default: Any, kinds: Sequence[type[Settings]], says: str) -> Any:
    """Settings within settings; of several kinds, told apart by the constant ``kind``."""
    schemas: list[dict[str, Any]] = [kind.schema() for kind in kinds]
    schema = {"anyOf": [*schemas, *([{"type": "null"}] if default is None else [])]}

    def make(document: Any) -> Any:
        if document is None:
            return None
        for kind, known in zip(kinds, schemas):
            const = known["properties"].get("kind", {}).get("const")
            if const == document.get("kind"):
                return kind.from_json(document, place="settings")
        raise AssertionError(f"the schema let {document!r} through")

    return described(default, schema, says, make)


def _require_kind(value: Any, field: dataclasses.Field[Any], place: str) -> None:
    """The schema alone would list what all kinds allow."""
    choices = field.metadata["schema"].get("anyOf", ())
    kinds = [c["properties"]["kind"]["const"] for c in choices if "kind" in c.get("properties", ())]
    if kinds and isinstance(value, dict) and "kind" not in value:
        raise InputError(
            f"{place} at /{field.name}: the key 'kind' is missing, allowed: {', '.join(kinds)}"
        )


def _or_null(name: str, default: Any) -> Any:
    return [name, "null"] if default is None else name


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value


def _refuse_nonfinite(value: Any, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{place}: found {value}, allowed: finite numbers")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_nonfinite(item, f"{place}: {key}")
    if isinstance(value, list):
        for item in value:
            _refuse_nonfinite(item, place)
