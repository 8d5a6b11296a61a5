"""Read a YAML file as a config; what it cannot be is told in one sentence."""

from __future__ import annotations

import difflib
import json
import math
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
from edgeticket.device_runner.regular import read_regular_text
from edgeticket.device_runner.strict_json import MAX_DEPTH, MAX_INTEGER, check_text
from edgeticket.pipeline.errors import RecipeError, raised_as
from edgeticket.pipeline.recipe.config import Config
from edgeticket.pipeline.recipe.methods import PASS_CONFIGS
from edgeticket.pipeline.recipe.recipe import Recipe

AnyConfig = TypeVar("AnyConfig", bound=Config)

MOST_BYTES = 1 << 18  # of a recipe, an experiment or a fleet; ours have some 3,000
MOST_VALUES = 10_000
MOST_SHOWN = 400  # letters of what the YAML reader says
MOST_SENTENCES = 12
MOST_OF_A_KEY = 80  # letters


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
    text = read_regular_text(path, kind=kind, limit_bytes=MOST_BYTES)
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
        whole = config.spelled_out(document)
        return config.model_validate_json(json.dumps(whole), strict=True)
    except ValidationError as error:
        sentences = list(dict.fromkeys(_sentence(config, found) for found in error.errors()))
        more = f"; and {len(sentences) - MOST_SENTENCES} more" * (len(sentences) > MOST_SENTENCES)
        raise InputError(f"{place}: " + "; ".join(sentences[:MOST_SENTENCES]) + more) from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        # What `parse_value` lets through never is; a document from elsewhere may be anything.
        raise InputError(f"{place} holds what no {config.__name__} does: {error}") from None


class _PlainLoader(yaml.SafeLoader):
    """YAML without the surprises: no repeated keys, no dates, yes is a word, 1e-3 is a number.

    Tags and aliases are refused: what they stand for is no value that a recipe has, or unfolds to
    gigabytes. So is nesting deeper than JSON's `MAX_DEPTH`, while it is read: what is behind never
    costs time.
    """

    _depth = 0
    _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused("YAML aliases (*name) are not allowed; write it out", event)
        if (tag := getattr(event, "tag", None)) is not None:
            shown = reprlib.repr(tag.replace("tag:yaml.org,2002:", "!!"))
            raise _refused(f"YAML tags ({shown}) are not allowed; write the value alone", event)
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise _refused(f"it is nested deeper than {MAX_DEPTH} levels", event)
        if self._nodes > MOST_VALUES:
            raise _refused(f"it has more than {MOST_VALUES:,} values", event)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _refused(reason: str, event: yaml.Event) -> ValueError:
    line = event.start_mark.line if event.start_mark else 0
    return ValueError(f"line {line + 1}: {reason}" if line else reason)


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


def _decimal(loader: _PlainLoader, node: yaml.ScalarNode) -> int:
    """Without the standard constructor's octal numbers: 010 is ten."""
    digits = loader.construct_scalar(node)
    if len(digits) > 20:
        raise ValueError(f"{reprlib.repr(digits)} does not fit a 64-bit integer")
    return int(digits)


def _unique_keys(loader: _PlainLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"keys are words, not {reprlib.repr(key)}", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{reprlib.repr(key)} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


class _NumberKeysLoader(_PlainLoader):
    """The same, with whole numbers for keys, too, which become words."""


def _keys_as_words(loader: _PlainLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:int" and re.fullmatch("0|[1-9][0-9]*", key.value):
            key.tag = "tag:yaml.org,2002:str"
    return _unique_keys(loader, node)


_PlainLoader.add_constructor("tag:yaml.org,2002:map", _unique_keys)
_PlainLoader.add_constructor("tag:yaml.org,2002:int", _decimal)
_NumberKeysLoader.add_constructor("tag:yaml.org,2002:map", _keys_as_words)


def parse_value(text: str, *, place: str, number_keys: bool = False) -> Any:
    """YAML -> the value that it is: texts, numbers, true, false, null, lists and mappings.

    With ``number_keys`` keys may be whole numbers, too, which become words: files of others.

    Raises:
        InputError: no YAML, or more than that: tags, aliases, deep nesting, numbers that no
            program elsewhere could read.
    """
    if len(text) > MOST_BYTES:
        raise InputError(f"{place} has {len(text):,} letters, more than {MOST_BYTES:,}")
    try:
        value = yaml.load(text, Loader=_NumberKeysLoader if number_keys else _PlainLoader)
        _check_values(value)
    except yaml.YAMLError as error:
        line = " ".join(re.sub(r'\s*in "<unicode string>"', "", str(error)).split())
        raise InputError(f"{place} is not YAML: {line[:MOST_SHOWN]}") from None
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    return value


def _check_values(value: Any, *, depth: int = 0) -> None:
    """
    Raises:
        ValueError: a number beyond 64 bits, an infinity, half a surrogate pair, or deep nesting.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict | list):
        for item in value if isinstance(value, list) else (*value, *value.values()):
            _check_values(item, depth=depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number in it is too large for a 64-bit float")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError(f"{reprlib.repr(value)} does not fit a 64-bit integer")
    elif isinstance(value, str) and not value.isascii():
        check_text(value)


def _override(document: dict[str, Any], pair: str) -> None:
    dotted, equals, text = pair.partition("=")
    shown = f"--set {reprlib.repr(pair)}"
    *parents, last = dotted.split(".")
    if not equals or not dotted or len(parents) >= MAX_DEPTH:
        raise InputError(f"{shown}: write it as key=value, e.g. train.epochs=3")
    node: Any = document
    for i, name in enumerate([*parents, last]):
        above = ".".join(parents[:i])[:MOST_OF_A_KEY]
        if isinstance(node, list):
            if not re.fullmatch("[0-9]{1,9}", name) or int(name) >= len(node):
                raise InputError(f"{shown}: {above} has entries 0 to {len(node) - 1}")
        elif not isinstance(node, dict):
            raise InputError(f"{shown}: {above} has no keys of its own")
        if i == len(parents):
            break
        if isinstance(node, list):
            node = node[int(name)]
        else:
            node = node.setdefault(name, {})
            if node is None:  # `train:` with nothing behind it
                raise InputError(f"{shown}: {name[:MOST_OF_A_KEY]} is empty in the recipe")
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
        near = difflib.get_close_matches(str(location[-1])[:MOST_OF_A_KEY], known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{place}: unknown key ({hint}known: {', '.join(known)})"
    if kind == "missing":
        return f"{place}: missing"
    if kind == "union_tag_invalid":
        expected = error["ctx"]["expected_tags"].replace("'", "")
        near = difflib.get_close_matches(
            str(error["ctx"]["tag"])[:MOST_OF_A_KEY], expected.split(", "), n=1
        )
        hint = f"did you mean {near[0]}? " if near else ""
        return (
            f"{place}.method: unknown {reprlib.repr(error['ctx']['tag'])} ({hint}known: {expected})"
        )
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
        passes = {
            str(typing.get_args(p.model_fields["method"].annotation)[0]): p for p in PASS_CONFIGS
        }
        if i == 2 and location[0] == "compress" and part in passes:
            owner = passes[str(part)]
            continue
        if words[-2:-1] == ["args"] and "args" in owner.model_fields:
            break  # which of the allowed scalar types was tried is of no interest
        words.append(str(part)[:MOST_OF_A_KEY])
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
