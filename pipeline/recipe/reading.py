"""Read a YAML file as a config; what it cannot be is told in one sentence."""

from __future__ import annotations

import difflib
import json
import re
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.errors import RecipeError, raised_as
from edgeticket.pipeline.recipe.config import Config
from edgeticket.pipeline.recipe.methods import PASSES
from edgeticket.pipeline.recipe.recipe import Recipe

AnyConfig = TypeVar("AnyConfig", bound=Config)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file.

    Args:
        path: the YAML file.
        overrides: ``key=value`` pairs, e.g. ``train.epochs=3`` or ``compress.0.round_to=4``;
            the value is read as YAML.

    Raises:
        RecipeError: the file is missing, no YAML, or says something that a recipe cannot.
    """
    with raised_as(RecipeError):
        document = read_document(path, kind="recipe")
        for pair in overrides:
            _override(document, pair)
        return check(Recipe, document, place=str(path))


def read_document(path: Path, *, kind: str) -> dict[str, Any]:
    """A YAML file -> the mapping that it holds; ``kind`` is what errors call it.

    Raises:
        InputError: the file is missing, no YAML, or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {kind} {path}: {error}") from None
    return parse_document(text, kind=kind, place=str(path))


def parse_document(text: str, *, kind: str = "recipe", place: str = "text") -> dict[str, Any]:
    """YAML -> the mapping that it is; ``place`` is where errors say it stands.

    Raises:
        InputError: no YAML, or no mapping.
    """
    document = parse_value(text, place=place)
    if not isinstance(document, dict):
        raise InputError(f"{place}: a {kind} is a mapping of keys, not a {_kind(document)}")
    return document


def check(config: type[AnyConfig], document: Mapping[str, Any], *, place: str) -> AnyConfig:
    """A document -> the config that it describes; ``place`` is where errors say it stands.

    Raises:
        InputError: it says something that this config cannot.
    """
    try:
        # Through JSON, because strict mode then takes a list for a tuple but no text for a number.
        return config.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        sentences = dict.fromkeys(_sentence(config, found) for found in error.errors())
        raise InputError(f"{place}: " + "; ".join(sentences)) from None


class _PlainLoader(yaml.SafeLoader):
    """YAML without the surprises: no repeated keys, no dates, yes is a word, 1e-3 is a number."""


_PLAIN_WORDS = {  # YAML 1.2's core schema, which is what people expect
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
}
_PlainLoader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _PLAIN_WORDS.items():
    _PlainLoader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)


def _unique_keys(loader: _PlainLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"keys are words, not {key!r}", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_PlainLoader.add_constructor("tag:yaml.org,2002:map", _unique_keys)


def parse_value(text: str, *, place: str) -> Any:
    """YAML -> the value that it is.

    Raises:
        InputError: no YAML, or one with aliases.
    """
    try:
        # Aliases could make a document that contains itself, or one that unfolds to gigabytes.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, _PlainLoader)):
            raise InputError(f"{place}: YAML aliases (*name) are not allowed; write it out")
        return yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{place} is not YAML: {line}") from None


def _override(document: dict[str, Any], pair: str) -> None:
    dotted, equals, text = pair.partition("=")
    shown = f"--set {reprlib.repr(pair)}"
    if not equals or not dotted:
        raise InputError(f"{shown}: write it as key=value, e.g. train.epochs=3")
    *parents, last = dotted.split(".")
    node: Any = document
    for i, name in enumerate([*parents, last]):
        if isinstance(node, list):
            if not name.isdecimal() or int(name) >= len(node):
                raise InputError(
                    f"{shown}: {'.'.join(parents[:i])} has entries 0 to {len(node) - 1}"
                )
        elif not isinstance(node, dict):
            raise InputError(f"{shown}: {'.'.join(parents[:i])} has no keys of its own")
        if i == len(parents):
            break
        if isinstance(node, list):
            node = node[int(name)]
        else:
            node = node.setdefault(name, {})
            if node is None:  # `train:` with nothing behind it
                raise InputError(f"{shown}: {name} is empty in the recipe")
    value = parse_value(text, place=shown)
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value


def _kind(value: object) -> str:
    names = {dict: "mapping", list: "list", str: "text", bool: "yes/no value", type(None): "blank"}
    return names.get(type(value), "number")


def _sentence(root: type[Config], error: Mapping[str, Any]) -> str:
    """One pydantic error as: place, what is wrong, what was given, what is allowed."""
    location: tuple[int | str, ...] = error["loc"]
    kind, given = error["type"], error["input"]
    owner, place = _owner(root, location)
    if kind == "extra_forbidden":
        known = sorted(field.alias or name for name, field in owner.model_fields.items())
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{place}: unknown key ({hint}known: {', '.join(known)})"
    if kind == "missing":
        return f"{place}: missing"
    if kind == "union_tag_invalid":
        expected = error["ctx"]["expected_tags"].replace("'", "")
        near = difflib.get_close_matches(str(error["ctx"]["tag"]), expected.split(", "), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{place}.method: unknown {error['ctx']['tag']!r} ({hint}known: {expected})"
    if kind == "union_tag_not_found":
        return f"{place}: needs a `method`"
    if "args" in location[:-1]:
        return f"{place}: should be a number, text, true or false, not {reprlib.repr(given)}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("an object", "a mapping of keys").replace("valid tuple", "list")
    shown = "" if isinstance(given, dict | list) else f", not {reprlib.repr(given)}"
    return f"{place}: {message}{shown}" if place else message + shown


def _owner(root: type[Config], location: tuple[int | str, ...]) -> tuple[type[Config], str]:
    """The config class that ``location`` ends in, and the place as the user would write it.

    Pydantic puts the tag of a chosen pass into the location (``compress.0.finetune.train``);
    users never wrote it there, so it is dropped.
    """
    owner = root
    words: list[str] = []
    for i, part in enumerate(location):
        passes = {str(typing.get_args(p.model_fields["method"].annotation)[0]): p for p in PASSES}
        if i == 2 and location[0] == "compress" and part in passes:
            owner = passes[str(part)]
            continue
        if words[-2:-1] == ["args"] and "args" in owner.model_fields:
            break  # which of the allowed scalar types was tried is of no interest
        words.append(str(part))
        field = owner.model_fields.get(str(part)) if isinstance(part, str) else None
        if field is not None:
            owner = _config_class(field.annotation) or owner
    return owner, ".".join(words)


def _config_class(annotation: Any) -> type[Config] | None:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple):
        found = [_config_class(a) for a in typing.get_args(annotation)]
        return next((f for f in found if f), None)
    return None
