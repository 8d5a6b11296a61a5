"""Run the measuring program, alone on the device, for as long as the host is there."""

import os
import signal
import subprocess
import threading
from typing import Any

from edgeticket.pipeline.devices.on_device.ground import (
    Request,
    alone,
    answer,
    hash_of,
    keep_newest,
    make,
    plain,
)

FILES = (".json", ".npz")  # reports, taps


def measure(request: Request) -> Any:
    """Run ``argv``, which fills the folder that stands for ``{out}`` -> exit code and files.

    Nothing else measures on this device meanwhile. The program is killed when our standard input
    ends, because then the host is gone, and after ``limit_s``, should nobody tell us.
    """
    out = os.path.join(make(request["home"], "runs"), plain(request["id"]))
    threading.Thread(target=die_with_host, daemon=True).start()
    with alone(request) as lock:
        os.mkdir(out)
        keep_newest(out)
        clock = threading.Timer(request["limit_s"], give_up, [request["limit_s"]])
        clock.daemon = True
        clock.start()
        exit_code = subprocess.call(
            [word.replace("{out}", out) for word in request["argv"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=dict(os.environ, **request["variables"]),
            pass_fds=[lock.fileno()],  # whoever survives us still keeps others away
        )
        clock.cancel()
    names = sorted(os.listdir(out))
    found = [[name, hash_of(os.path.join(out, name))] for name in names if name.endswith(FILES)]
    return {"exit_code": exit_code, "folder": out, "files": found}


def die_with_host() -> None:
    """Wait for the end of standard input, then kill the whole process group."""
    # Not through sys.stdin: its lock would be held when the interpreter shuts down.
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def give_up(limit_s: float) -> None:
    answer({"error": f"measuring took longer than {limit_s:g} s and was stopped"})
    os.killpg(0, signal.SIGKILL)
