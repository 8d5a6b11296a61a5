"""What a recipe may say.

A recipe is a YAML file; `read_recipe` turns it into a frozen, complete `Recipe` or raises
`InputError` with the place, the value and what is allowed there. Nothing here computes anything.
"""

from __future__ import annotations

import difflib
import json
import re
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from device_runner.errors import InputError

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Config(BaseModel):
    """One part of a recipe: frozen, complete with defaults, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


AnyConfig = TypeVar("AnyConfig", bound=Config)


class DataConfig(Config):
    """Which data set, and how it is split. Sizes are numbers of examples."""

    name: str  # a key of pipeline.data.DATASETS
    validation: Count = 5000  # choices are made on these
    calibration: Count = 300  # these fix the int8 ranges
    test: Count | None = None  # None: the official test set, whole; read once, at the end
    train: Count | None = None  # None: all that is left; fewer makes a quick try


class ModelConfig(Config):
    """The dense network: an architecture, and weights to import instead of training."""

    arch: str  # a key of models.ARCHITECTURES
    args: Mapping[str, bool | int | float | str] = {}
    # A safetensors file. A relative path is looked up beside the recipe, then in the
    # current folder, then in the data folder.
    weights: str | None = None
    # Per-channel mean and std of the pixels in 0..255 that the weights were trained with;
    # None takes the data set's own.
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None


class TrainConfig(Config):
    """One run of the training loop."""

    epochs: Count = 20
    batch_size: Count = 128
    optimizer: Literal["sgd", "adam"] = "sgd"  # sgd has Nesterov momentum
    lr: Annotated[float, Field(gt=0)] = 0.1  # the peak
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4  # not on biases and normalisation
    schedule: Literal["cosine", "step", "constant"] = "cosine"  # stepped once per batch
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of all steps with rising lr
    milestones: tuple[Share, ...] = (0.5, 0.75)  # schedule: step; shares of all steps, lr × 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment: Literal["none", "shift", "crop_flip"] = "none"


class Budget(Config):
    """What the ticket may still cost, as a share of the dense network: one of the two."""

    macs: Share | None = None
    parameters: Share | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if (self.macs is None) == (self.parameters is None):
            raise ValueError("give exactly one of macs, parameters")
        return self


class StochasticGates(Config):
    """Find the channels that matter with stochastic gates, and remove the others physically.

    Gates are Yamada et al. 2020 (STG); the weights are trained along with them.
    """

    method: Literal["stochastic_gates"]
    budget: Budget
    round_to: Count = 8  # channels are kept in multiples of this; int8 kernels want 8
    sigma: tuple[float, float] = (0.5, 0.05)  # noise of the gates, first step to last
    gate_lr: Annotated[float, Field(gt=0)] = 0.02  # Adam's, on the gates
    steer_until: Share = 0.7  # share of the run by which the budget is reached
    train: TrainConfig = TrainConfig(epochs=5, lr=0.02, warmup=0.0)


class Finetune(Config):
    """Train whatever the passes before it left."""

    method: Literal["finetune"]
    train: TrainConfig = TrainConfig(epochs=10, lr=0.02)


class Ptq(Config):
    """Post-training quantisation to int8: decides the one set of scales."""

    method: Literal["ptq"]
    ranges: Literal["minmax"] = "minmax"  # activation ranges over the calibration set


Pass = Annotated[StochasticGates | Finetune | Ptq, Field(discriminator="method")]


class BundleConfig(Config):
    """What is copied to the device besides the artifacts."""

    baseline: bool = True  # the dense fp32 artifacts too, so that the device can prove the gain
    samples: Count | None = None  # test examples to carry; None: all of them


class BenchConfig(Config):
    """How the artifacts are measured on this machine; see `device-runner bench --help`."""

    threads: Count = 1
    min_seconds: Annotated[float, Field(ge=0)] = 2.0  # per artifact
    min_queries: Count = 700  # per artifact; p99 needs 662
    # False keeps Intel's AMX from the runtimes. LiteRT takes it where the CPU has it, also for
    # layers that it makes slower (fewer than 64 input channels), and boards have none.
    amx: bool = True


class Recipe(Config):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: DataConfig
    model: ModelConfig
    train: TrainConfig | None = None  # None only with model.weights
    compress: tuple[Pass, ...]
    bundle: BundleConfig = BundleConfig()
    bench: BenchConfig = BenchConfig()

    @model_validator(mode="after")
    def _one_source_of_weights(self) -> Recipe:
        if (self.train is None) == (self.model.weights is None):
            raise ValueError("give either train (train the network) or model.weights (import it)")
        return self

    @model_validator(mode="after")
    def _ends_in_int8(self) -> Recipe:
        quantising = [i for i, step in enumerate(self.compress) if isinstance(step, Ptq)]
        if quantising != [len(self.compress) - 1]:
            raise ValueError("compress must end with its only `method: ptq`")
        return self


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file.

    Args:
        path: the YAML file.
        overrides: ``key=value`` pairs, e.g. ``train.epochs=3`` or ``compress.0.round_to=4``;
            the value is read as YAML.

    Raises:
        InputError: the file is missing, no YAML, or says something that a recipe cannot.
    """
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
    document = _parse_yaml(text, str(path))
    if not isinstance(document, dict):
        raise InputError(f"{path}: a {kind} is a mapping of keys, not a {_kind(document)}")
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


def _parse_yaml(text: str, place: str) -> Any:
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
    value = _parse_yaml(text, shown)
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
        known = sorted(owner.model_fields)
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
    if location[:2] == ("model", "args") and len(location) > 2:
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
        if owner is ModelConfig and words[-2:-1] == ["args"]:
            break  # which of the allowed scalar types was tried is of no interest
        words.append(str(part))
        field = owner.model_fields.get(str(part)) if isinstance(part, str) else None
        if field is not None:
            owner = _config_class(field.annotation) or owner
    return owner, ".".join(words)


def _config_class(annotation: Any) -> type[Config] | None:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [_config_class(a) for a in typing.get_args(annotation)]
        return next((f for f in found if f), None)
    return None


PASSES: tuple[type[StochasticGates] | type[Finetune] | type[Ptq], ...] = (
    StochasticGates,
    Finetune,
    Ptq,
)
