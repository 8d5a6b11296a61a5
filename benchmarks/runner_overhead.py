"""What the instrument adds: the runner's p50 against a bare loop around the same runtime.

    python benchmarks/runner_overhead.py BUNDLE

The bare loop is what anyone would write first: ``session.run(None, {name: x})`` for ort and
``set_tensor``, ``invoke``, ``get_tensor`` for tflite, in sessions of their own. Runner and bare
loop take turns of 0.1 s, so that drift of the machine hits both. The goal is within 3 %.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.latency import REWARM_NS, WINDOW_NS, measure
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.preprocess import preprocess, to_tensor
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.subjects import CYCLED_INPUTS

Run = Callable[[Any], Any]


def main() -> None:
    """Print one line per artifact: both medians and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="bundle folder or .zip")
    parser.add_argument("--rounds", type=int, default=30, help="turns each (default: 30)")
    parser.add_argument("--threads", type=int, default=1, help="within one inference (default: 1)")
    options = parser.parse_args()
    print(f"{'artifact':32} {'bare us':>10} {'runner us':>10} {'ratio':>8}")
    with open_bundle(options.bundle) as bundle:
        samples, _ = bundle.samples()
        values = preprocess(samples[:CYCLED_INPUTS], bundle.manifest.preprocessing)
        for artifact in select(bundle.manifest).chosen:
            tensor = to_tensor(values, artifact.input)
            inputs = [tensor[i : i + 1] for i in range(len(tensor))]
            model = bundle.read(artifact.file)
            load = get_runtime(artifact.runtime).load
            session = load(model, threads=options.threads, place=artifact.id)
            bare = BARE[artifact.runtime](model, artifact, options.threads)
            ours, theirs = compare(session.run, bare, inputs, rounds=options.rounds)
            print(
                f"{artifact.id:32} {theirs / 1e3:10.1f} {ours / 1e3:10.1f} {ours / theirs:8.3f}",
                flush=True,
            )


def compare(run: Run, bare: Run, inputs: Sequence[Any], *, rounds: int) -> tuple[float, float]:
    """Median nanoseconds of a query by the runner and by the bare loop."""
    ours: list[int] = []
    theirs: list[int] = []
    for turn in range(rounds):
        for which in ("ours", "theirs") if turn % 2 else ("theirs", "ours"):
            if which == "ours":
                (found,) = measure([(run, inputs)], min_seconds=0, min_queries=1, warmup_seconds=0)
                ours += found.samples_ns
            else:
                theirs += bare_window(bare, inputs)
    return statistics.median(ours), statistics.median(theirs)


def bare_window(bare: Run, inputs: Sequence[Any]) -> list[int]:
    """Untimed queries, then timed ones, for as long as the runner takes."""
    times = []
    start = perf_counter_ns()
    gc.disable()  # a collection is no part of the runtime's time
    for x in itertools.cycle(inputs):
        before = perf_counter_ns()
        bare(x)
        after = perf_counter_ns()
        if after - start > REWARM_NS:
            times.append(after - before)
        if after - start > REWARM_NS + WINDOW_NS:
            break
    gc.enable()
    return times


def bare_ort(model: bytes, artifact: Artifact, threads: int) -> Run:
    """The plain call of onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = artifact.input.name
    return lambda x: session.run(None, {name: x})[0]


def bare_tflite(model: bytes, artifact: Artifact, threads: int) -> Run:
    """The plain calls of the interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]

    def run(x: Any) -> Any:
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


BARE: dict[str, Callable[[bytes, Artifact, int], Run]] = {"ort": bare_ort, "tflite": bare_tflite}

if __name__ == "__main__":
    main()
