"""What every session tells beside its times: the machine around them, and whether to believe it.

Reports of probes and of layers are such records with their times. `bench` has one report for each
artifact and more to say, so its format is its own.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.machine import Machine, describe_machine
from edgeticket.device_runner.provenance import utc_now, versions
from edgeticket.device_runner.readings import Command, Readings, take_readings
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.report import (
    BundleIdentity,
    SessionIdentity,
    read_during,
    read_readings,
    read_session,
    read_validity,
)
from edgeticket.device_runner.schema import check_version, load_schema, validate
from edgeticket.device_runner.strict_json import flat_fields, format_json, parse_json, to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import Evidence, Validity, judge
from edgeticket.device_runner.watch import During, Watch
from edgeticket.device_runner.windows import Windows

SIZE_LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class SessionRecord:
    """One session on one machine; ``windows``: how steady it was."""

    schema_version: int
    session: SessionIdentity
    bundle: BundleIdentity
    validity: Validity
    windows: Windows
    machine: Machine
    before: Readings
    during: During
    after: Readings
    versions: Mapping[str, str]


class Recording:
    """A session under way: reads the machine before, while and after something is timed."""

    def __init__(
        self, *, root: Path, command: Command, cores: tuple[int, ...], threads: int
    ) -> None:
        self._root, self._command = root, command
        self._cores, self._threads = cores, threads
        self._started = utc_now()
        self._machine = describe_machine(root)
        self._before: Readings | None = None

    def begin(self) -> Watch:
        """Read the machine -> what looks at it from now on; timing comes next."""
        self._before = take_readings(self._root, command=self._command)
        self._watch = Watch(self._root, command=self._command, cpus=self._cores)
        return self._watch

    def end(
        self, bundle: Bundle, windows: Windows, *, artifacts: Sequence[str], schema_version: int
    ) -> SessionRecord:
        """Timing is over -> what happened around it, judged."""
        assert self._before is not None
        during = self._watch.finish()
        after = take_readings(self._root, command=self._command)
        evidence = Evidence(
            machine=self._machine,
            before=self._before,
            during=during,
            after=after,
            windows=windows,
            threads=self._threads,
            cores=len(self._cores),
            paced=False,
        )
        return SessionRecord(
            schema_version=schema_version,
            session=SessionIdentity(
                id=uuid.uuid4().hex,
                started_utc=self._started,
                artifacts=tuple(artifacts),
                command=tuple(sys.argv),
                cores=self._cores,
                cooldown=Unavailable("it was not asked for"),
            ),
            bundle=BundleIdentity(bundle.manifest.name, bundle.digest),
            validity=judge(evidence),
            windows=windows,
            machine=self._machine,
            before=self._before,
            during=during,
            after=after,
            versions=versions(),
        )


def write_record(report: SessionRecord, path: Path, *, parse: Callable[..., object]) -> None:
    """Write a record, whole or not at all; ``parse`` is how it is read.

    Raises:
        InputError: it would be refused when read, or cannot be written.
    """
    data = format_json(to_json(report))
    parse(data, place=str(path))
    write_atomic(path, data)


def read_record(path: Path, *, kind: str) -> bytes:
    """The bytes of a record's file.

    Raises:
        InputError: it cannot be read; ``kind`` is what it is called then.
    """
    return read_regular(path, kind=kind, limit_bytes=SIZE_LIMIT_BYTES)


def parse_record(data: bytes, *, schema: str, version: int, place: str) -> dict[str, Any]:
    """Bytes of a record -> its fields, those of `SessionRecord` as values, the others as JSON.

    Raises:
        InputError: not what the schema allows, of another version.
    """
    document = parse_json(data, place=place)
    check_version(document, known=version, place=place)
    validate(document, load_schema(schema), place=place)
    fields = {
        "session": read_session(document["session"]),
        "bundle": BundleIdentity(**document["bundle"]),
        "validity": read_validity(document["validity"]),
        "windows": Windows(**flat_fields(document["windows"])),
        "machine": Machine(**flat_fields(document["machine"])),
        "before": read_readings(document["before"]),
        "during": read_during(document["during"]),
        "after": read_readings(document["after"]),
    }
    return {**document, **fields}
