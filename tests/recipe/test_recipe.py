"""Recipes: what is accepted is complete, what is refused is refused in one sentence."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutate_bytes

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.recipe import Ptq, Recipe, StochasticGates, check, read_recipe

GOOD = """
name: small
data: {name: digits}
model: {arch: lenet5, args: {num_classes: 10}}
train: {epochs: 3, lr: 1e-3}
compress:
  - method: stochastic_gates
    budget: {macs: 0.3}
  - method: ptq
"""

RECIPES = Path(__file__).parents[2] / "pipeline" / "recipes"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    return path


def refusal(file: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        read_recipe(file, overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 600
    return sentence


def test_defaults_are_filled_in(file: Path) -> None:
    recipe = read_recipe(file)
    assert recipe.train is not None
    assert recipe.train.lr == 1e-3  # YAML 1.1 would read this as text
    assert recipe.train.optimizer == "sgd"
    assert isinstance(recipe.compress[0], StochasticGates)
    assert recipe.compress[0].round_to == 8
    assert isinstance(recipe.compress[1], Ptq)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.stem)
def test_ready_recipes_are_valid_and_named_like_their_file(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    # A bundle's provenance has it in full, and it can be read back from there.
    written = recipe.model_dump(mode="json", by_alias=True)
    assert check(Recipe, written, place="manifest.json") == recipe


def test_set_changes_one_value(file: Path) -> None:
    recipe = read_recipe(file, ["train.epochs=7", "compress.0.budget.macs=0.5", "bench.threads=2"])
    expected = read_recipe(file).model_dump()
    expected["train"]["epochs"] = 7
    expected["compress"][0]["budget"]["macs"] = 0.5
    expected["bench"]["threads"] = 2
    assert recipe.model_dump() == expected


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.epohcs=3", ["train.epohcs", "did you mean epochs?", "batch_size"]),
        ("compress.0.budget.mac=1", ["compress.0.budget.mac", "did you mean macs?"]),
        ("compress.1.method=ptk", ["compress.1.method", "'ptk'", "did you mean ptq?"]),
        ("compress.0={}", ["compress.0", "needs a `method`"]),
        ("compress.0.budget={}", ["compress.0.budget", "exactly one of macs, parameters"]),
        ("compress.0.budget.parameters=0.5", ["exactly one of macs, parameters"]),
        ("compress=[]", ["compress must end with `method: ptq`, `method: qat`, or both"]),
        ("train=null", ["either train", "model.weights"]),
        ("model.weights=a.safetensors", ["either train", "model.weights"]),
        ("data=digits", ["data", "mapping of keys", "'digits'"]),
        ("data={}", ["data: give exactly one of name, folder, npz, coco, "]),
        ("train.epochs=0", ["train.epochs", "greater than or equal to 1", "not 0"]),
        ("train.epochs=2.5", ["train.epochs", "valid integer", "2.5"]),
        ("train.epochs='3'", ["train.epochs", "valid integer", "'3'"]),
        ("train.lr=.nan", ["train.lr"]),
        ("train.schedule=cosin", ["train.schedule", "'cosine', 'step' or 'constant'", "'cosin'"]),
        ("model.args.num_classes=[1]", ["model.args.num_classes", "number, text, true or false"]),
        ("name=../up", ["name", "../up"]),
        ("seed=-1", ["seed", "-1"]),
        ("compress.7.method=ptq", ["compress has entries 0 to 1"]),
        ("name.x=1", ["name has no keys"]),
        ("epochs", ["key=value"]),
        ("seed=[", ["not YAML"]),
        ("seed=&a [*a]", ["aliases"]),
        ("seed=!!python/object/apply:os.getpid []", ["tags", "not allowed"]),
        ("name=" + "[" * 500, ["deeper than 64 levels"]),
        ("seed=" + "9" * 5000, ["--set"]),
        ("train.epochs=99999999999999999999999", ["--set", "does not fit a 64-bit integer"]),
    ],
)
def test_a_wrong_value_is_refused_with_place_and_way_out(
    file: Path, override: str, parts: list[str]
) -> None:
    sentence = refusal(file, override)
    for part in parts:
        assert part in sentence


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "a recipe is a mapping of keys, not a blank"),
        ("- a\n- b", "not a list"),
        ("a: [", "is not YAML"),
        ("name: x\nname: y", "'name' is given twice"),
        ("1: x", "keys are words"),
        ("\x00", "is not YAML"),
        ("name: !!set {a}", "YAML tags ('!!set') are not allowed"),
        ("name: !!binary aGk=", "YAML tags ('!!binary') are not allowed"),
        ("name: !!timestamp 2020-01-01", "YAML tags ('!!timestamp') are not allowed"),
        ("name: x\nseed: !!bool maybe", "line 2: YAML tags ('!!bool') are not allowed"),
        ("[" * 50_000, "nested deeper than 64 levels"),
    ],
)
def test_a_file_that_is_no_recipe(file: Path, text: str, part: str) -> None:
    file.write_text(text)
    assert part in refusal(file)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    assert "cannot read recipe" in refusal(tmp_path / "absent.yaml")
    assert "cannot read recipe" in refusal(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot read recipe" in refusal(tmp_path / "binary.yaml")


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([]),
    st.just({}), st.just({"method": "ptq"}),
)  # fmt: skip
keys = st.sampled_from(
    ["name", "seed", "data", "model", "train", "compress", "bundle", "bench", "macs", "x"]
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(keys, st.recursive(scalars, lambda s: st.lists(s) | st.dictionaries(keys, s)))
)
def test_any_document_gives_a_recipe_or_one_clean_error(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("recipes") / "any.yaml"
    path.write_text(yaml.safe_dump(document))
    with contextlib.suppress(InputError):
        assert isinstance(read_recipe(path), Recipe)


@settings(max_examples=700, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_mutated_recipe_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes(mutate_bytes(random.Random(seed), GOOD.encode()))
    with contextlib.suppress(InputError):
        assert isinstance(read_recipe(path), Recipe)


def test_a_recipe_that_cannot_be_read_is_refused_before_torch_is_loaded(file: Path) -> None:
    """A sentence at once: torch takes seconds."""
    file.write_text("[" * 50_000)
    program = (
        "import sys\n"
        "from edgeticket.pipeline.cli import main\n"
        f"sys.argv = ['edgeticket', 'run', {str(file)!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 2, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nested deeper than 64 levels" in done.stderr
