"""An arm64 Debian user space in a folder: built once, kept, and never used half-built.

Nothing of it runs while it is unpacked: packages are extracted, and the few things that their
installation scripts would have done are written by hand. That takes half a minute instead of the
ten that a full installation under QEMU needs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.store import canonical_json, locked

SUITES = ("bookworm", "trixie", "bullseye")  # the first is the default; Python 3.11, 3.13, 3.9
USER, USER_ID = "pi", 1000
MARK = "etc/edgeticket-emulated"  # the runner reads it: times taken here are not measured

_VERSION = 1  # of the work below; a change gets a folder of its own
_PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "findutils", "grep"),
    *("gzip", "hostname", "libc-bin", "login", "mawk", "passwd", "procps", "sed", "tar"),
    *("util-linux", "libstdc++6", "ca-certificates"),
    *("python3", "python3-minimal", "python3-venv", "openssh-server", "openssh-sftp-server"),
)
_UNREAD = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt")
# Imported once while the tree can be written, so that their bytecode lies in it: a proof that
# Python runs, and seconds saved at every later start.
_IMPORTS = (
    "argparse, asyncio, ctypes, ensurepip, hashlib, importlib.metadata, json, logging, "
    "multiprocessing, platform, shutil, ssl, subprocess, tempfile, unittest, urllib.request, "
    "uuid, venv, zipfile"
)

Say = Callable[[str], None]


def cache_folder() -> Path:
    """Where emulated boards lie: $EDGETICKET_CACHE, else ~/.cache/edgeticket."""
    chosen = os.environ.get("EDGETICKET_CACHE")
    return Path(chosen or "~/.cache/edgeticket").expanduser().resolve() / "emulated"


def ensure_user_space(suite: str, *, say: Say) -> Path:
    """The folder with the user space of a Debian release, built now if need be.

    A second caller waits for the first. A build that was stopped leaves a folder named
    ``*.partial``, which is never used and removed by the next build.

    Raises:
        InputError: packages cannot be fetched, or the disk is full.
    """
    facts = [_VERSION, suite, _PACKAGES, _UNREAD, _IMPORTS, MARK]
    key = hashlib.sha256(canonical_json(facts)).hexdigest()[:12]
    folder = cache_folder()
    final, scratch = folder / f"{suite}-{key}", folder / f"{suite}-{key}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{suite}-{key}.lock"):
            if not final.is_dir():
                shutil.rmtree(scratch, ignore_errors=True)
                say(f"building an arm64 user space of Debian {suite}, once (about a minute)")
                _extract(suite, scratch, say=say)
                _furnish(scratch)
                say("first start of Python under QEMU")
                _run(["chroot", str(scratch), "python3", "-c", f"import {_IMPORTS}"], suite)
                scratch.rename(final)
    except OSError as error:
        raise InputError(
            f"cannot build an emulated board in {folder}: {error.strerror or error}; another "
            "place can be named with EDGETICKET_CACHE"
        ) from None
    return final


def _extract(suite: str, root: Path, *, say: Say) -> None:
    """Debian packages -> their files below ``root``."""
    excluded = [f"--dpkgopt=path-exclude=/{place}/*" for place in _UNREAD]
    command = [
        *("mmdebstrap", "--arch=arm64", "--variant=extract", "--mode=root"),
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        # The release as it was published: security archives lose whole architectures when a
        # release gets old, and nobody from outside reaches this system.
        "--setup-hook=sed -i /security/d $1/etc/apt/sources.list",
        *excluded,
        f"--include={','.join(_PACKAGES)}",
        *(suite, str(root)),
    ]
    _run(command, suite, say=say)
    for place in _UNREAD:
        shutil.rmtree(root / place, ignore_errors=True)


def _run(command: list[str], suite: str, *, say: Say = lambda line: None) -> None:
    """Run one step of the build, in a process group of its own that ends with it.

    The step inherits the build's lock: should this process be killed, the next build waits
    until the orphan has ended.
    """
    quiet = {**os.environ, "LC_ALL": "C", "QEMU_CPU": "cortex-a53"}
    errors: list[str] = []
    last = "it said nothing"
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, errors="replace", env=quiet, close_fds=False,
    ) as step:  # fmt: skip
        assert step.stderr is not None
        for line in map(str.strip, step.stderr):
            if line.startswith("I: "):
                say(line.removeprefix("I: "))
            elif line.startswith("E: "):
                errors.append(line.removeprefix("E: "))  # the first is the cause
            else:
                last = line or last
    if step.returncode != 0:
        reason = errors[0] if errors else last
        raise InputError(
            f"cannot build an arm64 user space of Debian {suite}: {command[0]} failed "
            f"({step.returncode}): {reason}; see that this machine reaches Debian's packages, "
            "then run the same command again"
        )


def _furnish(root: Path) -> None:
    """What the packages' own scripts would have done, as far as the runner and sshd need it."""
    etc = root / "etc"
    for name in ("passwd", "group"):
        shutil.copyfile(root / f"usr/share/base-passwd/{name}.master", etc / name)
    _append(etc / "passwd", f"{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/bash")
    _append(etc / "passwd", "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin")
    _append(etc / "group", f"{USER}:x:{USER_ID}:")
    # "*": no password opens these accounts, keys do.
    shadow = etc / "shadow"
    shadow.write_text(f"root:*:19000:0:99999:7:::\n{USER}:*:19000:0:99999:7:::\n", "ascii")
    shadow.chmod(0o600)
    (etc / "nsswitch.conf").write_text(
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n", "ascii"
    )
    (etc / "hosts").write_text("127.0.0.1 localhost\n", "ascii")
    certificates = etc / "ssl/certs/ca-certificates.crt"
    certificates.parent.mkdir(parents=True, exist_ok=True)
    authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    certificates.write_bytes(b"".join(file.read_bytes() for file in authorities))
    if not (root / "usr/bin/awk").exists():
        (root / "usr/bin/awk").symlink_to("mawk")
    # Places to mount on: the tree itself is read-only once it is in use.
    for place in (f"home/{USER}", "dev", "proc", "sys", "tmp", "run"):
        (root / place).mkdir(parents=True, exist_ok=True)
    (root / MARK).write_text("emulated\n", "ascii")


def _append(file: Path, line: str) -> None:
    with file.open("a", encoding="ascii") as opened:
        opened.write(f"{line}\n")
