"""Where it was measured, what the machine did meanwhile, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml
from markupsafe import Markup

from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.watch import Span
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sources import Measured, Sources
from edgeticket.pipeline.page.words import lines_of

_OUTPUTS = ("-o", "--output", "--outputs")


@dataclass(frozen=True)
class Course:
    """One reading before, during and after: as in "2.40 (2.10 to 3.00)"."""

    what: str
    before: str
    during: str
    after: str


@dataclass(frozen=True)
class Place:
    """One machine: what it is, what it did, what could not be seen."""

    name: str
    facts: tuple[tuple[str, str], ...]
    courses: tuple[Course, ...]
    disturbances: tuple[tuple[str, str], ...]
    unchecked: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Again:
    """How to reproduce it: commands, the recipe's text, digests, versions of tools."""

    commands: tuple[tuple[str, str], ...]
    recipe_name: str
    recipe: Markup | None
    digests: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str, str], ...]  # artifact, file's SHA-256, outputs' SHA-256
    tools: tuple[tuple[str, str], ...]


def tell_places(sources: Sources) -> tuple[Place, ...]:
    """Each machine, by the reports of its first session."""
    return tuple(_place(place, sources.on(place)) for place in sources.places)


def _place(name: str, measured: tuple[Measured, ...]) -> Place:
    report = measured[0].report
    machine, runtime = report.machine, report.runtime
    runtimes = {
        f"{one.report.runtime.package} {_known(one.report.runtime.version)}": None
        for one in measured
    }
    facts = [
        ("board", _known(machine.board)),
        ("processor", _known(machine.cpu)),
        ("architecture", f"{machine.architecture}, {words.plural(machine.cores, 'core')} usable"),
        ("int8 instructions", _joined(machine.int8_instructions)),
        ("memory", _gigabytes(machine.memory_bytes)),
        ("system", f"{_known(machine.os)}, kernel {machine.kernel}"),
        ("runtimes", ", ".join(runtimes)),
        ("threads", str(runtime.threads)),
        ("kept on cores", ", ".join(map(str, report.session.cores))),
        ("withheld from the runtimes", ", ".join(runtime.withheld).upper() or "nothing"),
        ("measured at", report.session.started_utc),
        ("session", report.session.id),
    ]
    if isinstance(machine.emulated, str):
        facts.insert(0, ("emulated by", f"{machine.emulated}: its times say nothing"))
    if not isinstance(machine.jetson, Unavailable):
        facts.append(("Jetson release", machine.jetson))
    unchecked = {
        rule: reason for one in measured for rule, reason in one.report.validity.unchecked.items()
    }
    return Place(
        name=name,
        facts=tuple(facts),
        courses=_courses(report),
        disturbances=_disturbances(report),
        unchecked=tuple(unchecked.items()),
    )


def _courses(report: Report) -> tuple[Course, ...]:
    clock, heat = report.during.clock_hz, report.during.temperature_c
    found = []
    for label, scale, unit, before, during, after in (
        ("clock", 1e-6, "MHz", report.before.frequency_hz, clock, report.after.frequency_hz),
        ("temperature", 1.0, "°C", report.before.temperature_c, heat, report.after.temperature_c),
    ):
        keys: dict[str, None] = {}
        for of in (before, during, after):
            if not isinstance(of, Unavailable):
                keys.update(dict.fromkeys(of))
        found += [
            Course(
                f"{label} of {key}, {unit}",
                _single(before, key, scale),
                _span(during, key, scale),
                _single(after, key, scale),
            )
            for key in keys
        ]
    return tuple(found)


def _single(readings: Mapping[str, float] | Unavailable, key: str, scale: float) -> str:
    if isinstance(readings, Unavailable) or key not in readings:
        return words.NONE
    return f"{scale * readings[key]:,.0f}" if scale < 1 else f"{scale * readings[key]:.1f}"


def _span(readings: Mapping[str, Span] | Unavailable, key: str, scale: float) -> str:
    if isinstance(readings, Unavailable) or key not in readings:
        return words.NONE
    span = readings[key]
    digits = 0 if scale < 1 else 1
    low, middle, high = (
        f"{scale * value:,.{digits}f}" for value in (span.lowest, span.median, span.highest)
    )
    return f"{middle} ({low} to {high})"


def _disturbances(report: Report) -> tuple[tuple[str, str], ...]:
    during = report.during
    rows: list[tuple[str, float | int | Unavailable, str]] = [
        ("other programs, cores kept busy", during.other_load_cores, "{:.2f}"),
        ("waited for a CPU, % of the time", _hundred(during.waited_share), "{:.1f}"),
        ("taken by a hypervisor, cores", during.stolen_cores, "{:.2f}"),
        ("memory pages swapped", during.swapped_pages, "{:,}"),
        ("looking took, % of the time", 100 * during.looking_share, "{:.2f}"),
        ("looks at the machine", during.looks, "{:,}"),
    ]
    told = [
        (what, f"unknown: {value.reason}" if isinstance(value, Unavailable) else form.format(value))
        for what, value, form in rows
    ]
    governor = report.before.governor
    if not isinstance(governor, Unavailable):
        told.insert(0, ("governor", ", ".join(sorted(set(governor.values())))))
    conditions = during.conditions
    if not isinstance(conditions, Unavailable):
        told.append(("throttling seen", ", ".join(conditions) or "none"))
    cooldown = report.session.cooldown
    if not isinstance(cooldown, Unavailable):
        waited = f"{cooldown.waited_s:.0f} s, until {cooldown.ended}"
        told.append(("cooled down before, for", waited))
    return tuple(told)


def tell_again(sources: Sources) -> Again:
    """What to type, and the digests by which to tell that it is the same."""
    commands = []
    for one in sources.measured:
        entry = (one.place, _command(one.report.session.command))
        if entry not in commands:
            commands.append(entry)
    manifest = sources.manifest
    recipe = manifest.provenance.get("recipe") if manifest is not None else None
    tools = manifest.provenance.get("tools") if manifest is not None else None
    name = str(recipe.get("name", "recipe")) if isinstance(recipe, dict) else ""
    is_whole = isinstance(recipe, dict) and "compress" in recipe
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if is_whole else None
    samples = {one.report.accuracy.samples_sha256: None for one in sources.measured}
    bundles = {one.report.bundle.digest: None for one in sources.measured}
    return Again(
        commands=tuple(commands),
        recipe_name=name,
        recipe=None if text is None else lines_of(text),
        digests=(
            *(("bundle (SHA-256 of its manifest.json)", digest) for digest in bundles),
            *(("samples", digest) for digest in samples),
        ),
        files=tuple(
            (one.title, one.report.artifact.sha256, one.report.accuracy.outputs_sha256)
            for one in sources.measured
        ),
        tools=tuple((str(k), str(v)) for k, v in tools.items()) if isinstance(tools, dict) else (),
    )


def _command(arguments: Sequence[str]) -> str:
    """What to type for the same measurement; where files lay is nobody else's business."""
    given = list(arguments)
    given = given[given.index("bench") + 1 :] if "bench" in given else given
    if given and not given[0].startswith("-"):
        given = given[1:]
    kept = [
        word
        for word, before in zip(given, ["", *given], strict=False)
        if word not in _OUTPUTS and before not in _OUTPUTS
    ]
    return shlex.join(["device-runner", "bench", "bundle.zip", *kept, "-o", "reports"])


def _known(value: str | Unavailable) -> str:
    return words.text(value)


def _joined(values: tuple[str, ...] | Unavailable) -> str:
    return words.text(values) if isinstance(values, Unavailable) else ", ".join(values) or "none"


def _gigabytes(value: int | Unavailable) -> str:
    return words.text(value) if isinstance(value, Unavailable) else f"{value / 1e9:.1f} GB"


def _hundred(share: float | Unavailable) -> float | Unavailable:
    return share if isinstance(share, Unavailable) else 100 * share
