"""Is the front of a search at least as good as recipes made by hand, at equal epochs?

    python benchmarks/search_front.py --time 10m

Carries out a recipe (the demo), its own passes and three ways of choosing channels at six budgets,
each with as many epochs in all. Then it searches, from nothing, within --time. Last, the int8 files
of all of them are put into one bundle and timed side by side by the runner on this machine, so that
all p90 are of one session. For each recipe made by hand: is there a point of the front that is at
least as good in the metric on validation, in p90 and in bytes? Exit code 1 where there is none.

Only the searching and the last step need a quiet machine. What was done is found again:
--only trains some of the recipes made by hand and stops.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import edgeticket
from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.manifest import Artifact, Network
from edgeticket.device_runner.report import Report, read_report
from edgeticket.device_runner.strict_json import flat_fields
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import VALID
from edgeticket.pipeline.bundle import StoredInput, write_bundle
from edgeticket.pipeline.commands.search import seconds_of
from edgeticket.pipeline.devices.local import measure
from edgeticket.pipeline.inspect.subject import network_of
from edgeticket.pipeline.progress import QUIET, Bars
from edgeticket.pipeline.recipe import BenchConfig, Recipe, check, read_recipe
from edgeticket.pipeline.recipe.ready import ready_file
from edgeticket.pipeline.search.candidates import Candidates
from edgeticket.pipeline.search.front import Front
from edgeticket.pipeline.search.front_file import to_markdown
from edgeticket.pipeline.search.halving import epochs_of, training_of
from edgeticket.pipeline.search.structure import uniform
from edgeticket.pipeline.text import open_console

BUDGETS = (0.7, 0.5, 0.35, 0.25, 0.15, 0.08)  # of the multiply-accumulates
GATES = 1 / 3  # of all epochs, in which gates are learnt
SAMPLES = 200  # that queries are taken from
TRIES = 3  # of the session that times all of them
HAND, FRONT = "by hand", "front"


@dataclass(frozen=True)
class Made:
    """A network that was trained and rounded.

    score: on validation, in int8.
    folder: as `edgeticket run` leaves it.
    """

    name: str
    made_by: str  # HAND or FRONT
    score: float
    folder: Path


@dataclass(frozen=True)
class Timed:
    """The same, with what its fastest file takes."""

    made: Made
    p90_ms: float
    size_bytes: int
    runtime: str

    def matches(self, other: Timed) -> bool:
        """Whether it is at least as good in all three."""
        return (
            self.made.score >= other.made.score
            and self.p90_ms <= other.p90_ms
            and self.size_bytes <= other.size_bytes
        )


def by_hand(recipe: Recipe, budgets: list[float], widths: dict[str, int]) -> dict[str, Recipe]:
    """Name -> recipe, all with as many epochs as ``recipe``."""
    train, epochs = training_of(recipe), epochs_of(recipe)
    assert train is not None
    plain = train.model_copy(update={"distil": None}).model_dump(mode="json", exclude_none=True)
    rounding = [s.model_dump(mode="json") for s in recipe.compress if s.decides_scales]
    recipes = {"its own passes": recipe}
    for budget in budgets:
        gates = max(1, round(GATES * epochs))
        learn = {**plain, "epochs": gates, "lr": 0.02, "warmup": 0.0}
        rest = {"method": "finetune", "train": {**plain, "epochs": max(1, epochs - gates)}}
        whole = {"method": "finetune", "train": {**plain, "epochs": epochs}}
        macs = {"budget": {"macs": budget}}
        even = uniform(widths, budget**0.5)  # work goes with the square of widths
        ways: dict[str, list[dict[str, Any]]] = {
            "stochastic_gates": [{"method": "stochastic_gates", **macs, "train": learn}, rest],
            "channel_magnitude": [{"method": "channel_magnitude", **macs}, whole],
            "uniform": [{"method": "structure", "keep": dict(even.keep)}, whole],
        }
        for way, passes in ways.items():
            document = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
            document |= {"name": f"{way}-{budget:g}", "compress": [*passes, *rounding]}
            document["bundle"] = {"baseline": False}
            # Of no account: all are timed side by side at the end.
            document["bench"] = {"min_seconds": 0, "min_queries": 64}
            recipes[f"{way} {budget:g}"] = check(Recipe, document, place=way)
    return recipes


def carried_out(recipe: Recipe, name: str, out: Path, data: str | None) -> Made:
    """One recipe made by hand."""
    summary = edgeticket.run(recipe, out=out, data=data, progress=QUIET)
    entry = flat_fields(summary.steps[-1])
    score = next(v for k, v in entry.items() if k.startswith("validation_") and k.endswith("_int8"))
    return Made(name, HAND, float(score), out / recipe.name)


def of_front(front: Front, folder: Path) -> list[Made]:
    """The points of a front that are int8."""
    return [
        Made(point.name, FRONT, point.score, folder / point.name)
        for point in front.points
        if point.precision == "int8" and point.score is not None
    ]


def stored_samples(data: bytes) -> np.ndarray[Any, Any]:
    """Some of a bundle's samples."""
    samples: np.ndarray[Any, Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return samples[:SAMPLES]


def side_by_side(several: Iterable[Made], out: Path) -> tuple[list[Timed], list[Report]]:
    """The int8 files of all in one bundle, in turns; a session that is INVALID is begun again."""
    artifacts: list[tuple[Artifact, bytes]] = []
    owners: dict[str, Made] = {}
    networks: dict[str, Network] = {}
    for number, one in enumerate(several):
        with open_bundle(one.folder / "bundle") as bundle:
            manifest = bundle.manifest
            for entry in manifest.artifacts:
                if entry.role != "deploy" or entry.precision != "int8":
                    continue
                name = f"n{number}-{entry.id}"
                owners[name] = one
                file = f"artifacts/{name}{Path(entry.file).suffix}"
                stored = replace(entry, id=name, file=file, exact_with=())
                artifacts.append((stored, bundle.read(entry.file)))
            inputs = [
                StoredInput(i.name, stored_samples(bundle.read(i.samples)), (), i.preprocessing)
                for i in manifest.inputs
            ]
            # Scores are of samples with labels, and these are timed without.
            networks |= {n: replace(net, scores={}) for n, net in manifest.networks.items()}
    folder, reports = out / "bundle", out / "reports"
    for attempt in range(TRIES):
        for place in (folder, reports):
            shutil.rmtree(place, ignore_errors=True)
        folder.mkdir(parents=True)
        write_bundle(
            folder, name="side-by-side", artifacts=artifacts, inputs=inputs, targets=None,
            dataset="the recipe's", labels=(), networks=networks, random=0,
            provenance={"made_by": "benchmarks/search_front.py"}, proven=False,
        )  # fmt: skip
        measure(folder, reports, BenchConfig(min_seconds=1.0, min_queries=700))
        found = [read_report(file) for file in sorted(reports.glob("*.json"))]
        if all(report.validity.verdict == VALID for report in found):
            break
        print(f"session {attempt + 1} of {TRIES} was INVALID", file=sys.stderr)
    fastest: dict[Made, Timed] = {}
    for report in found:
        one, p90 = owners[report.artifact.id], report.latency.p90_ns
        if isinstance(p90, Unavailable):
            continue
        timed = Timed(one, p90 / 1e6, report.artifact.size_bytes, report.artifact.runtime)
        if one not in fastest or timed.p90_ms < fastest[one].p90_ms:
            fastest[one] = timed
    return list(fastest.values()), found


def table(timed: list[Timed]) -> tuple[str, int]:
    """In Markdown, and how many recipes made by hand no point matches."""
    front = [one for one in timed if one.made.made_by == FRONT]
    lines = ["| | validation | p90 ms | kB | runtime | matched by |", "|---|--:|--:|--:|---|---|"]
    worse = 0
    for one in sorted(timed, key=lambda t: (t.made.made_by, -t.p90_ms)):
        matched = ""
        if one.made.made_by == HAND:
            points = [point.made.name for point in front if point.matches(one)]
            worse += not points
            matched = ", ".join(points) or "**none**"
        lines.append(
            f"| {one.made.name} | {one.made.score:.2%} | {one.p90_ms:.4f} "
            f"| {one.size_bytes / 1e3:.1f} | {one.runtime} | {matched} |"
        )
    return "\n".join(lines), worse


def figure(timed: list[Timed]) -> bytes:
    """An SVG file: errors against p90; circles are as large as files."""
    drawing = Figure(figsize=(8, 4.8), layout="constrained")
    axes = drawing.subplots()
    most = max(one.size_bytes for one in timed)
    styles = {"stochastic_gates": "s", "channel_magnitude": "^", "uniform": "D", "its": "P"}
    drawn: set[str] = set()
    for one in timed:
        way = "search" if one.made.made_by == FRONT else one.made.name.split(" ")[0]
        label = {"its": "the recipe's own passes"}.get(way, way)
        axes.scatter(
            [one.p90_ms], [100 * (1 - one.made.score)], s=20 + 180 * one.size_bytes / most,
            marker=styles.get(way, "o"), color="tab:blue" if way == "search" else "none",
            edgecolors="tab:blue" if way == "search" else "tab:orange", alpha=0.8,
            label=None if label in drawn else label,
        )  # fmt: skip
        drawn.add(label)
    axes.set_xlabel("p90, ms (int8, the faster runtime)")
    axes.set_ylabel("errors on validation, %")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    written = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "edgeticket", "svg.fonttype": "none"}):
        drawing.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


def main() -> None:
    """Print the front, and a line for each recipe made by hand."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--out", type=Path, default=Path("runs/search_front"))
    parser.add_argument("--time", help="of the search: 10m")
    parser.add_argument("--data")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train these by hand, and stop")
    parser.add_argument("--search-only", action="store_true", help="search, and stop")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg")
    parser.add_argument("--allow-invalid", action="store_true")
    options = parser.parse_args()
    recipe = read_recipe(ready_file(Path(options.recipe), kind="recipe"), options.overrides)
    hand = options.out / "by_hand"
    network = network_of(
        recipe.model.architecture, size=(1,), args=recipe.model.args, data_folder=Path(),
        progress=QUIET,
    )  # fmt: skip
    recipes = by_hand(recipe, options.budgets, Candidates.of(network).widths)
    if options.only:
        for name in options.only:
            print(carried_out(recipes[name], name, hand, options.data), flush=True)
        return
    began = time.monotonic()
    front = edgeticket.search(
        recipe, on="local", out=options.out / "search", times=options.out / "probes",
        data=options.data, seconds=None if options.time is None else seconds_of(options.time),
        allow_invalid=options.allow_invalid, progress=Bars(open_console(stderr=True)),
    )  # fmt: skip
    print(to_markdown(front))
    print(f"The search took {(time.monotonic() - began) / 60:.1f} minutes.\n", flush=True)
    if options.search_only:
        return
    several = [carried_out(one, name, hand, options.data) for name, one in recipes.items()]
    several += of_front(front, options.out / "search" / f"{recipe.name}-search")
    timed, reports = side_by_side(several, options.out)
    rows, worse = table(timed)
    print(rows)
    valid = all(report.validity.verdict == VALID for report in reports)
    print(f"\n{worse} not matched; the session was {'VALID' if valid else 'INVALID'}")
    write_atomic(
        options.out / "side_by_side.json",
        json.dumps([[*vars(t.made).values(), t.p90_ms, t.size_bytes] for t in timed],
                   default=str, indent=1).encode(),
    )  # fmt: skip
    if options.figure is not None:
        write_atomic(options.figure, figure(timed))


if __name__ == "__main__":
    main()
