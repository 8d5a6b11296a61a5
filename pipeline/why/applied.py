"""A remedy tried: the recipe is run as it is and with the change, and both are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report, read_report
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.recipe import Recipe
from edgeticket.pipeline.why.finding import Finding
from edgeticket.pipeline.why.remedy import overrides

RECORD = "why.json"


@dataclass(frozen=True)
class Measured:
    """One artifact in one of the two runs; score by the measure of its task."""

    artifact: str
    measure: str
    score: float | Unavailable
    sqnr_db: float | Unavailable
    p50_ms: float | Unavailable
    size_bytes: int


@dataclass(frozen=True)
class Applied:
    """Both runs. overrides: what was changed, as `--set` takes it."""

    overrides: tuple[str, ...]
    recipe: str  # the file with the change
    before: tuple[Measured, ...]
    after: tuple[Measured, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        document: dict[str, Any] = to_json(self)
        return document


def apply(
    findings: Sequence[Finding],
    recipe: Path,
    *,
    out: Path,
    data: Path | None = None,
    progress: Progress,
) -> Applied:
    """Run ``recipe`` before and after the remedies of ``findings``, in folders below ``out``.

    The recipe stays as it is: ``out/before.yaml`` is a copy and ``out/after.yaml`` the changed one.
    A run that is there is found again.

    Raises:
        InputError: no remedy changes this recipe, or ``out`` holds another's files.
    """
    import edgeticket

    before = edgeticket.read_recipe(recipe)
    plain = before.model_dump(mode="json", exclude_defaults=False)
    changes = overrides([c for f in findings for c in f.remedy.changes], plain)
    if not changes:
        raise InputError(
            f"no remedy of what was found changes {recipe}: its keys have these values already, or "
            "the cause lies outside of recipes"
        )
    make_folder(out)
    files = []
    for name, some in (("before", []), ("after", changes)):
        changed: Recipe = edgeticket.read_recipe(recipe, overrides=some)
        document = changed.model_dump(mode="json", exclude_unset=True)
        file = out / f"{name}.yaml"
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
        if file.exists() and file.read_bytes() != text:
            raise InputError(f"{file} is there already, and another: give another folder by --out")
        write_atomic(file, text)
        files.append(file)
    told = []
    for name, some in (("before", []), ("after", changes)):
        progress.say(f"{name}: {recipe}" + "".join(f" --set {each}" for each in some))
        # The recipe's own file, so that paths in it lead where they led.
        edgeticket.run(recipe, overrides=some, out=out / name, data=data, progress=progress)
        told.append(_measured(out / name / before.name / "reports"))
    return Applied(tuple(changes), str(files[1]), *told)


def _measured(folder: Path) -> tuple[Measured, ...]:
    return tuple(_tell(read_report(file)) for file in sorted(folder.glob("*.json")))


def _tell(report: Report) -> Measured:
    fidelity = report.fidelity
    sqnr = fidelity if isinstance(fidelity, Unavailable) else fidelity.worst.sqnr_db
    p50 = report.latency.p50_ns
    score: Any = getattr(report.accuracy, "score", Unavailable("nothing is asked of its outputs"))
    return Measured(
        report.artifact.id,
        report.accuracy.measure,
        score,
        sqnr if isinstance(sqnr, int | float | Unavailable) else Unavailable(str(sqnr)),
        p50 if isinstance(p50, Unavailable) else p50 / 1e6,
        report.artifact.size_bytes,
    )


def cells(applied: Applied) -> list[tuple[str, ...]]:
    """A line for each artifact of either run: score, SQNR, p50 and bytes, before → after."""
    before = {each.artifact: each for each in applied.before}
    after = {each.artifact: each for each in applied.after}
    lines: list[tuple[str, ...]] = []
    for name in dict.fromkeys([*before, *after]):
        both = before.get(name), after.get(name)
        lines.append(
            (
                name,
                next(each.measure for each in both if each),
                _pair([each and each.score for each in both], "{:.4g}"),
                _pair([each and each.sqnr_db for each in both], "{:.1f}"),
                _pair([each and each.p50_ms for each in both], "{:.3f}"),
                _pair([each and each.size_bytes for each in both], "{:,}"),
            )
        )
    return lines


HEADINGS = ("artifact", "measure", "score", "SQNR dB", "p50 ms", "bytes")


def _pair(values: Sequence[Any], pattern: str) -> str:
    return " → ".join(pattern.format(v) if isinstance(v, int | float) else "–" for v in values)
