"""Emulated boards on a network of their own: a host and devices in network namespaces.

    host namespace, 10.0.N.1 ── veth ── board's namespace, 10.0.N.2, arm64 sshd

Neither namespace can see this machine's network, nor this machine theirs. Each lives as long as
the process that holds it, which ends with this one; links and packet rules end with them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from edgeticket.pipeline.devices.emulated.board import Board, switch_on
from edgeticket.pipeline.devices.emulated.cpus import CPUS

ROOT = Path(__file__).parents[3]
SSHD = "/usr/sbin/sshd"
HOLD = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo on && exec cat >/dev/null"]

DROP = """table inet fault {{
  chain in {{ type filter hook input priority 0; {which} drop; }}
  chain out {{ type filter hook output priority 0; {which} drop; }}
}}"""
BLACK_HOLE = DROP.format(which="")
FIFTH = DROP.format(which="numgen random mod 5 == 0")  # every fifth packet, by chance
RESET = """table inet fault {
  chain in { type filter hook input priority 0; meta l4proto tcp reject with tcp reset; }
}"""


@dataclass
class Device:
    """A board with an SSH server at the other end of a link."""

    board: Board
    host: Host
    number: int
    home: Path  # of the user, as this machine sees it
    _sshd: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"10.0.{self.number}.2"

    @property
    def target(self) -> str:
        return f"ssh://pi@{self.address}"

    def start_sshd(self) -> None:
        """Start the SSH server, and wait until it listens."""
        options = (
            *("ListenAddress=0.0.0.0", "HostKey=/run/keys/host", "PidFile=none", "UsePAM=no"),
            *("PasswordAuthentication=no", "KbdInteractiveAuthentication=no", "UseDNS=no"),
            f"SetEnv=QEMU_CPU={self.board.cpu.name}",
        )
        self._sshd = subprocess.Popen(
            [*self.board.prefix(user_id=0), SSHD, "-D", "-e", "-f", "/dev/null",
             *(word for option in options for word in ("-o", option))],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._sshd.stderr is not None
        for line in self._sshd.stderr:
            if b"listening" in line:
                return
        raise AssertionError("sshd ended")

    def stop_sshd(self) -> None:
        """What a reboot does to programs: all are killed at once, the server among them."""
        kill = [*self.board.prefix(user_id=0), "/bin/sh", "-c", "kill -9 -1"]
        subprocess.run(kill, check=False, capture_output=True)
        if self._sshd is not None:
            self._sshd.communicate()

    def reboot(self) -> None:
        """All programs are killed; a moment later the server answers again."""
        self.stop_sshd()
        self.start_sshd()

    def new_host_key(self) -> None:
        """Make the server's key; the running one keeps the key that it has."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.put("/run/keys/host", key.export_private_key(), user_id=0)
        self.public_key = key.export_public_key().decode().strip()

    def programs(self) -> list[str]:
        """Command lines of all that runs on the board."""
        ours = os.readlink(f"/proc/{self.board.pid}/ns/pid_for_children")
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if os.readlink(process / "ns/pid") == ours:
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def put(self, path: str, data: bytes, *, user_id: int = 1000) -> None:
        code = 'mkdir -p -m 755 "$(dirname "$0")" && umask 077 && cat > "$0"'
        self.shell(code, path, data=data, user_id=user_id)

    def shell(self, code: str, *words: str, data: bytes = b"", user_id: int = 1000) -> str:
        """Run a shell's code on the board -> its output."""
        argv = [*self.board.prefix(user_id=user_id), "/bin/sh", "-c", code, *words]
        return subprocess.run(argv, input=data, capture_output=True, check=True).stdout.decode()

    @contextlib.contextmanager
    def fault(self, rules: str) -> Iterator[None]:
        """Packet rules on the board's side of the link, for the time of the block."""
        self._nft(rules)
        try:
            yield
        finally:
            self._nft("delete table inet fault")

    def _nft(self, rules: str) -> None:
        enter = ["nsenter", f"--net=/proc/{self.board.pid}/ns/net", "nft", "-f", "-"]
        subprocess.run(enter, input=rules.encode(), check=True)

    @contextlib.contextmanager
    def link_down(self) -> Iterator[None]:
        """The cable is out for the time of the block."""
        self.host.ip("link", "set", f"to{self.number}", "down")
        try:
            yield
        finally:
            self.host.ip("link", "set", f"to{self.number}", "up")

    @contextlib.contextmanager
    def small_disk(self, size_bytes: int) -> Iterator[None]:
        """The user's home lies on a disk of this size, empty, for the time of the block."""
        place = f"{self.board.root}/home/pi"
        options = f"size={size_bytes},uid=1000,gid=1000,mode=755"
        enter = ["nsenter", f"--mount=/proc/{self.board.pid}/ns/mnt", "--"]
        keys = self.shell("cat ~/.ssh/authorized_keys").encode()
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place]
        subprocess.run([*enter, *mount], check=True)
        try:
            self.put("/home/pi/.ssh/authorized_keys", keys)
            yield
        finally:
            subprocess.run([*enter, "umount", "--lazy", place], check=True)


@dataclass
class Host:
    """The host's side: a network namespace, and a home folder with its SSH files."""

    pid: int
    home: Path
    key: asyncssh.SSHKey
    devices: list[Device] = field(default_factory=list)

    def ip(self, *words: str) -> None:
        subprocess.run([*self._enter(), "ip", *words], check=True)

    def edgeticket(
        self, *arguments: str, timeout_s: float = 600, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command on the host's side of the network."""
        return subprocess.run(
            self.command(*arguments), env=self.environment(**variables), cwd=ROOT,
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def command(self, *arguments: str) -> list[str]:
        return [*self._enter(), sys.executable, "-m", "edgeticket.pipeline", *arguments]

    def environment(self, **variables: str) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.home), "COLUMNS": "200", **variables}

    def trust(self) -> None:
        """Write known_hosts: every device, with the key that it has now."""
        lines = [f"{device.address} {device.public_key}\n" for device in self.devices]
        (self.home / ".ssh/known_hosts").write_text("".join(lines))

    def _enter(self) -> Sequence[str]:
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]


@contextlib.contextmanager
def host_side(home: Path) -> Iterator[Host]:
    """A host without devices yet."""
    pipe = subprocess.PIPE
    with subprocess.Popen(HOLD, stdin=pipe, stdout=pipe, start_new_session=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"on\n"
        key = asyncssh.generate_private_key("ssh-ed25519")
        own = home / ".ssh"
        own.mkdir(parents=True, mode=0o700)
        key.write_private_key(own / "id_ed25519")
        (own / "id_ed25519").chmod(0o600)
        try:
            yield Host(holder.pid, home, key)
        finally:
            holder.stdin.close()


@contextlib.contextmanager
def device_on(host: Host, cpu: str, *, root: Path, state: Path) -> Iterator[Device]:
    """A board, switched on and linked to ``host``, whose user it lets in."""
    with switch_on(CPUS[cpu], root=root, state=state) as board:
        device = Device(board, host, len(host.devices) + 1, state / "home")
        host.devices.append(device)
        far, near = f"/proc/{board.pid}/ns/net", f"to{device.number}"
        host.ip(*("link", "add", near, "type", "veth", "peer", "eth0", "netns", str(board.pid)))
        host.ip("addr", "add", f"10.0.{device.number}.1/30", "dev", near)
        host.ip("link", "set", near, "up")
        for words in (f"addr add {device.address}/30 dev eth0", "link set eth0 up"):
            subprocess.run(["nsenter", f"--net={far}", "ip", *words.split()], check=True)
        device.new_host_key()
        device.shell("mkdir -p /run/sshd", user_id=0)
        device.put("/home/pi/.ssh/authorized_keys", host.key.export_public_key())
        device.start_sshd()
        host.trust()
        try:
            yield device
        finally:
            device.stop_sshd()


def wait_until(true: Callable[[], bool], *, limit_s: float, what: str) -> None:
    """Ask every tenth of a second, and fail when it takes too long."""
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, f"waited {limit_s:g} s for: {what}"
        time.sleep(0.1)
