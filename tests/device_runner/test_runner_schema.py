"""The schemas, the validator of their subset, and strict JSON."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import mutations
import pytest
import runner_fixtures as tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from runner_fixtures import example_report, to_document

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.schema import (
    KEYWORDS,
    check_schema,
    check_version,
    load_schema,
    validate,
)
from edgeticket.device_runner.strict_json import MAX_DEPTH, format_json, parse_json

DOCUMENTS = {
    "manifest": to_document(tiny.tiny_manifest(tiny.tiny_files())),
    "report": to_document(example_report()),
}

# An integer is a number without fraction here, as in draft 4; see device_runner/schema/.
STRICT: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def accepts(value: Any, schema: Any) -> bool:
    try:
        validate(value, schema, place="x")
    except InputError:
        return False
    return True


@pytest.mark.parametrize("name", DOCUMENTS)
def test_published_schemas_are_valid_and_accept_the_example(name: str) -> None:
    schema = load_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    validate(DOCUMENTS[name], schema, place="x")
    STRICT(schema).validate(DOCUMENTS[name])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_field_is_described_and_no_shape_is_open(name: str) -> None:
    def walk(schema: Any, at: str) -> None:
        for key, part in schema.get("properties", {}).items():
            assert {"description", "$ref", "const"} & set(part), f"{at}/{key}"
            walk(part, f"{at}/{key}")
        if "properties" in schema:
            assert schema["additionalProperties"] is False, at
            assert set(schema["required"]) == set(schema["properties"]), at
        for key, part in schema.get("$defs", {}).items():
            assert "description" in part, key
            walk(part, f"$defs/{key}")

    walk(load_schema(name), "")


def test_the_two_schemas_agree_on_what_they_share() -> None:
    manifest, report = load_schema("manifest"), load_schema("report")
    for name in ("tensor", "path", "sha256"):
        assert manifest["$defs"][name] == report["$defs"][name]
    shared = dict(report["properties"]["artifact"]["properties"])
    own = {shared.pop("sha256")["$ref"], shared.pop("size_bytes")["type"]}
    assert own == {"#/$defs/sha256", "integer"}
    assert shared == manifest["$defs"]["artifact"]["properties"]


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 3))
def test_agrees_with_jsonschema_on_damaged_documents(name: str, seed: int, count: int) -> None:
    rng, document = random.Random(seed), DOCUMENTS[name]
    for _ in range(count):
        document = mutations.mutate_json(rng, document)
    assert accepts(document, load_schema(name)) == STRICT(load_schema(name)).is_valid(document)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-4, 4)
    | st.floats(-4, 4, allow_nan=False)
    | st.sampled_from(["", "a", "b", "ab", "abc"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)
type_names = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])
flat_schemas = st.fixed_dictionaries(
    {},
    optional={
        "type": type_names | st.lists(type_names, min_size=1, max_size=3, unique=True),
        "const": scalars,
        "enum": st.lists(scalars, min_size=1, max_size=3),
        "minimum": st.integers(-2, 2),
        "maximum": st.integers(-2, 2),
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
        "pattern": st.sampled_from(["^a", "b$", "^a?b*$", "a"]),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "required": st.lists(st.sampled_from("ab"), max_size=2, unique=True),
    },
)


def _nest(inner: Any) -> Any:
    nested = st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=3),
        },
    )
    references = st.just({"$ref": "#/$defs/other"})
    return references | st.tuples(flat_schemas, nested).map(lambda pair: {**pair[0], **pair[1]})


schemas = st.recursive(flat_schemas, _nest, max_leaves=6)


@settings(max_examples=600, deadline=None)
@given(schema=schemas, other=flat_schemas, value=values)
def test_agrees_with_jsonschema_on_random_schemas(schema: Any, other: Any, value: Any) -> None:
    if "$ref" in schema:
        schema = {"anyOf": [schema]}
    schema = {**schema, "$defs": {"other": other}}
    check_schema(schema)
    assert accepts(value, schema) == STRICT(schema).is_valid(value)


def test_every_keyword_of_the_published_schemas_is_needed() -> None:
    used: set[str] = set()

    def walk(schema: Any) -> None:
        used.update(schema)
        inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
        inner += [*schema.get("anyOf", []), schema.get("items"), schema.get("additionalProperties")]
        for part in inner:
            if isinstance(part, dict):
                walk(part)

    for name in DOCUMENTS:
        walk(load_schema(name))
    assert used == KEYWORDS


@pytest.mark.parametrize(
    "schema",
    [
        {"format": "uri"},
        {"properties": {"a": {"oneOf": []}}},
        {"items": {"uniqueItems": True}},
        {"anyOf": [{"not": {}}]},
        {"$defs": {"a": {"if": {}}}},
        {"additionalProperties": {"multipleOf": 2}},
        {"type": "float"},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "other.json"},
        {"$ref": "#/$defs/a", "type": "string", "$defs": {"a": {}}},
    ],
)
def test_a_schema_that_says_more_than_is_enforced_is_refused(schema: Any) -> None:
    with pytest.raises(ValueError, match=r"schema|ref"):
        check_schema(schema)


def test_a_pattern_ends_at_the_end() -> None:
    schema = load_schema("manifest")["$defs"]["sha256"]
    assert accepts("a" * 64, schema)
    assert not accepts("a" * 64 + "\n", schema)


@pytest.mark.parametrize(
    ("pointer", "value", "sentence"),
    [
        ("artifacts/0/inputs/0/dtype", "int4", "found 'int4', allowed: 'float32', 'int8', 'uint8'"),
        ("artifacts/0/inputs/0/scale", "x", "found 'x', allowed: number or null"),
        ("files/0/size_bytes", -1, "found -1, allowed: 0 or more"),
        ("files/0/size_bytes", True, "found true, allowed: integer"),
        ("samples/count", 1.0, "found 1.0, allowed: integer"),
        ("artifacts/0/outputs", [], "0 items, allowed: at least 1"),
        ("inputs/0/preprocessing", [{"op": "crop"}], "/0/op: found 'crop', allowed: 'normalize'"),
        ("inputs/0/preprocessing", [{"op": "normalize"}], "/0: the key 'mean' is missing"),
    ],
)
def test_says_where_what_and_what_is_allowed(pointer: str, value: Any, sentence: str) -> None:
    document = json.loads(json.dumps(DOCUMENTS["manifest"]))
    *parents, last = pointer.split("/")
    node = document
    for part in parents:
        node = node[int(part) if part.isdecimal() else part]
    node[last] = value
    with pytest.raises(InputError) as caught:
        validate(document, load_schema("manifest"), place="m.json")
    assert str(caught.value).startswith(f"m.json at /{pointer}")
    assert sentence in str(caught.value)


def test_unknown_keys_are_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown key 'extra' \(known: schema_version, name"):
        validate({**DOCUMENTS["manifest"], "extra": 1}, load_schema("manifest"), place="x")


def test_a_newer_version_says_upgrade() -> None:
    with pytest.raises(InputError, match="made by a newer edgeticket: upgrade the runner"):
        check_version({"schema_version": 2}, known=1, place="x")
    others: tuple[Any, ...] = ({"schema_version": 1}, {"schema_version": "2"}, {}, [], None)
    for other in others:
        check_version(other, known=1, place="x")


@pytest.mark.parametrize(
    "text",
    [
        b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"-1e999", b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}', b"9223372036854775808", b"1" * 5000, b"-" + b"9" * 30,
        b'"\\ud800"', b'{"\\udfff": 1}', b"\xff", b"\xef\xbb\xbf{}", b"", b"{", b"[1,]", b"'a'",
        b"[" * 100_000, b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), b'{"a":' * 100_000,
    ],
)  # fmt: skip
def test_loose_json_is_refused(text: bytes) -> None:
    with pytest.raises(InputError, match=r"^x "):
        parse_json(text, place="x")


def test_the_limits_themselves_are_fine() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse_json(b"[9223372036854775807, -9223372036854775807]", place="x")[1] == 1 - 2**63
    assert format_json(parse_json(deep, place="x")).split() == [b"["] * (MAX_DEPTH - 1) + [
        b"[]"
    ] + [b"]"] * (MAX_DEPTH - 1)


@given(st.recursive(scalars | st.text("aé\u2028😀\"\\\n"), lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text("a\"é", max_size=3), inner, max_size=4)))  # fmt: skip
def test_json_round_trip(value: Any) -> None:
    assert parse_json(format_json(value), place="x") == value
    assert format_json(parse_json(format_json(value), place="x")) == format_json(value)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": float("-inf")}])
def test_what_json_cannot_say_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        format_json(value)


def test_lists_of_numbers_stay_on_one_line() -> None:
    assert format_json({"a": [1, 2], "b": [{"c": 1.5}], "d": {}}) == (
        b'{\n  "a": [1, 2],\n  "b": [\n    {\n      "c": 1.5\n    }\n  ],\n  "d": {}\n}\n'
    )
