"""Many devices at once: none waits for another, none hurts another."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import clean_line
from edgeticket.device_runner.report import Report
from edgeticket.pipeline.devices.connection import Patience
from edgeticket.pipeline.devices.measure import measure_on
from edgeticket.pipeline.devices.runner import Device, Parcel
from edgeticket.pipeline.devices.transfer import bundle_contents

_NUMBERS = re.compile(r"\d+([.,]\d+)?")


@dataclass(frozen=True)
class Outcome:
    """What became of one device: its reports, or why there are none."""

    device: Device
    reports: tuple[Report, ...]
    failure: str | None
    complaint: str | None = None  # the runner measured, and says that it is not good enough
    notes: tuple[str, ...] = ()  # noticed besides; they spoil nothing


class DeviceLines:
    """One line for each device: rewritten on a terminal, elsewhere printed when it says more."""

    def __init__(self, labels: Sequence[str], console: Console) -> None:
        self._lines = dict.fromkeys(labels, "")
        self._console = console
        self._live = Live(console=console, auto_refresh=True, refresh_per_second=4)

    def __enter__(self) -> DeviceLines:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, label: str, line: str) -> None:
        """Say what a device is doing."""
        line = clean_line(line, longest=2000)
        before, self._lines[label] = self._lines[label], line
        if not self._console.is_terminal:
            if _NUMBERS.sub("", before) != _NUMBERS.sub("", line):  # not every percent
                self._console.print(
                    f"{label}: {line}", highlight=False, soft_wrap=True, markup=False, emoji=False
                )
            return
        table = Table.grid(padding=(0, 2))
        for name, text in self._lines.items():
            table.add_row(Text(name, style="bold"), Text(text, overflow="ellipsis", no_wrap=True))
        self._live.update(table)


def measure_together(
    bundle: Path,
    devices: Sequence[Device],
    arguments: Sequence[str],
    *,
    out: Path,
    offline: bool,
    patience: Patience,
    console: Console,
) -> list[Outcome]:
    """Measure a bundle on all devices at once -> what became of each, in their order.

    Reports land in ``out/<label>/<artifact>.json`` as each device is done.

    Raises:
        InputError: the bundle cannot be used. What happens on a device is in its outcome.
    """
    with open_bundle(bundle) as opened, DeviceLines([d.label for d in devices], console) as lines:
        parcel = Parcel(opened, bundle_contents(opened))

        async def one(device: Device) -> Outcome:
            started = time.monotonic()
            try:
                found = await measure_on(
                    device,
                    parcel,
                    arguments,
                    out=out,
                    offline=offline,
                    patience=patience,
                    tell=lambda line: lines.show(device.label, line),
                )
            except Exception as error:  # a bug on one device must not cost the others' reports
                sentence = str(error)
                if not isinstance(error, InputError):
                    sentence = f"{device.target}: {type(error).__name__}: {error}"
                lines.show(device.label, f"FAILED: {sentence}")
                return Outcome(device, (), clean_line(sentence, longest=2000))
            took = time.monotonic() - started
            lines.show(device.label, f"done in {took:.0f} s, {len(found.reports)} reports")
            return Outcome(device, found.reports, None, found.complaint, found.notes)

        async def everyone() -> list[Outcome]:
            tasks = [asyncio.create_task(one(device)) for device in devices]
            await asyncio.wait(tasks)
            return [task.result() for task in tasks]

        return asyncio.run(everyone())
