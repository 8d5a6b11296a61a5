"""Answer the call of the host."""

import contextlib
import errno
import json
import os
import sys
from typing import Any, Callable, Dict

from edgeticket.pipeline.devices.on_device import environment, files, mark, measure
from edgeticket.pipeline.devices.on_device.ground import Refusal, Request, answer, end_answer

UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Answer one call."""
    with contextlib.suppress(OSError):
        os.setsid()  # the group that `die_with_host` kills is ours alone
    request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    request["home"] = os.path.expanduser(request["home"])
    try:
        if request["call"] in WRITING:
            mark.claim(request)
        given = CALLS[request["call"]](request)
    except Refusal as refusal:
        answer({"error": str(refusal)})
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        hint = mark.way_out(request) if error.errno in UNWRITABLE else ""
        answer({"error": f"{error.strerror or error}{place}{hint}"})
    except Exception as error:
        answer({"error": f"{request['call']} failed there: {type(error).__name__}: {error}"})
        raise
    else:
        if given is not None:
            answer({"answer": given})
    end_answer()


WRITING = ("place", "receive", "make_environment", "measure")
CALLS: Dict[str, Callable[[Request], Any]] = {
    "look": environment.look,
    "ask": measure.ask,
    "place": files.place,
    "receive": files.receive,
    "make_environment": environment.make_environment,
    "measure": measure.measure,
    "fetch": files.fetch,
    "remove": files.remove,
}
