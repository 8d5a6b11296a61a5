"""Which devices: targets from the command line, and fleet files."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices import CONNECTIONS, FORMS
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.devices.ssh_address import parse_address
from edgeticket.pipeline.recipe import Config
from edgeticket.pipeline.recipe.reading import check, read_document

_LABEL = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # names a folder, on every system


class DeviceConfig(Config):
    """One device of a fleet file."""

    target: str  # as for --on
    label: Annotated[str, Field(pattern=_LABEL, max_length=64)] | None = None  # of its reports
    python: str | None = None  # one that has numpy and a runtime; None: set-up makes its own


class Fleet(Config):
    """A fleet file: the devices that are measured together."""

    devices: tuple[DeviceConfig, ...]


def read_fleet(path: Path) -> list[Device]:
    """A YAML file -> its devices.

    Raises:
        InputError: it cannot be read, or says something that a fleet cannot.
    """
    fleet = check(Fleet, read_document(path, kind="fleet"), place=str(path))
    if not fleet.devices:
        raise InputError(f"{path}: devices: there are none; `- target: local` is one")
    return [
        make_device(found.target, label=found.label, python=found.python, place=f"{path}: ")
        for found in fleet.devices
    ]


def make_device(
    target: str, *, label: str | None = None, python: str | None = None, place: str = ""
) -> Device:
    """A target -> a device, called by its host unless ``label`` says otherwise.

    Raises:
        InputError: the target is none.
    """
    kind, _, rest = target.partition(":")
    if kind not in CONNECTIONS:
        known = ", ".join(FORMS.values())
        raise InputError(f"{place}{reprlib.repr(target)} is no target (known: {known})")
    if kind == "ssh":
        address = parse_address(target)
        rest = address.host if address.port in (None, 22) else f"{address.host}-{address.port}"
    named = re.sub(r"[^A-Za-z0-9._-]+", "-", rest if kind == "ssh" else target).strip("-.")
    return Device(label=label or named, target=target, python=python)


def gather(targets: Sequence[str], fleets: Iterable[Path], *, python: str | None) -> list[Device]:
    """All devices that a command was given.

    Args:
        targets: of ``--on``.
        fleets: fleet files.
        python: for every device that names none.

    Raises:
        InputError: none at all, or two with one label.
    """
    devices = [make_device(target, python=python) for target in targets]
    for path in fleets:
        devices += [
            Device(found.label, found.target, found.python or python) for found in read_fleet(path)
        ]
    if not devices:
        raise InputError("on which devices? Name them: --on ssh://pi@raspberrypi.local, --on local")
    labels = [device.label for device in devices]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(
                f"two devices are called {label!r}, and their reports would lie in one folder: "
                "write a fleet file that gives them labels"
            )
    return devices
