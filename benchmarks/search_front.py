"""Is the front of a search at least as good as recipes made by hand, at equal epochs?

    python benchmarks/search_front.py

Searches on a recipe (the demo), then carries out its own passes and three ways of choosing channels
at six budgets, each with as many epochs in all, and holds every one against the points of the
front: is there a point that is at least as good in the metric on validation, in p90 and in bytes?
All are measured by the runner on this machine, the fastest int8 file counts. Exit code 1 if one is
not matched.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import edgeticket
from edgeticket.device_runner.report import read_report
from edgeticket.device_runner.strict_json import flat_fields
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.inspect.subject import network_of
from edgeticket.pipeline.progress import QUIET, Bars
from edgeticket.pipeline.recipe import Recipe, check, read_recipe
from edgeticket.pipeline.recipe.ready import ready_file
from edgeticket.pipeline.search.candidates import Candidates
from edgeticket.pipeline.search.front_file import to_markdown
from edgeticket.pipeline.search.halving import epochs_of, training_of
from edgeticket.pipeline.search.structure import uniform
from edgeticket.pipeline.text import open_console

BUDGETS = (0.7, 0.5, 0.35, 0.25, 0.15, 0.08)  # of the multiply-accumulates
GATES = 1 / 3  # of all epochs, in which gates are learnt


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
            recipes[f"{way} {budget:g}"] = check(Recipe, document, place=way)
    return recipes


def measured(recipe: Recipe, out: Path, data: str | None) -> tuple[float, float, int]:
    """Score on validation in int8, p90 in ms and bytes of the fastest int8 file."""
    summary = edgeticket.run(recipe, out=out, data=data, progress=QUIET)
    entry = flat_fields(summary.steps[-1])
    score = next(v for k, v in entry.items() if k.startswith("validation_") and k.endswith("_int8"))
    files = []
    for file in (out / recipe.name / "reports").glob("*.json"):
        report = read_report(file)
        p90 = report.latency.p90_ns
        if report.artifact.precision == "int8" and not isinstance(p90, Unavailable):
            files.append((p90 / 1e6, report.artifact.size_bytes))
    return float(score), *min(files)


def main() -> int:
    """Print the front, and a line for each recipe made by hand."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--out", type=Path, default=Path("runs/search_front"))
    parser.add_argument("--data")
    parser.add_argument("--allow-invalid", action="store_true")
    options = parser.parse_args()
    recipe = read_recipe(ready_file(Path(options.recipe), kind="recipe"), options.overrides)
    front = edgeticket.search(
        recipe, on="local", out=options.out, times=options.out / "probes", data=options.data,
        allow_invalid=options.allow_invalid, progress=Bars(open_console(stderr=True)),
    )  # fmt: skip
    print(to_markdown(front))
    network = network_of(
        recipe.model.architecture, size=(1,), args=recipe.model.args, data_folder=Path(),
        progress=QUIET,
    )  # fmt: skip
    worse = 0
    print("| by hand | validation | p90 ms | kB | matched by |\n|---|--:|--:|--:|---|")
    for name, one in by_hand(recipe, options.budgets, Candidates.of(network).widths).items():
        score, p90_ms, size = measured(one, options.out, options.data)
        matches = [
            p.name
            for p in front.points
            if (p.score or 0) >= score and p.p90_ms <= p90_ms and p.size_bytes <= size
        ]
        worse += not matches
        print(f"| {name} | {score:.2%} | {p90_ms:.3f} | {size / 1e3:.1f} | {', '.join(matches)} |")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
