"""What every call stands on: paths in the home folder, hashes, locks, the answer."""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
import time
from typing import IO, Any, Dict, Iterator

Request = Dict[str, Any]


class Refusal(Exception):  # noqa: N818 - it is an answer, in a sentence
    """What stands in the way, in one sentence."""


def make(home: str, name: str) -> str:
    """A folder of the home folder, made if need be, readable by its owner alone."""
    path = os.path.join(home, name)
    if os.path.islink(path):
        raise Refusal(f"{path} is a link, and nothing is kept behind it: remove the link")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def plain(name: str) -> str:
    """A name that is one part of a path."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise Refusal(f"{name!r} is not a plain name")
    return name


def inside(home: str, path: str) -> str:
    """A path that must lie in the home folder."""
    if not os.path.realpath(path).startswith(os.path.realpath(home) + os.sep):
        raise Refusal(f"{path} is not in {home}")
    return path


def hash_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(2**20), b""):
            digest.update(piece)
    return digest.hexdigest()


def sync(folder: str) -> None:
    """New names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(request: Request) -> Iterator[IO[bytes]]:
    """The only one who measures or changes the environment here, for the time of the block."""
    path = os.path.join(request["home"], "lock")
    with open_locked(path, lock_s=request["lock_s"], reason="the device is busy") as lock:
        lock.truncate(0)
        lock.write(request["who"].encode("utf-8"))
        lock.flush()
        yield lock


@contextlib.contextmanager
def settling(request: Request) -> Iterator[None]:
    """The only one who makes or removes folders of contents here; others may measure meanwhile."""
    path = os.path.join(request["home"], "settling.lock")
    with open_locked(path, lock_s=request["lock_s"], reason="another host settles its files"):
        yield


def open_locked(path: str, *, lock_s: float, reason: str) -> IO[bytes]:
    """Open a file to append, alone; say who has it, wait, and give up after ``lock_s``."""
    end = time.monotonic() + lock_s
    told = ""
    while True:
        file = open(path, "a+b", opener=open_itself)  # noqa: SIM115 - handed on
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            who = file.read(200).decode("utf-8", "replace") if path.endswith("lock") else ""
            file.close()
            sentence = reason + (": " + who if who else "")
            if time.monotonic() > end:
                raise Refusal(f"{sentence}; waited {lock_s:g} s") from None
            if sentence != told:
                say("waiting, " + sentence)
                told = sentence
            time.sleep(0.2)
            continue
        # Whoever had it before may have removed or renamed it.
        if os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
        file.close()


def open_itself(path: str, flags: int) -> int:
    """As `os.open`, but no link is followed: it may lead anywhere."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def answer(value: Any) -> None:
    """Say what the call came to; what anybody prints outside of the frame is not ours."""
    sys.stdout.flush()
    line = f"\n{frame()}:answer\n{json.dumps(value)}\n"
    sys.stdout.buffer.write(line.encode("ascii"))
    sys.stdout.flush()


def end_answer() -> None:
    """Nothing belongs to the answer from here on."""
    sys.stdout.buffer.write(f"\n{frame()}:end\n".encode("ascii"))
    sys.stdout.flush()


def frame() -> str:
    """The word of this call, by which the host knows our own output."""
    return sys.argv[1]
