"""What Python there is, and a virtual environment of its own for the runner."""

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from typing import Any, Dict, List

from edgeticket.pipeline.devices.on_device import kept, mark
from edgeticket.pipeline.devices.on_device.ground import (
    Refusal,
    Request,
    alone,
    make,
    plain,
    say,
    sync,
)

OLDEST = (3, 9)  # that the runner supports
PROBE = """
import glob, importlib.util, json, os, struct, sys
found = {"executable": sys.executable, "version": list(sys.version_info[:3])}
found["bits"] = struct.calcsize("P") * 8
found["venv"] = importlib.util.find_spec("venv") is not None
folders = ["/usr/share/python-wheels"]  # Debian's place
bundled = importlib.util.find_spec("ensurepip")
if bundled:
    folders.append(os.path.join(os.path.dirname(bundled.origin), "_bundled"))
pips = [path for folder in folders for path in glob.glob(os.path.join(folder, "pip-*.whl"))]
found["pip"] = pips[-1] if pips else None
print("found " + json.dumps(found))
"""
GPU = """
import importlib.metadata, json
importlib.metadata.version("onnxruntime-gpu")  # NVIDIA's name for it; importing takes long
import onnxruntime
if {"CUDAExecutionProvider", "TensorrtExecutionProvider"} & set(
    onnxruntime.get_available_providers()
):
    print("found " + json.dumps(onnxruntime.__version__))
"""


class Unreachable(Refusal):
    """pip found no index to ask."""


def look(request: Request) -> Any:
    """This machine: its best Python, C library, free disk, and the environment; changes nothing.

    Raises:
        Refusal: the home folder is not ours to use.
    """
    mark.is_ours(request)
    found = best_python()
    place = request["home"]
    while not os.path.exists(place):
        place = os.path.dirname(place)
    found.update(
        gpu=find_gpu(found["executable"]),
        machine=platform.machine(),
        libc=list(platform.libc_ver()),
        free_bytes=shutil.disk_usage(place).free,
        noexec=place if os.statvfs(place).f_flag & os.ST_NOEXEC else None,
        environment=valid_environment(request["home"]),
    )
    return found


def best_python() -> Dict[str, Any]:
    """The Python that runs this if it is new enough, else the newest one that is installed."""
    here = probe(sys.executable)
    if tuple(here["version"]) >= OLDEST:
        return here
    commands = [f"python3.{minor}" for minor in range(19, 8, -1)]
    for path in filter(None, map(shutil.which, commands)):
        with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
            return probe(path)
    return here


def probe(python: str) -> Dict[str, Any]:
    """What a Python is, and which wheel of pip came with it; fresh systems often have none."""
    found: Dict[str, Any] = run_probe(python, PROBE)
    return found


def find_gpu(python: str) -> Any:
    """Version of an installed ONNX Runtime that uses a GPU, or None, also if it does not load.

    Not in this process: it may lie in the user's own packages, and it may crash.
    """
    try:
        return run_probe(python, GPU)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def run_probe(python: str, code: str) -> Any:
    """What a Python prints after the word "found", whatever else is printed at its start."""
    done = subprocess.run(
        [python, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    found = [line[6:] for line in lines if line.startswith("found ")]
    if not found:
        raise ValueError(f"{python} answered nothing")
    return json.loads(found[-1])


def valid_environment(home: str) -> Any:
    """What `make_environment` noted when it was done, or None."""
    if not kept.leads_to_environment(home):
        return None
    try:
        with open(os.path.join(home, kept.LINK, kept.NOTE)) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def make_environment(request: Request) -> Any:
    """A virtual environment that holds what ``steps`` install -> its note, and what it lacks.

    A step is {name, needed, alternatives}: the first alternative, a list of requirements, that
    exists for this Python is taken. The steps that are not ``needed`` are runtimes, of which one
    will do. The folder is called ``environment`` once it is whole; the one before is valid until
    then. ``{"unreachable": reason}`` if pip has no way to an index.
    """
    home = request["home"]
    with alone(request):
        note = valid_environment(home)
        if note is not None and note["key"] == request["key"]:
            return note
        if not kept.ENVIRONMENT.fullmatch(plain(request["key"])):
            raise Refusal("{!r} is no name for an environment".format(request["key"]))
        folder = os.path.join(make(home, "environments"), request["key"])
        kept.remove_environment(folder)  # what an earlier try left
        try:
            note = fill(folder, request)
            switch(home, folder)
            kept.remove_tree(os.path.join(home, "trees", os.path.basename(request["wheels"])))
        except BaseException as error:
            kept.remove_environment(folder)
            if isinstance(error, Unreachable):
                return {"unreachable": str(error)}
            raise
    return note


def fill(folder: str, request: Request) -> Any:
    """Make the environment in ``folder``; it is whole when its note is written."""
    say("making a virtual environment")
    options = ["--without-pip"] + ["--system-site-packages"] * request["system_packages"]
    argv = [request["python"], "-m", "venv", *options, folder]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Refusal("{} failed: {}".format(" ".join(argv), last_line(done.stdout)))
    python = os.path.join(folder, "bin", "python")
    pip = [python, request["pip"] + "/pip", "install", *request["options"]]
    lacks: List[str] = []
    best = [word for step in request["steps"] for word in step["alternatives"][0]]
    steps = request["steps"] if install(pip, [best]) else []  # one call of pip, if that will do
    runtimes = [step["name"] for step in request["steps"] if not step["needed"]]
    for step in steps:
        reason = install(pip, step["alternatives"])
        if reason and step["needed"]:
            raise Refusal("{} cannot be installed: {}".format(step["name"], reason))
        if reason:
            lacks.append("{}: {}".format(step["name"], reason))
    if runtimes and len(lacks) == len(runtimes):
        hint = "" if sys.maxsize > 2**32 else "; a 64-bit system on the same board has them"
        raise Refusal("no runtime exists for this device: " + "; ".join(lacks) + hint)
    try_numpy(python)
    note = {"key": request["key"], "folder": folder, "python": python, "lacks": lacks}
    with open(os.path.join(folder, kept.NOTE), "w") as file:
        json.dump(note, file)
        file.flush()
        os.fsync(file.fileno())
    return note


def try_numpy(python: str) -> None:
    """Installed is not yet usable: of a file system without programs no library is loaded."""
    argv = [python, "-c", "import numpy"]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
        causes = [line for line in lines if "Error" in line] or lines or ["no message"]
        raise Refusal(f"numpy is installed, but does not load ({done.returncode}): {causes[-1]}")


def install(pip: List[str], alternatives: List[List[str]]) -> str:
    """Install the first alternative that exists -> why none does, or nothing."""
    reasons = []
    for requirements in alternatives:
        names = " ".join(os.path.basename(word) for word in requirements)
        say("installing " + names)
        done = subprocess.run(
            pip + requirements,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode == 0:
            return ""
        if b"Retrying (" in done.stdout:  # pip's words for an index that does not answer
            raise Unreachable(f"{names}: {last_line(done.stdout)}")
        if b"No matching distribution" not in done.stdout and b"conflict" not in done.stdout:
            raise Refusal(f"pip cannot install {names}: {last_line(done.stdout)}")
        reasons.append(f"{names} has no wheel for this Python")
    return "; ".join(reasons)


def switch(home: str, folder: str) -> None:
    """From now on ``environment`` is this folder; the others are removed."""
    link = os.path.join(home, kept.LINK)
    if os.path.lexists(link) and not kept.leads_to_environment(home):
        raise Refusal(f"{link} is not edgeticket's: move it elsewhere")
    scratch = os.path.join(home, f".environment.{os.getpid()}.tmp")
    os.symlink(folder, scratch)
    os.replace(scratch, link)
    sync(home)
    for name in os.listdir(os.path.dirname(folder)):
        if name != os.path.basename(folder) and kept.ENVIRONMENT.fullmatch(name):
            kept.remove_environment(os.path.join(os.path.dirname(folder), name))


def last_line(output: bytes) -> str:
    """The error in a program's output, or else its last line."""
    lines = output.decode("utf-8", "replace").strip().splitlines() or ["no message"]
    return ([line for line in lines if line.startswith("ERROR")] or lines)[-1]
