"""One source file as `pipeline.store.code` sees it: what its top level binds, says and uses."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = "edgeticket"
RECIPE = f"{PROJECT}.pipeline.recipe"  # fields of its classes are in keys by value
VALIDATORS = {"model_validator", "field_validator"}
MODULE_NAME = re.compile(rf"{PROJECT}(\.\w+)+")
WHOLE = "*"  # in the place of a name: all of a module


@dataclass(frozen=True)
class Imported:
    """What an imported name stands for: a name in a module, or (None) the module."""

    module: str
    name: str | None = None


@dataclass(frozen=True, eq=False)
class Statement:
    """One at the top level of a module."""

    module: Module
    names: tuple[str, ...]  # that it binds
    digest: str  # of what it says
    uses: frozenset[tuple[str, ...]]  # dotted names, in parts
    imports: Mapping[str, Sequence[Imported]]  # inside of it
    modules: frozenset[str]  # of the project, that its strings name


class Module:
    """A source file. Comments, docstrings and layout are not part of what its statements say."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.imports: dict[str, list[Imported]] = {}
        self.definitions: dict[str, list[Statement]] = {}
        self.others: list[Statement] = []  # no definitions: they run when it is imported
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.parse(file.read_bytes()).body:
            if _is_text(node):
                continue
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._remember(_bindings(node, package))
                continue
            statement = _statement(self, _plain(node, self.name), package)
            for bound in statement.names:
                self.definitions.setdefault(bound, []).append(statement)
            if not isinstance(node, DEFINITIONS):
                self.others.append(statement)
                self._remember((n, i) for n, all_ in statement.imports.items() for i in all_)
        known = frozenset((bound,) for bound in (*self.definitions, *self.imports))
        self.whole = Statement(self, (WHOLE,), "", known, {}, frozenset())

    def _remember(self, bindings: Iterator[tuple[str, Imported]]) -> None:
        for name, imported in bindings:
            self.imports.setdefault(name, []).append(imported)

    def define(self, name: str) -> Sequence[Statement]:
        """The statements that bind ``name``; where none does so visibly, all of the module."""
        return self.definitions.get(name, [self.whole])


@functools.cache
def read_module(name: str, file: Path) -> Module:
    """Parse a file, once."""
    return Module(name, file)


@functools.cache
def find_module(name: str) -> Module | None:
    """A module of the project by its name; None: there is none. Nothing is imported for that."""
    project, *parts = name.split(".")
    if project != PROJECT:
        return None
    path = _root().joinpath(*parts)
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return read_module(name, file)
    return None


def forget() -> None:
    """Read files anew from now on."""
    read_module.cache_clear()
    find_module.cache_clear()
    _root.cache_clear()


@functools.cache
def _root() -> Path:
    spec = importlib.util.find_spec(PROJECT)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _statement(module: Module, node: ast.stmt, package: str) -> Statement:
    reader = _Reader(package)
    reader.visit(node)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        reader.stored = {node.name}
    return Statement(
        module,
        tuple(sorted(reader.stored)),
        hashlib.sha256(ast.unparse(node).encode()).hexdigest(),
        frozenset(reader.uses),
        reader.imports,
        frozenset(reader.modules),
    )


class _Reader(ast.NodeVisitor):
    """Collects what a statement uses, imports, and binds."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.uses: set[tuple[str, ...]] = set()
        self.imports: dict[str, list[Imported]] = {}
        self.modules: set[str] = set()
        self.stored: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        self.uses.add((node.id,))
        if isinstance(node.ctx, ast.Store):
            self.stored.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts, value = [node.attr], node.value
        while isinstance(value, ast.Attribute):
            parts.append(value.attr)
            value = value.value
        if isinstance(value, ast.Name):
            self.uses.add((value.id, *reversed(parts)))
        else:
            self.visit(value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and MODULE_NAME.fullmatch(node.value):
            self.modules.add(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        self._import(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._import(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, imported in _bindings(node, self.package):
            self.imports.setdefault(name, []).append(imported)


def _bindings(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Imported]]:
    """The names that an import binds, and what they stand for."""
    if isinstance(node, ast.ImportFrom):
        relative = "." * node.level + (node.module or "")
        source = importlib.util.resolve_name(relative, package)
        for alias in node.names:
            yield alias.asname or alias.name, Imported(source, alias.name)
        return
    for alias in node.names:
        if alias.asname is not None:
            yield alias.asname, Imported(alias.name)
        else:
            first = alias.name.partition(".")[0]
            yield first, Imported(first)


def _plain(node: ast.stmt, module: str) -> ast.stmt:
    """``node`` without docstrings, and without what a recipe's key holds by value."""
    in_recipe = module == RECIPE or module.startswith(f"{RECIPE}.")
    for inner in ast.walk(node):
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        body = [part for part in inner.body if not _is_text(part)]
        if in_recipe and isinstance(inner, ast.ClassDef):
            body = [part for part in body if not _is_field(part) and not _only_refuses(part)]
        inner.body = body or [ast.Pass()]
    return node


def _is_text(node: ast.stmt) -> bool:
    """A docstring; any other text that stands by itself does as little."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)


def _only_refuses(node: ast.stmt) -> bool:
    if not isinstance(node, ast.FunctionDef):
        return False
    calls = (d.func for d in node.decorator_list if isinstance(d, ast.Call))
    return any(isinstance(called, ast.Name) and called.id in VALIDATORS for called in calls)


DEFINITIONS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
)
