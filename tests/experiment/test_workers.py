"""Points on workers: here, and of a Dask scheduler; killed, restarted, closed, and refused."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributed import Security
from process_fixtures import running
from worker_fixtures import free_port, listening, name_of, nap, scheduler, worker

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.experiment.child import Failed
from edgeticket.pipeline.experiment.cluster import Tls, read_workers
from edgeticket.pipeline.experiment.crew import SAME, check_versions
from edgeticket.pipeline.experiment.workers import Workers, map_points
from edgeticket.pipeline.progress import Quiet

# Of Dask's threads, at their end.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


class Listening(Quiet):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def naps(notes: Path, seconds: list[float], on: Workers, progress: Listening | None = None) -> Any:
    """(point, outcome) of points 0, 1, … that sleep so long."""
    notes.mkdir(exist_ok=True)
    return map_points(
        functools.partial(nap, notes=str(notes)),
        list(enumerate(seconds)),
        on=on,
        title="nap",
        digest=name_of,
        preload="worker_fixtures",
        progress=progress or Listening(),
    )


def squares(ended: Any) -> dict[int, Any]:
    return {number: outcome for (number, _), outcome in ended}


def begun(notes: Path) -> dict[int, int]:
    """How often each point was begun."""
    return {int(note.name): note.read_text().count("\n") for note in notes.iterdir()}


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# --- on this machine


def test_every_point_comes_back_once_and_nobody_else_can_come_in(tmp_path: Path) -> None:
    ended = naps(tmp_path, [0.2] * 5, Workers(jobs=3))
    first = next(ended)
    assert set(listening(os.getpid())) <= {"0100007F"}  # 127.0.0.1
    assert squares([first, *ended]) == {n: n * n for n in range(5)}
    assert set(begun(tmp_path).values()) == {1}


def test_points_of_one_digest_are_worked_on_once(tmp_path: Path) -> None:
    work = functools.partial(nap, notes=str(tmp_path))
    ended = map_points(
        work,
        [(3, 0.0), (3, 0.0), (4, 0.0)],
        on=Workers(jobs=3),
        title="nap",
        digest=name_of,
        preload="worker_fixtures",
    )
    assert sorted(outcome for _, outcome in ended) == [9, 9, 16]
    assert begun(tmp_path) == {3: 1, 4: 1}


def test_closing_ends_what_runs(tmp_path: Path) -> None:
    ended = naps(tmp_path, [0.0, 600, 600], Workers(jobs=2))
    next(ended)
    wait_for(lambda: (tmp_path / "1").exists() and bool((tmp_path / "1").read_text()))
    (pid,) = map(int, (tmp_path / "1").read_text().split())
    assert alive(pid)
    ended.close()
    assert not alive(pid)


def test_what_a_point_raises_is_its_outcome(tmp_path: Path) -> None:
    outcomes = squares(naps(tmp_path, [0.0, -1.0], Workers()))
    assert outcomes[0] == 0
    assert outcomes[1] == Failed("ValueError: sleep length must be non-negative")


def test_a_resource_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    start = time.monotonic()
    assert len(squares(naps(tmp_path, [0.5] * 4, Workers(jobs=4, needs={"board": 1})))) == 4
    assert time.monotonic() - start > 2.0


# --- with a scheduler


def test_workers_and_schedulers_that_are_killed_lose_no_point(tmp_path: Path) -> None:
    port, heard = free_port(), Listening()
    address = f"tcp://127.0.0.1:{port}"
    ended = naps(tmp_path, [0.4] * 12, Workers(scheduler=address), heard)
    outcomes = []
    with contextlib.ExitStack() as first:
        first_scheduler = first.enter_context(scheduler(port))
        killed, _ = first.enter_context(worker(address)), first.enter_context(worker(address))
        outcomes.append(next(ended))
        assert set(listening(first_scheduler.pid)) == {"0100007F"}
        os.killpg(killed.pid, signal.SIGKILL)
        outcomes += [next(ended) for _ in range(2)]
        os.kill(first_scheduler.pid, signal.SIGKILL)
        first_scheduler.wait()
    back = {number for (number, _), _ in outcomes}
    before = begun(tmp_path)
    with scheduler(port), worker(address), worker(address):
        outcomes += ended
    assert len(outcomes) == 12
    assert squares(outcomes) == {n: n * n for n in range(12)}
    after = begun(tmp_path)
    assert all(after[number] == before[number] for number in back)
    assert [line for line in heard.said if "is gone" in line and "given out again" in line]
    assert [line for line in heard.said if line.startswith("2 workers on 1 machine")]


def test_a_scheduler_with_tls_takes_those_who_know_it(tmp_path: Path) -> None:
    keys = Security.temporary()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text(keys.tls_ca_file)
    key.write_text(keys.tls_client_key)
    files = ("--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
    port, heard = free_port(), Listening()
    address = f"tls://127.0.0.1:{port}"
    with (
        scheduler(port, *files, host="tls://127.0.0.1"),
        worker(address, *files, "--resources", "pi5=1"),
    ):
        tls = Tls(cert, cert, key)
        on = Workers(scheduler=address, tls=tls, needs={"pi5": 1})
        assert squares(naps(tmp_path / "notes", [0.0, 0.0], on, heard)) == {0: 0, 1: 1}
        with pytest.raises(InputError, match="no scheduler answers"):
            next(naps(tmp_path / "notes", [0.0], Workers(scheduler=f"tcp://127.0.0.1:{port}")))
        ended = naps(tmp_path / "left", [0.0, 600], on)
        next(ended)
        left = tmp_path / "left" / "1"
        wait_for(lambda: left.exists() and bool(left.read_text()))
        ended.close()  # as Ctrl-C does
        wait_for(lambda: not alive(int(left.read_text())))
    assert heard.said[-1] == "1 worker on 1 machine, 1 at a time"
    assert not [line for line in heard.said if "strangers" in line]


def test_nobody_at_the_address_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scheduler answers") as caught:
        next(naps(tmp_path, [0.0], Workers(scheduler=f"tcp://127.0.0.1:{free_port()}")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edgeticket": "0.0.1"}, r"worker tcp://10.0.0.2:9 has edgeticket 0.0.1, this machine"),
        ({"edgeticket": None}, "has edgeticket not installed"),
        ({"python": "3.12.1.final.0"}, "has python 3.12, this machine has 3.11"),
    ],
)
def test_a_worker_that_is_not_as_this_machine_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    here = dict(zip(SAME, ("3.11.7.final.0", *"12345"), strict=True))
    versions = {
        "client": {"packages": here},
        "scheduler": {"packages": here | {"torch": None}},  # it runs no point
        "workers": {"tcp://10.0.0.2:9": {"packages": here | {"python": "3.11.2.final.0"}}},
    }
    check_versions(versions, {})
    versions["workers"]["tcp://10.0.0.2:9"] = {"packages": here | changes}
    with pytest.raises(InputError, match=message):
        check_versions(versions, {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"jobs": 2, "scheduler": "tcp://h:1"}, "--jobs is for this machine"),
        ({"scheduler": "h:1"}, "tcp://HOST:PORT"),
        ({"tls": (Path("a"), None, None), "scheduler": "tls://h:1"}, "go together"),
        ({"tls": (Path("a"), Path("b"), Path("c"))}, "belong to --scheduler"),
        ({"tls": (Path("a"), Path("b"), Path("c")), "scheduler": "tcp://h:1"}, "tls://"),
        ({"needs": ["gpu=much"]}, "NAME or NAME=AMOUNT"),
        ({"needs": ["=1"]}, "NAME or NAME=AMOUNT"),
        ({"needs": ["gpu=nan"]}, "NAME or NAME=AMOUNT"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: dict[str, Any], message: str) -> None:
    given = {"jobs": None, "scheduler": None, "tls": (None, None, None), "needs": []} | flags
    with pytest.raises(InputError, match=message):
        read_workers(**given)


# --- a queue


SBATCH = """#!/bin/sh
# A queue that is always empty: the job's script runs at once, by itself.
[ "$1" = --version ] && exit
cp "$1" "$STUB/job.sh"
setsid bash "$STUB/job.sh" > "$STUB/job.log" 2>&1 &
echo $! >> "$STUB/jobs"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
for job in "$@"; do kill -- "-$job" 2> /dev/null; done
exit 0
"""


def slurm_program(folder: Path, **changes: str) -> Path:
    """The program of docs/many-machines.md, and certificates beside it."""
    text = (Path(__file__).parents[2] / "docs" / "many-machines.md").read_text()
    (program,) = re.findall(r"```python\n(# slurm_workers.py\n.*?)```", text, re.DOTALL)
    for before, after in changes.items():
        assert before in program
        program = program.replace(before, after)
    keys = Security.temporary()
    for name in ("ca.pem", "lab.pem"):
        (folder / name).write_text(keys.tls_ca_file)
    (folder / "lab.key").write_text(keys.tls_client_key)
    (folder / "slurm_workers.py").write_text(program)
    return folder / "slurm_workers.py"


def test_the_walk_through_of_a_queue_runs(tmp_path: Path) -> None:
    port = free_port()
    program = slurm_program(
        tmp_path, **{"8786": f'{port}, "host": "127.0.0.1"', "jobs=20": "jobs=1"}
    )
    queue = tmp_path / "queue"
    queue.mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (queue / name).write_text(text)
        (queue / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{queue}:{os.environ['PATH']}",
        "STUB": str(queue),
        "PYTHONPATH": str(Path(nap.__code__.co_filename).parent),
    }
    try:
        with running(
            [sys.executable, str(program)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as scheduling:
            assert scheduling.stdout is not None
            address = scheduling.stdout.readline().strip()
            assert address == f"tls://127.0.0.1:{port}"
            tls = Tls(*(tmp_path / name for name in ("ca.pem", "lab.pem", "lab.key")))
            on = Workers(scheduler=address, tls=tls)
            assert squares(naps(tmp_path / "notes", [0.0, 0.1], on)) == {0: 0, 1: 1}
        script = (queue / "job.sh").read_text()
        for line in (
            "#SBATCH -p short",
            "#SBATCH -n 1",
            "#SBATCH --cpus-per-task=1",
            "#SBATCH -t 04:00:00",
        ):
            assert line in script.splitlines()
        for part in (f"tls://127.0.0.1:{port}", "--nthreads 1", "--no-dashboard", "--tls-ca-file"):
            assert part in script
    finally:
        for job in (queue / "jobs").read_text().split() if (queue / "jobs").exists() else ():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(job), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="root and iproute2")
def test_workers_in_networks_of_their_own_take_points_over_tls(tmp_path: Path) -> None:
    """Two network namespaces, each with one link to this machine's, as two machines have."""
    keys = Security.temporary()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text(keys.tls_ca_file)
    key.write_text(keys.tls_client_key)
    files = ("--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
    port, tag = free_port(), f"et{os.getpid() % 10**6}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    with contextlib.ExitStack() as stack:
        ip("link", "add", tag, "type", "bridge")
        stack.callback(ip, "link", "delete", tag)
        ip("addr", "add", "198.18.7.1/24", "dev", tag)
        ip("link", "set", tag, "up")
        for number in (2, 3):
            space, here, inside = f"{tag}n{number}", f"{tag}h{number}", f"{tag}i{number}"
            ip("netns", "add", space)
            stack.callback(ip, "netns", "delete", space)
            ip("link", "add", here, "type", "veth", "peer", "name", inside)
            ip("link", "set", here, "master", tag, "up")
            ip("link", "set", inside, "netns", space)
            for words in (
                ("addr", "add", f"198.18.7.{number}/24", "dev", inside),
                ("link", "set", inside, "up"),
                ("link", "set", "lo", "up"),
            ):
                ip("-n", space, *words)
        address = f"tls://198.18.7.1:{port}"
        stack.enter_context(scheduler(port, *files, host="tls://198.18.7.1"))
        for number in (2, 3):
            inside_of = ("ip", "netns", "exec", f"{tag}n{number}")
            stack.enter_context(
                worker(address, *files, host=f"198.18.7.{number}", before=inside_of)
            )
        heard = Listening()
        ended = naps(
            tmp_path / "notes",
            [2.0] * 12,
            Workers(scheduler=address, tls=Tls(cert, cert, key)),
            heard,
        )
        assert squares(ended) == {n: n * n for n in range(12)}
        assert heard.said[-1] == "2 workers on 2 machines, 2 at a time"
