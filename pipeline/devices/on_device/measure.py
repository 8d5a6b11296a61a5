"""Run the measuring program, alone on the device, for as long as the host is there."""

import os
import signal
import subprocess
import threading
from typing import Any

from edgeticket.pipeline.devices.on_device import kept
from edgeticket.pipeline.devices.on_device.ground import (
    Refusal,
    Request,
    alone,
    answer,
    end_answer,
    hash_of,
    make,
    plain,
)

FILES = (".json", ".npz")  # reports, taps


def measure(request: Request) -> Any:
    """Run ``argv``, which fills the folder that stands for ``{out}`` -> exit code and files.

    Nothing else measures on this device meanwhile. The program is killed when our standard input
    ends, because then the host is gone, and after ``limit_s``, should nobody tell us.
    """
    if not kept.RUN.fullmatch(plain(request["id"])):
        raise Refusal("{!r} is no name for a run".format(request["id"]))
    out = os.path.join(make(request["home"], "runs"), request["id"])
    threading.Thread(target=die_with_host, daemon=True).start()
    with alone(request) as lock:
        os.mkdir(out)
        kept.keep_newest(out)
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
        kept.write_list(out, names)
    found = [[name, hash_of(os.path.join(out, name))] for name in names if name.endswith(FILES)]
    return {"exit_code": exit_code, "folder": out, "files": found}


def ask(request: Request) -> Any:
    """Run ``argv``, which measures nothing and writes nothing -> exit code, output, last words."""
    done = subprocess.run(  # noqa: UP022 - not in Python 3.6
        request["argv"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=request["limit_s"],
    )
    output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return {"exit_code": done.returncode, "output": output, "last": errors.strip()[-2000:]}


def die_with_host() -> None:
    """Wait for the end of standard input, then kill the whole process group."""
    # Not through sys.stdin: its lock would be held when the interpreter shuts down.
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def give_up(limit_s: float) -> None:
    answer({"error": f"measuring took longer than {limit_s:g} s and was stopped"})
    end_answer()
    os.killpg(0, signal.SIGKILL)
