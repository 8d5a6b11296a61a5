"""Which code decides a stage's result: found from the function that makes it.

What counts are definitions, not files: the function, the functions, classes and values that it
names, and what those name, through imports of this project, also those inside functions and those
that a package passes on. A string that names a module of the project, as ``python -m`` takes it,
counts like a use of the whole module. So a change of one pass leaves the results of another alone,
even where one file lists both.

What does not count: comments, docstrings and layout; `NOT_WORK`; the fields of recipes, whose
values are in keys already, and their validators, which can only refuse. What other distributions
do is in keys by their versions.

Importing does nothing, by a rule of this project. So a package's ``__init__`` counts for the names
alone that are taken from it; a module's statements that are no definitions count with the module.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeticket.pipeline.store.source import (
    PROJECT,
    WHOLE,
    Imported,
    Statement,
    find_module,
    forget,
    read_module,
)

# They show how far work is, or keep what it made; what it makes does not depend on them.
NOT_WORK = frozenset(
    {
        f"{PROJECT}.pipeline.progress",
        f"{PROJECT}.pipeline.run.levels",
        f"{PROJECT}.pipeline.store",
        f"{PROJECT}.pipeline.store.code",
        f"{PROJECT}.pipeline.store.source",
    }
)


def code_digest(work: object) -> str:
    """A digest of all code of this project that ``work`` can reach.

    Args:
        work: a function, perhaps with arguments bound (`functools.partial`); functions among
            these count, too.

    Raises:
        ValueError: a function has no source.
    """
    return _digest(frozenset(_functions(work)))


def definitions_reached(work: object) -> set[tuple[str, str]]:
    """All that `code_digest` counts: (module, name at its top level)."""
    statements = _closure(frozenset(_functions(work)))
    return {(statement.module.name, name) for statement in statements for name in statement.names}


def forget_code() -> None:
    """Read the files anew from now on."""
    forget()
    for cached in (_digest, _closure, _targets):
        cached.cache_clear()


Start = tuple[str, str, Path]
"""(module, name at its top level, file)"""


def _functions(work: object) -> Iterator[Start]:
    """The functions and classes in ``work``."""
    waiting, seen = [work], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if hasattr(part, "__wrapped__"):  # decorated
            waiting.append(part.__wrapped__)
        elif isinstance(part, functools.partial):
            waiting += [part.func, *part.args, *part.keywords.values()]
        elif isinstance(part, types.MethodType):
            waiting += [part.__func__, type(part.__self__)]
        elif isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, Mapping):
            waiting += part.values()
        elif isinstance(part, type | types.FunctionType):
            yield _start(part)
            waiting += [cell.cell_contents for cell in getattr(part, "__closure__", None) or ()]


def _start(function: type | types.FunctionType) -> Start:
    file = inspect.getsourcefile(function)
    if file is None:
        raise ValueError(f"{function!r} has no source that could be followed")
    return function.__module__, function.__qualname__.partition(".")[0], Path(file)


@functools.cache
def _digest(starts: frozenset[Start]) -> str:
    counted = sorted(
        [
            statement.module.name,
            *statement.names,
            statement.digest,
            *sorted(f"{target.module}:{target.name}" for target in _targets(statement)),
        ]
        for statement in _closure(starts)
    )
    return hashlib.sha256(json.dumps(counted).encode()).hexdigest()


@functools.cache
def _closure(starts: frozenset[Start]) -> frozenset[Statement]:
    """All statements that are reached; each is looked at once."""
    reached: set[Statement] = set()
    waiting: list[Statement] = []
    for name, defined, file in starts:
        module = find_module(name) or read_module(name, file)
        waiting += module.define(defined)
    while waiting:
        statement = waiting.pop()
        if statement in reached:
            continue
        reached.add(statement)
        waiting += statement.module.others
        for target in _targets(statement):
            targeted = find_module(target.module)
            if targeted is not None and target.name is not None:
                waiting += targeted.define(target.name)
    return frozenset(reached)


@functools.cache
def _targets(statement: Statement) -> frozenset[Imported]:
    """What a statement names of its own module and of others, wherever that is defined."""
    module = statement.module
    targets = {
        Imported(name, WHOLE)
        for named in statement.modules
        for name in (named, f"{named}.__main__")
        if find_module(name) is not None
    }
    for first, *rest in statement.uses:
        for imported in statement.imports.get(first, ()):
            targets |= set(_resolve(imported, rest))
        if first in module.definitions:
            targets.add(Imported(module.name, first))
        for imported in module.imports.get(first, ()):
            targets |= set(_resolve(imported, rest))
    return frozenset(target for target in targets if target.module not in NOT_WORK)


def _resolve(imported: Imported, rest: list[str]) -> Iterator[Imported]:
    """What an imported name stands for, and attributes that are taken of it -> its definition."""
    module = find_module(imported.module)
    if module is None:  # of another distribution: named, not followed
        yield imported
        return
    if imported.name is None:
        if not rest:
            yield Imported(module.name, WHOLE)
            return
        imported, rest = Imported(module.name, rest[0]), rest[1:]
    name = imported.name
    assert name is not None
    passed_on = [other for other in module.imports.get(name, ()) if other != imported]
    if name in module.definitions:
        yield imported
    elif passed_on:
        for other in passed_on:
            yield from _resolve(other, rest)
    elif find_module(f"{module.name}.{name}") is not None:
        yield from _resolve(Imported(f"{module.name}.{name}"), rest)
    else:
        yield imported
