"""How good are predicted latencies? Random structures, predicted and measured as wholes.

    python benchmarks/prediction.py                                  # all three networks, 30 each
    python benchmarks/prediction.py --networks resnet20 --structures 5 --allow-invalid

Structures have a random share of every group of channels, in steps of --quantum. Steps and whole
networks are timed interleaved on the target. The model is fitted to the whole network and to three
uniform cuts of it, as `edgeticket predict` does; the random structures are no part of that. Prints,
for each runtime and precision, Spearman's rank correlation between predicted and measured times,
and the median and largest error, relative to what was measured.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from edgeticket.models.imported import look_in
from edgeticket.models.network import Network
from edgeticket.pipeline.devices.fleet import make_device
from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.search.additive import Floats
from edgeticket.pipeline.search.candidates import Candidates
from edgeticket.pipeline.search.predict import ANCHORS, BEFORE, Case, Files, case_of
from edgeticket.pipeline.search.probing import Asked, Times, time_files
from edgeticket.pipeline.search.structure import Structure, drawn_structure, uniform
from edgeticket.pipeline.text import open_console

NETWORKS = {
    "resnet20": ("resnet20", ()),
    "resnet56": ("resnet56", ()),
    "mobilenet_v2": ("torchvision:mobilenet_v2", (3, 96, 96)),
    "encoded_bilinear": ("import:networks:encoded_bilinear", (3, 64, 64)),  # a segmenter
}
DEFAULT = ("resnet56", "mobilenet_v2", "encoded_bilinear")


def main() -> None:
    """Measure, predict, print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=DEFAULT)
    parser.add_argument("--structures", type=int, default=30)
    parser.add_argument("--quantum", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--on", default="local", metavar="TARGET")
    parser.add_argument("--times", type=Path, default=Path("runs/.probes"))
    parser.add_argument("--runtimes", nargs="+", default=["ort", "tflite"])
    parser.add_argument("--precisions", nargs="+", default=["int8", "fp32"])
    parser.add_argument("--no-amx", action="store_true")
    parser.add_argument("--allow-invalid", action="store_true")
    parser.add_argument("--json", type=Path, help="every structure's times, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    look_in((Path(__file__).parent,))
    asked = Asked(given.times, amx=not given.no_amx, allow_invalid=given.allow_invalid)
    print(HEADING)
    found = []
    for name in given.networks:
        arch, takes = NETWORKS[name]
        candidates = Candidates.of(Network.fresh(arch, {}, seed=0, takes=takes))
        structures = drawn(candidates, given.structures, seed=given.seed, quantum=given.quantum)
        cases = [
            case_of(runtime, precision, graphs)
            for precision in given.precisions
            for graphs in [{n: candidates.graph(precision, s) for n, s in structures.items()}]
            for runtime in given.runtimes
        ]
        files = Files(cases)
        began = time.monotonic()
        with Bars(open_console(stderr=True)).task(f"probes of {name}", 1) as advance:
            times = time_files(
                make_device(given.on), files.plan, asked, runtimes=given.runtimes,
                tell=lambda line, advance=advance: advance(0, line),  # type: ignore[misc]
            )  # fmt: skip
        probing_s = time.monotonic() - began
        for case in cases:
            found.append(judged(name, case, files, times, probing_s))
            print(row(found[-1]), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1))


def drawn(candidates: Candidates, count: int, *, seed: int, quantum: int) -> dict[str, Structure]:
    """The whole network, the uniform cuts that the model is fitted to, and random structures."""
    widths = candidates.widths
    structures = {BEFORE: Structure()}
    structures |= {f"{share:.0%}": uniform(widths, share, quantum=quantum) for share in ANCHORS}
    return structures | {
        f"random {i}": drawn_structure(widths, seed=seed + i, quantum=quantum) for i in range(count)
    }


def judged(
    network: str, case: Case, files: Files, times: Times, probing_s: float
) -> dict[str, object]:
    """Predicted against measured, of one runtime and precision."""
    anchors = [name for name in case.graphs if not name.startswith("random")]
    model = files.model(case, times, anchors)
    names = [name for name in case.graphs if name.startswith("random")]
    measured = np.array([files.whole_ns(case, name, times) for name in names], np.float64)
    predicted = np.array([model.predict(case.graphs[n], case.steps[n]) for n in names])
    errors = np.abs(predicted / measured - 1)
    return {
        "network": network,
        "runtime": case.runtime,
        "precision": case.precision,
        "structures": len(names),
        "spearman": spearman(predicted, measured),
        "median_error": float(np.median(errors)),
        "largest_error": float(errors.max()),
        "measured_ns": measured.tolist(),
        "predicted_ns": predicted.tolist(),
        "files": times.measured,
        "known": times.known,
        "probing_s": probing_s,
        "valid": not times.doubts,
        "step_overhead_ns": model.step_overhead_ns,
        "weight_byte_ns": model.weight_byte_ns,
    }


def spearman(left: Floats, right: Floats) -> float:
    """The correlation of ranks; times are never quite equal."""
    ranks = [np.argsort(np.argsort(values)) for values in (left, right)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


HEADING = (
    "| network | runtime | precision | structures | ms | Spearman | median error | largest | "
    "files timed | probing s | |\n|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|"
)


def row(found: dict[str, object]) -> str:
    """One line of the table."""
    measured = np.array(found["measured_ns"]) / 1e6
    return (
        f"| {found['network']} | {found['runtime']} | {found['precision']} | {found['structures']} "
        f"| {measured.min():.2f}–{measured.max():.2f} | {found['spearman']:.3f} "
        f"| {found['median_error']:.1%} | {found['largest_error']:.1%} | {found['files']} "
        f"| {found['probing_s']:.0f} | {'VALID' if found['valid'] else 'not VALID: fastest'} |"
    )


if __name__ == "__main__":
    main()
