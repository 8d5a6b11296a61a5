"""Where the user's functions are looked for, and that nothing else is taken from there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeticket.models import imported
from edgeticket.models.imported import find_function, look_in, user_folders_first


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    path, modules, folders = list(sys.path), set(sys.modules), list(imported._USER_FOLDERS.folders)
    yield
    sys.path[:], imported._USER_FOLDERS.folders = path, folders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def folder(path: Path, **modules: str) -> Path:
    path.mkdir()
    for name, text in modules.items():
        (path / f"{name}.py").write_text(text)
    return path


def test_beside_the_recipe_wins_over_what_is_installed(tmp_path: Path) -> None:
    """Also for what the user's module imports, when it is imported and when it is called."""
    installed = folder(
        tmp_path / "installed", shared_a="def f(): return 1", shared_b="def f(): return 1"
    )
    own = folder(
        tmp_path / "own",
        shared_a="import shared_b\ndef f(): return shared_b.f()",
        shared_b="def f(): return 2",
        shared_c="def f():\n    import shared_d\n    return shared_d.g()",
        shared_d="def g(): return 3",
    )
    sys.path.insert(0, str(installed))
    look_in((own,))
    assert find_function("shared_a:f")() == 2
    with user_folders_first():
        assert find_function("shared_c:f")() == 3


def test_what_we_import_never_comes_from_there(tmp_path: Path) -> None:
    installed = folder(tmp_path / "installed", a_dependency="WHOSE = 'installed'")
    user = folder(
        tmp_path / "user",
        a_dependency="raise SystemExit('a file alone never runs code')",
        a_network="def f(): return 1",
        tomllib="raise SystemExit('a file alone never runs code')",
    )
    sys.path.append(str(installed))
    look_in((user,))
    assert find_function("a_network:f")() == 1
    assert importlib.import_module("a_dependency").WHOSE == "installed"
    sys.modules.pop("tomllib", None)
    with user_folders_first():  # Python's own names mean Python's own modules, for all
        assert importlib.import_module("tomllib").loads("a = 1") == {"a": 1}


def test_a_folder_of_files_is_no_package_that_wins(tmp_path: Path) -> None:
    """A folder `onnx/` with model files is a package for Python, too, if nothing else is."""
    installed = folder(tmp_path / "installed", like_onnx="WHOSE = 'installed'")
    user = folder(tmp_path / "user", plain="import like_onnx\ndef f(): return like_onnx.WHOSE")
    (user / "like_onnx").mkdir()
    (user / "only_there").mkdir()
    (user / "only_there" / "net.py").write_text("def f(): return 5")
    sys.path.append(str(installed))
    look_in((user,))
    assert find_function("plain:f")() == "installed"
    assert find_function("only_there.net:f")() == 5


def test_a_module_of_another_folder_is_not_taken_for_it(tmp_path: Path) -> None:
    look_in((folder(tmp_path / "a", twice="def f(): return 1"),))
    assert find_function("twice:f")() == 1
    look_in((folder(tmp_path / "b", twice="def f(): return 2"),))
    with pytest.raises(ValueError, match=r"b/twice\.py is meant, but twice was loaded from .*a/"):
        find_function("twice:f")


@pytest.mark.parametrize("name", ["types", "edgeticket"])
def test_a_name_that_can_never_be_meant_is_said(name: str, tmp_path: Path) -> None:
    look_in((folder(tmp_path / "user", **{name: "def f(): return 1"}),))
    with pytest.raises(ValueError, match=f"{name} is Python's or this program's: rename"):
        find_function(f"{name}:f")
