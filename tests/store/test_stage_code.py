"""Which code a key depends on: all that work can reach, and nothing else."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeticket.pipeline.data import decoded
from edgeticket.pipeline.run.passes import PASSES
from edgeticket.pipeline.run.pipeline import _write_reports
from edgeticket.pipeline.store import code, source
from edgeticket.pipeline.store.code import code_digest, definitions_reached, forget_code

FILES = {
    "__init__.py": "",
    "work.py": '''
"""What makes results."""
from toyproject import tools, methods
from toyproject.tools import twice as double
from toyproject.package import passed_on
import toyproject.deep.inner
import toyproject.deep.inner as shallow

SIZE = 2
UNUSED = 3

def work(folder, resume):
    """Do it."""
    return double(SIZE) + passed_on() + _private()

def _private():
    from toyproject.lazy import late
    return late()

def by_module(folder, resume):
    return tools.thrice(1)

def by_path(folder, resume):
    return toyproject.deep.inner.value

def by_alias(folder, resume):
    return shallow.value

def in_a_process(folder, resume):
    return ["python", "-m", "toyproject.program"]

def with_class(folder, resume):
    thing: Thing = Thing()
    return thing

class Thing:
    """A thing."""
    def method(self):
        return tools.thrice(2)

def chosen(folder, resume, *, how):
    return how()

def annotated(folder, resume, *, cfg: "methods.Magnitude"):
    return 1

def configured(folder, resume, *, cfg: methods.Magnitude):
    return cfg.half

def registered(folder, resume):
    return REGISTRY["one"]()

def one():
    return 1

def unrelated():
    return tools.unrelated()

REGISTRY = {"one": one}
''',
    "tools.py": """
LIMIT = 7
print  # a statement that is no definition

def twice(x):
    return 2 * x if x < LIMIT else x

def thrice(x):
    return 3 * x

def unrelated():
    return 0
""",
    "package/__init__.py": """
from toyproject.package.one import passed_on
from toyproject.package.other import not_used
""",
    "package/one.py": "def passed_on():\n    return 1\n",
    "package/other.py": "def not_used():\n    return 1\n",
    "deep/__init__.py": "",
    "deep/inner.py": "value = 1\n",
    "lazy.py": "def late():\n    return 1\n",
    "program/__init__.py": "NAME = 'p'\n",
    "program/__main__.py": "from toyproject.program.cli import main\nmain()\n",
    "program/cli.py": "def main():\n    return 1\n",
    "methods.py": '''
class Magnitude:
    """Zero the smallest."""
    sparsity: float = 0.5  # of all

    @property
    def half(self):
        return self.sparsity / 2

    @model_validator(mode="after")
    def _fits(self):
        return self
''',
}

# Function -> (file, text, other text) that change its digest, and that do not.
CHANGES: dict[str, list[tuple[str, str, str]]] = {
    "work": [
        ("work.py", "SIZE = 2", "SIZE = 4"),
        ("work.py", "+ passed_on()", "- passed_on()"),
        ("tools.py", "2 * x", "4 * x"),
        ("tools.py", "LIMIT = 7", "LIMIT = 8"),
        ("tools.py", "print", "repr"),
        ("package/one.py", "return 1", "return 2"),
        ("package/__init__.py", "one import passed_on", "other import not_used as passed_on"),
        ("lazy.py", "return 1", "return 2"),
    ],
    "by_module": [("tools.py", "3 * x", "4 * x")],
    "by_path": [("deep/inner.py", "value = 1", "value = 2")],
    "by_alias": [("deep/inner.py", "value = 1", "value = 2")],
    "in_a_process": [
        ("program/cli.py", "return 1", "return 2"),
        ("program/__init__.py", "'p'", "'q'"),
    ],
    "with_class": [("tools.py", "3 * x", "4 * x"), ("work.py", "thrice(2)", "thrice(3)")],
    "registered": [("work.py", "def one():\n    return 1", "def one():\n    return 2")],
    "configured": [("methods.py", "sparsity / 2", "sparsity / 3")],
}
NO_CHANGES: dict[str, list[tuple[str, str, str]]] = {
    "work": [
        ("work.py", "Do it.", "Do it well."),
        ("work.py", "What makes", "Which makes"),
        ("work.py", "UNUSED = 3", "UNUSED = 4"),
        ("work.py", "SIZE = 2", "SIZE = 2  # a comment"),
        ("work.py", "tools.unrelated()", "1"),
        ("tools.py", "return 0", "return 1"),
        ("tools.py", "3 * x", "4 * x"),
        ("package/other.py", "return 1", "return 2"),
        ("program/cli.py", "return 1", "return 2"),
    ],
    "by_module": [("tools.py", "2 * x", "4 * x")],
    "configured": [
        ("methods.py", "0.5  # of all", "0.6  # of them"),
        ("methods.py", "return self\n", "return None\n"),
        ("methods.py", "the smallest", "the largest"),
    ],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "toyproject"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(source, "PROJECT", "toyproject")
    monkeypatch.setattr(source, "RECIPE", "toyproject.methods")
    monkeypatch.setattr(source, "MODULE_NAME", re.compile(r"toyproject(\.\w+)+"))
    methods = root / "methods.py"
    methods.write_text("def model_validator(mode):\n    return lambda f: f\n" + methods.read_text())
    forget_code()
    yield root
    forget_code()
    for name in [n for n in sys.modules if n.partition(".")[0] == "toyproject"]:
        del sys.modules[name]


def cases(table: dict[str, list[tuple[str, str, str]]]) -> Any:
    each = [(work, *change) for work, changes in table.items() for change in changes]
    return pytest.mark.parametrize(("work", "file", "text", "other"), each)


def digest_before_and_after(project: Path, work: str, change: tuple[str, str, str]) -> list[str]:
    function = getattr(importlib.import_module("toyproject.work"), work)
    file, text, other = change
    digests = []
    for _ in range(2):
        forget_code()
        digests.append(code_digest(functools.partial(function, resume=1)))
        before = (project / file).read_text()
        assert text in before
        (project / file).write_text(before.replace(text, other, 1))
        text, other = other, text
    return digests


@cases(CHANGES)
def test_a_change_of_what_work_reaches_is_another_key(
    project: Path, work: str, file: str, text: str, other: str
) -> None:
    before, after = digest_before_and_after(project, work, (file, text, other))
    assert before != after


@cases(NO_CHANGES)
def test_any_other_change_leaves_the_key_as_it_is(
    project: Path, work: str, file: str, text: str, other: str
) -> None:
    before, after = digest_before_and_after(project, work, (file, text, other))
    assert before == after


def test_functions_that_are_given_count_wherever_they_are_bound(project: Path) -> None:
    work = importlib.import_module("toyproject.work")
    tools = importlib.import_module("toyproject.tools")
    plain = definitions_reached(work.chosen)
    for bound in (
        functools.partial(work.chosen, how=tools.thrice),
        functools.partial(work.chosen, how=functools.partial(tools.thrice, 1)),
        functools.partial(work.chosen, how=[(1, {"a": tools.thrice})]),
        functools.partial(work.chosen, how=functools.cache(tools.thrice)),
        functools.partial(work.chosen, how=work.Thing().method),
        lambda: (work.chosen, tools.thrice),
    ):
        assert ("toyproject.tools", "thrice") in definitions_reached(bound) - plain


def test_what_has_no_source_is_refused(project: Path) -> None:
    exec("def made_up(): pass", names := {"__name__": "nowhere"})
    with pytest.raises(ValueError, match="no source"):
        code_digest(names["made_up"])


def test_passes_leave_each_other_alone() -> None:
    """A change of one way of finding a ticket must not throw away what others took hours for."""
    methods = {
        name: {m.rpartition(".")[2] for m, _ in definitions_reached(entry.work)}
        for name, entry in PASSES.items()
    }
    alone = {"edge_popup", "score_miner", "weight_gates", "stochastic_gates", "weight_penalty"}
    for name, modules in methods.items():
        assert not modules & (alone - {name}), name
    assert "rewinding" in methods["reinit"]  # whose levels it spoils
    for name in methods.keys() - {"ptq", "qat", "residual_blocks"}:
        assert "calibration" not in methods[name]
    assert all("passes" not in modules for modules in methods.values())


def test_a_measurement_depends_on_the_runner_that_it_starts() -> None:
    reached = {module for module, _ in definitions_reached(_write_reports)}
    for part in ("cli", "bench.session", "latency", "runtimes.tflite", "validity.rules"):
        assert f"edgeticket.device_runner.{part}" in reached
    assert not any(module.startswith("edgeticket.pipeline.train") for module in reached)


def test_latencies_that_a_pass_measures_depend_on_what_measures_them() -> None:
    reached = {module for module, _ in definitions_reached(PASSES["residual_blocks"].work)}
    assert {"edgeticket.pipeline.convert", "edgeticket.device_runner.latency"} <= reached


def test_decoding_depends_on_little() -> None:
    read = functools.partial(decoded.read_picture, steps=())
    work = functools.partial(decoded._write_decoded, read=read)
    modules = {module for module, _ in definitions_reached(work)}
    assert "edgeticket.pipeline.data.decode" in modules
    assert not any(".train" in module or ".models" in module for module in modules)


def test_every_name_that_does_not_count_is_a_module() -> None:
    assert all(source.find_module(name) is not None for name in code.NOT_WORK)
