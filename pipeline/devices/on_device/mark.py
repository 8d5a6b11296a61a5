"""The home folder's mark: nothing is written or removed before the folder is known to be ours."""

import contextlib
import json
import os
import stat
from typing import List

from edgeticket.pipeline.devices.on_device import kept
from edgeticket.pipeline.devices.on_device.ground import Refusal, Request, sync

ABOUT = "edgeticket keeps its files in this folder; `edgeticket device remove` removes them."


def claim(request: Request) -> None:
    """Make the home folder ours, or see that it is; it is marked before anything else is written.

    Raises:
        Refusal: it is somebody else's.
    """
    home = request["home"]
    if is_ours(request):
        return
    made = not os.path.lexists(home)
    os.makedirs(home, mode=0o700, exist_ok=True)
    path = os.path.join(home, kept.MARK)
    with contextlib.suppress(FileExistsError):  # another host was first
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"about": ABOUT, "made_folder": made}, file)
            file.flush()
            os.fsync(file.fileno())
    for name in kept.LOCKS:  # so that nobody else gives these names to something
        os.close(os.open(os.path.join(home, name), os.O_CREAT | os.O_NOFOLLOW, 0o600))
    sync(home)


def is_ours(request: Request) -> bool:
    """Whether the home folder is marked; not, if it is yet to be made, empty, or of old.

    Raises:
        Refusal: it is somebody else's: the user's own home, a file, or a folder with other things.
    """
    home = request["home"]
    if not os.path.isabs(home):
        raise Refusal(f"{home} is no absolute path" + way_out(request))
    real = os.path.realpath(home)
    if real in ("/", os.path.realpath(os.path.expanduser("~"))):
        raise Refusal(f"{home} is no folder to give to edgeticket" + way_out(request))
    if not os.path.lexists(home):
        return False
    if not os.path.isdir(home):
        raise Refusal(f"{home} is no folder" + way_out(request))
    names = os.listdir(home)
    if marked(home):  # looked at after the names: a mark is the first thing that is written
        return True
    if names and not of_old(home, names):
        few = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        old = "; if an earlier edgeticket made it, move your own files out of it"
        raise Refusal(
            f"{home} holds files that are not edgeticket's ({few}), so nothing in it is touched"
            + way_out(request)
            + (old if set(names) & set(kept.PARTS) else "")
        )
    return False


def marked(home: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(os.path.join(home, kept.MARK)).st_mode)
    except FileNotFoundError:
        return False


def way_out(request: Request) -> str:
    """What to do about a folder that cannot be had."""
    return ": name a new or an empty folder, as in {}".format(request["example"])


def of_old(home: str, names: List[str]) -> bool:
    """Whether a folder was laid out by an edgeticket that made no marks: all is as it left it."""
    if not set(names) <= {*kept.PARTS, *kept.LOCKS, kept.LINK} or not set(names) & set(kept.LOCKS):
        return False
    for name in names:
        path = os.path.join(home, name)
        if name in kept.PARTS:
            if os.path.islink(path) or not os.path.isdir(path):
                return False
            if not all(kept.PARTS[name].fullmatch(inner) for inner in os.listdir(path)):
                return False
        elif name == kept.LINK:
            if not kept.leads_to_environment(home):
                return False
        elif os.path.islink(path) or os.path.getsize(path) > 4096:
            return False
    return True
