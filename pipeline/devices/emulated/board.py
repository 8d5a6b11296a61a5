"""An emulated board that is switched on: namespaces of its own, gone without trace afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.emulated.cpus import Cpu, format_cpuinfo
from edgeticket.pipeline.devices.emulated.user_space import MARK, USER, USER_ID

MOST_CORES = 4  # as many as the boards have
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

# Runs as the board's first program, outside of its root. It ends when its standard input does,
# so a board never outlives the process that switched it on, however that ends; and with the
# first program of a PID namespace the kernel ends all others and drops every mount.
_SWITCH_ON = """
set -eu
root=$1 state=$2 mark=$3 home=$4
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --bind "$state/cpuinfo" "$root/proc/cpuinfo"
mount --bind -o ro "$state/sys" "$root/sys"
mount --bind "$state/mark" "$root/$mark"
mount --bind "$state/home" "$root/$home"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    : > "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
for stream in 0:stdin 1:stdout 2:stderr; do
    ln -s "/proc/self/fd/${stream%:*}" "$root/dev/${stream#*:}"
done
echo on
exec cat > /dev/null
"""


@dataclass(frozen=True)
class Board:
    """A board that is on. ``pid`` is the process whose namespaces it lives in."""

    pid: int
    root: Path
    cpu: Cpu

    def prefix(self, *, user_id: int = USER_ID) -> tuple[str, ...]:
        """What goes before a command line to run it there, in the user's home folder."""
        home = f"/home/{USER}" if user_id else "/root"
        namespaces = f"/proc/{self.pid}/ns"
        return (
            *("nsenter", f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children"),
            *(f"--uts={namespaces}/uts", f"--ipc={namespaces}/ipc", f"--net={namespaces}/net"),
            *("--", "env", "--ignore-environment", f"PATH={PATH}", f"HOME={home}"),
            *("LANG=C.UTF-8", f"QEMU_CPU={self.cpu.name}"),
            *("chroot", f"--userspec={user_id}:{user_id}", "--groups=", str(self.root)),
            *("/usr/bin/env", f"--chdir={home}"),
        )


@contextlib.contextmanager
def switch_on(cpu: Cpu, *, root: Path, state: Path) -> Iterator[Board]:
    """A board for the time of the block; when it ends, all programs on it are killed.

    Args:
        cpu: what it has.
        root: its user space, mounted read-only.
        state: the folder whose ``home`` is the user's and outlives the board.

    It has no network. Raises InputError if this kernel or container forbids namespaces.
    """
    _lay_out(state, cpu)
    command = [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net"),
        *("sh", "-c", _SWITCH_ON, "board", str(root), str(state), MARK, f"home/{USER}"),
    ]
    pipe = subprocess.PIPE
    # A session of its own: Ctrl-C is for us, who switch it off in order.
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if process.stdout.readline() != b"on\n":
                told = process.stderr.read().decode("utf-8", "replace").strip()
                raise InputError(
                    f"cannot switch on an emulated {cpu.name}: {told or 'unshare failed'} "
                    "(a container needs --privileged for this)"
                )
            yield Board(process.pid, root, cpu)
        finally:
            process.kill()  # and --kill-child the first program, and that all others


def _lay_out(state: Path, cpu: Cpu) -> None:
    """What differs from board to board: CPU, model name, mark, home.

    Files are replaced, not rewritten: the same board may be on already, with these mounted.
    """
    cores = min(MOST_CORES, len(os.sched_getaffinity(0)))
    (state / "home").mkdir(parents=True, exist_ok=True)
    os.chown(state / "home", USER_ID, USER_ID)
    texts = {
        "sys/firmware/devicetree/base/model": f"emulated {cpu.name}\0",
        **{f"sys/devices/system/cpu/{name}": f"0-{cores - 1}\n" for name in _CPU_LISTS},
        "cpuinfo": format_cpuinfo(cpu, cores=cores),
        "mark": f"{cpu.name} by QEMU\n",
    }
    for place, text in texts.items():
        (state / place).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(state / place, text.encode("ascii"))


_CPU_LISTS = ("possible", "present", "online")
