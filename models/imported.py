"""Functions of the user's own, named ``package.module:function``."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


class _UserFolders(importlib.abc.MetaPathFinder):
    """Finds the user's modules beside the recipe, before installed ones of the same name.

    Only while the user's code is imported or called (`user_folders_first`): what this program
    imports by itself, whenever that is, never comes from a file that happens to lie there.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []
        self.depth = 0  # of nested `user_folders_first`

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A module or package with an `__init__.py`; folders without one wait for their turn."""
        if not self.depth or path is not None or fullname in RESERVED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, self.folders)
        return None if spec is None or spec.loader is None else spec


_USER_FOLDERS = _UserFolders()
# Names that stand for the same module in every folder.
RESERVED = sys.stdlib_module_names | {"edgeticket"}


def look_in(folders: Sequence[Path]) -> None:
    """Let `find_function` find modules in ``folders``, the first one first.

    What is not on `sys.path` yet is put at its end, where it shadows nothing that is installed.
    """
    wanted = [str(folder.absolute()) for folder in folders]
    kept = [folder for folder in _USER_FOLDERS.folders if folder not in wanted]
    _USER_FOLDERS.folders = [*wanted, *kept]
    sys.path += [folder for folder in wanted if folder not in sys.path]
    if _USER_FOLDERS not in sys.meta_path:
        sys.meta_path.insert(0, _USER_FOLDERS)
    importlib.invalidate_caches()


@contextlib.contextmanager
def user_folders_first() -> Iterator[None]:
    """While the user's code runs, what it imports is looked for in the user's folders first."""
    _USER_FOLDERS.depth += 1
    try:
        yield
    finally:
        _USER_FOLDERS.depth -= 1


def find_function(name: str) -> Callable[..., Any]:
    """``package.module:function`` -> the function; the module is imported, which runs its code.

    Raises:
        ValueError: there is no such module or function, or importing it fails.
    """
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        raise ValueError(f"{name!r} should be written package.module:function")
    try:
        with user_folders_first():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ValueError(
                f"no module {module_name} ({name}): it is looked for beside the recipe, in the "
                "current folder and among the installed packages"
            ) from None
        raise ValueError(f"{name}: importing {module_name} raised {error!r}") from error
    except Exception as error:
        raise ValueError(f"{name}: importing {module_name} raised {error!r}") from error
    _check_origin(name, module_name.partition(".")[0])
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ValueError(
            f"{module_name} has no function {function_name} (it has {', '.join(known[:12])})"
        )
    return function  # type: ignore[no-any-return]


def _check_origin(name: str, top: str) -> None:
    """A module of that name may have been loaded before, from somewhere else."""
    meant = importlib.machinery.PathFinder.find_spec(top, _USER_FOLDERS.folders)
    loaded = sys.modules[top].__spec__
    if meant is None or meant.origin is None or loaded is None or meant.origin == loaded.origin:
        return
    if top in RESERVED:
        raise ValueError(f"{name}: {top} is Python's or this program's: rename {meant.origin}")
    raise ValueError(
        f"{name}: {meant.origin} is meant, but {top} was loaded from {loaded.origin} before: "
        "rename one of them, or use a process of its own"
    )


def source_digest(name: str) -> str:
    """SHA-256, in hex, of the source behind ``package.module:function``.

    That is its module with what it imports from beside it; of a package, every module.

    Raises:
        ValueError: as `find_function`.
    """
    find_function(name)
    top = name.partition(":")[0].partition(".")[0]
    spec = sys.modules[top].__spec__
    assert spec is not None  # it was imported
    places = spec.submodule_search_locations or [spec.origin or ""]
    waiting, files = [Path(place) for place in places], set[Path]()
    while waiting:
        path = waiting.pop()
        if path.is_dir():
            waiting += path.rglob("*.py")
        elif path.is_file() and path not in files:
            files.add(path)
            waiting += _beside(path)
    digest = hashlib.sha256(name.encode())
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _beside(file: Path) -> list[Path]:
    """The modules and packages in the folder of ``file`` that it imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    tops = {file.parent / name.partition(".")[0] for name in names}
    return [p for top in tops for p in (top, top.with_suffix(".py")) if p.exists()]
