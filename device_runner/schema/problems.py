"""The first thing in a value that a schema does not allow, and what it would have allowed."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")

Schema = Mapping[str, Any]
Pointer = tuple[Union[str, int], ...]


@dataclass(frozen=True)
class Problem:
    """Where a value breaks a schema; ``sentence``: what was found there and what is allowed."""

    pointer: Pointer
    sentence: str  # "found ..., allowed: ..."
    allowed: str


Found = Optional[Problem]


def find_problem(value: Any, schema: Schema, root: Schema, at: Pointer) -> Found:
    """The first thing in ``value`` that ``schema`` does not allow."""
    if "$ref" in schema:
        return find_problem(value, resolve(schema["$ref"], root), root, at)
    if "anyOf" in schema:
        found = _none_of(value, schema["anyOf"], root, at)
        if found is not None:
            return found
    types = schema.get("type", TYPES)
    types = (types,) if isinstance(types, str) else types
    if not any(_is_type(value, name) for name in types):
        return _refuse(value, " or ".join(types), at)
    if "const" in schema and not _same(value, schema["const"]):
        return _refuse(value, _show(schema["const"]), at)
    if "enum" in schema and not any(_same(value, choice) for choice in schema["enum"]):
        return _refuse(value, ", ".join(map(_show, schema["enum"])), at)
    if isinstance(value, dict):
        return _object_problem(value, schema, root, at)
    if isinstance(value, list):
        return _array_problem(value, schema, root, at)
    if isinstance(value, str):
        return _text_problem(value, schema, at)
    if _is_type(value, "number"):
        return _number_problem(value, schema, at)
    return None


def _object_problem(value: dict[str, Any], schema: Schema, root: Schema, at: Pointer) -> Found:
    named: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for key, item in value.items():
        if key in named:
            found = find_problem(item, named[key], root, (*at, key))
        elif others is False:
            known = ", ".join(named)
            return Problem(at, f"unknown key {key!r} (known: {known})", f"an object of {known}")
        else:
            found = None if others is True else find_problem(item, others, root, (*at, key))
        if found is not None:
            return found
    for key in schema.get("required", ()):
        if key not in value:
            return Problem(at, f"the key {key!r} is missing", f"an object with {key!r}")
    return None


def _array_problem(value: list[Any], schema: Schema, root: Schema, at: Pointer) -> Found:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if len(value) < least or (most is not None and len(value) > most):
        bounds = f"at least {least}" + ("" if most is None else f" and at most {most}")
        return Problem(at, f"{len(value)} items, allowed: {bounds}", f"{bounds} items")
    if "items" in schema:
        items: Schema = schema["items"]
        if set(items) == {"type", "minimum"} and items["type"] == "integer":
            least = items["minimum"]  # a report holds 100,000s of these: all at once
            if all(type(item) is int and item >= least for item in value):
                return None
        for i, item in enumerate(value):
            found = find_problem(item, items, root, (*at, i))
            if found is not None:
                return found
    return None


def _text_problem(value: str, schema: Schema, at: Pointer) -> Found:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if len(value) < least or (most is not None and len(value) > most):
        bounds = f"at least {least}" + ("" if most is None else f" and at most {most}")
        return _refuse(value, f"{bounds} characters", at)
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        return _refuse(value, f"text like {schema['pattern']}", at)
    return None


def _number_problem(value: float, schema: Schema, at: Pointer) -> Found:
    if "minimum" in schema and value < schema["minimum"]:
        return _refuse(value, f"{schema['minimum']} or more", at)
    if "maximum" in schema and value > schema["maximum"]:
        return _refuse(value, f"{schema['maximum']} or less", at)
    return None


def _none_of(value: Any, choices: list[Schema], root: Schema, at: Pointer) -> Found:
    """What is wrong when no choice fits: the choice that came furthest explains it best."""
    if isinstance(value, dict):
        tags = {id(choice): _tag(choice, root) for choice in choices}
        key = next(iter(tags.values()))[0]
        if key and key in value and all(tag[0] == key for tag in tags.values()):
            alike = [c for c in choices if _same(value[key], tags[id(c)][1])]
            if not alike:
                names = dict.fromkeys(_show(const) for _, const in tags.values())
                return _refuse(value[key], ", ".join(names), (*at, key))
            choices = alike
    problems: list[Problem] = []
    for choice in choices:
        found = find_problem(value, choice, root, at)
        if found is None:
            return None
        problems.append(found)
    furthest = max(problems, key=lambda found: len(found.pointer))
    if len(choices) == 1 or len(furthest.pointer) > len(at):
        return furthest
    return _refuse(value, " or ".join(found.allowed for found in problems), at)


def _tag(choice: Schema, root: Schema) -> tuple[str, Any]:
    """The key by which a choice is told from others, and what stands there; "": it has none."""
    named = (resolve(choice["$ref"], root) if "$ref" in choice else choice).get("properties", {})
    tags = ((key, part["const"]) for key, part in named.items() if "const" in part)
    return next(tags, ("", None))


def _refuse(value: Any, allowed: str, at: Pointer) -> Problem:
    return Problem(at, f"found {_show(value)}, allowed: {allowed}", allowed)


def _is_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):  # a bool is an int in Python, not in JSON
        return name == "boolean"
    python: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "null": type(None),
    }
    return name in python and isinstance(value, python[name])


def _same(value: Any, other: Any) -> bool:
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _show(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def write_pointer(pointer: Pointer) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in pointer)
    return "/" + "/".join(parts)


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\$$", r"\\Z", pattern))


def resolve(ref: str, root: Schema) -> Schema:
    name = ref[len("#/$defs/") :]
    if not ref.startswith("#/$defs/") or name not in root.get("$defs", {}):
        raise ValueError(f"$ref {ref!r} does not lead to one of $defs")
    found: Schema = root["$defs"][name]
    return found
