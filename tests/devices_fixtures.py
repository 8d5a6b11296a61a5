"""Devices for tests: a network that can fail, and a runner that answers without measuring."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from device_runner.bundle import open_bundle
from device_runner.report import BundleIdentity, write_report
from pipeline.devices.connection import Patience
from runner_fixtures import example_report

PATIENCE = Patience(
    connect_s=20, silence_s=10, heal_s=30, step_s=60, setup_s=300, bench_s=60, lock_s=60
)  # fmt: skip


def stub_runner(folder: Path, bundle: Path, script: str = "") -> str:
    """A Python that is none: after ``script`` it leaves one report, as `device-runner bench` would.

    The report is written by hand and passes every check; in ``script`` the folder for it is "$6".
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_bundle(bundle) as opened:
        identity = BundleIdentity(opened.manifest.name, opened.digest)
    report = dataclasses.replace(example_report(), bundle=identity)
    write_report(report, folder / "ready.json")
    program = folder / "python"
    copy = f'cp {folder}/ready.json "$6/{report.artifact.id}.json"'
    program.write_text(f"#!/bin/sh\n{script}\n{copy}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


@dataclasses.dataclass
class Relay:
    """Stands between client and server, and cuts the line once so many bytes went up it."""

    target_port: int
    cut_after: int | None = None
    reset: bool = False
    silent: bool = False  # from now on nothing passes, and nobody is told
    up_bytes: int = 0
    cuts: int = 0
    port: int = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Relay]:
        """Listen for the time of the block; ``port`` says where."""
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target_port)
        down = asyncio.create_task(self._pass(there, writer))
        await self._pass(reader, back, counted=True)
        down.cancel()
        for end in (writer, back):
            if self.reset:
                linger = struct.pack("ii", 1, 0)  # close at once, with RST
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            end.close()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(2**14):
                if counted:
                    self.up_bytes += len(data)
                    if self.cut_after is not None and self.up_bytes > self.cut_after:
                        self.cut_after = None
                        self.cuts += 1
                        return
                if not self.silent:
                    sink.write(data)
                    await sink.drain()


def processes_with(word: str) -> list[int]:
    """Numbers of the processes whose command line holds a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if word.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found
