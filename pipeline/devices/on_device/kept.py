"""What in the home folder is ours, and how it is removed.

It is known by its name, or by a list that was written beside it: what a user has put there stays,
and no link is followed.
"""

import contextlib
import json
import os
import re
import shutil
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Set

MARK = ".edgeticket-home"
LOCKS = ("lock", "settling.lock")
LINK = "environment"
LIST = ".list"  # beside a tree, or a run: the files in it that are ours
KEPT = 6  # trees and runs; the oldest go first

_HALF = r"(\.[0-9]+\.tmp)?"  # what a host that was killed has left
CONTENT = re.compile(r"[0-9a-f]{64}|\.[0-9a-f]{64}\.part")
TREE = re.compile(r"([0-9a-f]{64}|wheels-[0-9a-f]{16}|edgeticket-[A-Za-z0-9.+-]*\.whl)" + _HALF)
ENVIRONMENT = re.compile(r"[0-9a-f]{16}")
RUN = re.compile(r"[0-9a-f]{32}")
OF_VENV = ("bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore")
NOTE = "edgeticket.json"  # in an environment that is whole


def leads_to_environment(home: str) -> bool:
    """Whether `environment` is our own link to one of our environments."""
    path = os.path.join(home, LINK)
    if not os.path.islink(path):
        return False
    folder, name = os.path.split(os.readlink(path))
    return os.path.basename(folder) == "environments" and bool(ENVIRONMENT.fullmatch(name))


def write_list(path: str, names: List[str]) -> None:
    """Note which files of a folder are ours, before they are there or as soon as they are."""
    scratch = f"{path}{LIST}.{os.getpid()}.tmp"
    with open(scratch, "w") as file:
        json.dump(sorted(names), file)
    os.replace(scratch, path + LIST)


def read_list(path: str) -> Optional[Set[str]]:
    """What `write_list` has noted, or None."""
    try:
        with open(path + LIST) as file:
            return set(json.load(file))
    except (OSError, ValueError):
        return None


def keep_newest(path: str) -> None:
    """Make ``path`` the newest of its folder, and remove all but the newest that are ours.

    Boards without a battery start in the past, and then their clock jumps: what is used last has
    the latest time stamp whatever the clock says.
    """
    folder, part = os.path.dirname(path), os.path.basename(os.path.dirname(path))
    times = {}
    for name in os.listdir(folder):
        other = os.path.join(folder, name)
        if PARTS[part].fullmatch(name) and is_folder(other):
            with contextlib.suppress(FileNotFoundError):  # another host made room
                times[other] = os.stat(other).st_mtime_ns
    others = [stamp for other, stamp in times.items() if other != path]
    times[path] = max([int(time.time() * 1e9)] + [stamp + 1000000 for stamp in others])
    os.utime(path, ns=(times[path], times[path]))
    for old in sorted(times, key=lambda other: times[other], reverse=True)[KEPT:]:
        with contextlib.suppress(OSError):  # another host made room
            REMOVE[part](old)


def is_folder(path: str) -> bool:
    """Whether it is a folder, and no link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def is_file(path: str) -> bool:
    """Whether it is a regular file, and no link to one."""
    return os.path.isfile(path) and not os.path.islink(path)


def forget(home: str) -> List[str]:
    """Remove all that is ours -> the paths of what is left, which is somebody else's."""
    made = False
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(
        os.path.join(home, MARK)
    ) as file:
        made = json.load(file)["made_folder"] is True
    if leads_to_environment(home):
        os.unlink(os.path.join(home, LINK))
    for part in PARTS:
        folder = os.path.join(home, part)
        if not is_folder(folder):
            continue
        for name in os.listdir(folder):
            if PARTS[part].fullmatch(name):
                REMOVE[part](os.path.join(folder, name))
        for name in os.listdir(folder):
            noted = re.sub(re.escape(LIST) + _HALF + "$", "", name)
            if noted != name and PARTS[part].fullmatch(noted):
                os.unlink(os.path.join(folder, name))
        with contextlib.suppress(OSError):  # somebody else's things are in it
            os.rmdir(folder)
    scratch = [n for n in os.listdir(home) if re.fullmatch(r"\.environment\.[0-9]+\.tmp", n)]
    for name in [*LOCKS, *scratch, MARK]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(home, name))
    left = []
    for folder, folders, files in os.walk(home):
        leaves = [f for f in folders if is_leaf(os.path.join(folder, f))]
        left += [os.path.relpath(os.path.join(folder, n), home) for n in [*files, *leaves]]
    if not left and made and not os.path.islink(home):
        os.rmdir(home)
    return sorted(left)


def is_leaf(folder: str) -> bool:
    return os.path.islink(folder) or not os.listdir(folder)


def remove_content(path: str) -> None:
    """A file of `files`."""
    if is_file(path):
        os.unlink(path)


def remove_tree(path: str, also: Iterable[str] = ()) -> None:
    """A folder of `trees`, or half of one: the links that its list has, and those of ``also``."""
    if not is_folder(path):
        return
    whole = re.sub(_HALF + "$", "", path)
    ours = read_list(whole)
    contents: Set[int] = set()
    if ours is None:  # of an edgeticket that made no lists
        contents = inodes(os.path.join(os.path.dirname(os.path.dirname(path)), "files"))
    known = {*(ours or ()), *also}
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            file = os.path.join(folder, name)
            if os.path.relpath(file, path) in known or os.lstat(file).st_ino in contents:
                os.unlink(file)
        with contextlib.suppress(OSError):  # it is not empty
            os.rmdir(folder)
    if path == whole and not os.path.lexists(path) and ours is not None:
        os.unlink(path + LIST)


def inodes(folder: str) -> Set[int]:
    """Numbers of the files that are contents."""
    names = [name for name in os.listdir(folder) if CONTENT.fullmatch(name)]
    return {os.lstat(os.path.join(folder, name)).st_ino for name in names}


def remove_environment(path: str) -> None:
    """A virtual environment."""
    if not is_folder(path):
        return
    for name in (NOTE, *OF_VENV):
        inner = os.path.join(path, name)
        if is_folder(inner):
            shutil.rmtree(inner, ignore_errors=True)
        elif os.path.lexists(inner):
            os.unlink(inner)
    with contextlib.suppress(OSError):
        os.rmdir(path)


def remove_run(path: str) -> None:
    """The folder of one measurement, with what the measuring program has left in it."""
    if not is_folder(path):
        return
    ours = read_list(path)
    if ours is None:  # it was stopped, or an edgeticket of old made it
        ours = {name for name in os.listdir(path) if name.endswith((".json", ".npz", ".tmp"))}
    for name in ours & set(os.listdir(path)):
        if is_file(os.path.join(path, name)):
            os.unlink(os.path.join(path, name))
    with contextlib.suppress(OSError):
        os.rmdir(path)
    if not os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + LIST)


# What has such a name in these folders is ours; trees go before the contents that they link.
PARTS: Dict[str, Any] = {
    "trees": TREE,
    "files": CONTENT,
    "environments": ENVIRONMENT,
    "runs": RUN,
}
REMOVE: Dict[str, Callable[[str], None]] = {
    "trees": remove_tree,
    "files": remove_content,
    "environments": remove_environment,
    "runs": remove_run,
}
