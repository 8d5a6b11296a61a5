"""Do the errand that the host asked for."""

import contextlib
import json
import os
import sys
from typing import Any, Callable, Dict

from edgeticket.pipeline.devices.on_device import environment, files, measure
from edgeticket.pipeline.devices.on_device.ground import Refusal, Request, answer


def main() -> None:
    """Do one errand."""
    with contextlib.suppress(OSError):
        os.setsid()  # the group that `end_with_host` kills is ours alone
    request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    request["home"] = os.path.expanduser(request["home"])
    try:
        given = ERRANDS[request["errand"]](request)
    except Refusal as refusal:
        answer({"error": str(refusal)})
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        answer({"error": f"{error.strerror or error}{place}"})
    else:
        if given is not None:
            answer({"answer": given})


ERRANDS: Dict[str, Callable[[Request], Any]] = {
    "look": environment.look,
    "place": files.place,
    "receive": files.receive,
    "make_environment": environment.make_environment,
    "measure": measure.measure,
    "fetch": files.fetch,
    "remove": files.remove,
}
