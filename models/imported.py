"""Functions of the user's own, named ``package.module:function``."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def look_in(folders: Sequence[Path]) -> None:
    """Let `find_function` find modules in ``folders``, the first one first."""
    for folder in reversed([str(folder.absolute()) for folder in folders]):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    importlib.invalidate_caches()


def find_function(name: str) -> Callable[..., Any]:
    """``package.module:function`` -> the function; the module is imported, which runs its code.

    Raises:
        ValueError: there is no such module or function, or importing it fails.
    """
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        raise ValueError(f"{name!r} should be written package.module:function")
    try:
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
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ValueError(
            f"{module_name} has no function {function_name} (it has {', '.join(known[:12])})"
        )
    return function  # type: ignore[no-any-return]


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
