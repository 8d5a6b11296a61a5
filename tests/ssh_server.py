"""An SSH server on loopback whose logins are processes of this user, for tests.

    python tests/ssh_server.py FOLDER PORT

asyncssh's server with a shell behind each command, so that no test needs root or an installed sshd;
OpenSSH's is what `make test-devices` logs in to. FOLDER holds host_key, authorized_keys, and home/,
where every command starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh


@dataclass(frozen=True)
class Device:
    """A server that runs, and a client's files that let it in."""

    port: int
    folder: Path

    @property
    def target(self) -> str:
        return f"ssh://tester@127.0.0.1:{self.port}{self.home}"

    @property
    def home(self) -> Path:
        """Where edgeticket keeps its things there."""
        return self.folder / "home" / "kept"


def lay_out(folder: Path, client_home: Path) -> None:
    """Make keys: the device's own, and a client's, who knows it and may come in."""
    (folder / "home").mkdir(parents=True)
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    host.write_private_key(folder / "host_key")
    host.write_public_key(folder / "host_key.pub")
    user.write_public_key(folder / "authorized_keys")
    own = client_home / ".ssh"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    user.write_private_key(own / "id_ed25519")
    (own / "id_ed25519").chmod(0o600)


def trust(device: Device, client_home: Path) -> None:
    """Put the device's key into the client's known_hosts."""
    key = asyncssh.read_private_key(device.folder / "host_key")
    line = f"[127.0.0.1]:{device.port} {key.export_public_key().decode()}"
    with open(client_home / ".ssh" / "known_hosts", "a") as file:
        file.write(line)


@contextlib.asynccontextmanager
async def serve(folder: Path, port: int = 0) -> AsyncIterator[int]:
    """Answer on loopback for the time of the block; gives the port."""

    async def login(client: asyncssh.SSHServerProcess[bytes]) -> None:
        pipe = asyncio.subprocess.PIPE
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", client.command or "", stdin=pipe, stdout=pipe, stderr=pipe,
            cwd=folder / "home", start_new_session=True,
        )  # fmt: skip
        feeding = asyncio.create_task(_relay(client.stdin, shell.stdin))
        told = (_relay(shell.stdout, client.stdout), _relay(shell.stderr, client.stderr))
        await asyncio.gather(*told)
        exit_code = await shell.wait()
        feeding.cancel()
        if exit_code < 0:
            client.exit_with_signal("KILL")
        else:
            client.exit(exit_code)

    server = await asyncssh.listen(
        "127.0.0.1", port,
        server_host_keys=[str(folder / "host_key")],
        authorized_client_keys=str(folder / "authorized_keys"),
        process_factory=login, encoding=None,
    )  # fmt: skip
    async with server:
        yield server.get_port()


async def _relay(source: Any, sink: Any) -> None:
    """Copy until the source ends, then end the sink, as sshd does with its pipes."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while piece := await source.read(2**16):
            sink.write(piece)
            await sink.drain()
    with contextlib.suppress(OSError, asyncssh.Error):
        sink.write_eof()


async def _main(folder: Path, port: int) -> None:
    async with serve(folder, port) as found:
        print(found, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    os.environ.pop("SSH_AUTH_SOCK", None)
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
