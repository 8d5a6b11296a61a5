"""Can the passes of a recipe act on a network? Asked before any of them works for hours.

The network's weights do not matter for that, so it is asked of random ones.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import format_json
from edgeticket.models.network import Network, Takes
from edgeticket.models.own import is_own, own_version
from edgeticket.pipeline.convert.targets import EXPORT_TOOLS, targets_of
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.network.file import new_network
from edgeticket.pipeline.network.finished import model_args
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.quantize import fake_quantized, fold_bn, quantize
from edgeticket.pipeline.recipe import PassConfig, Ptq
from edgeticket.pipeline.run.candidate import TRAINING_TOOLS, Job
from edgeticket.pipeline.run.checks import checked, example_inputs
from edgeticket.pipeline.run.passes import PASSES

RUN_LIMIT_S = 300.0  # of computing, for finding what a pass acts on; then a run is refused

Checked = tuple[PassConfig, Callable[[Network, PassConfig | None], str]]
"""A pass of a recipe, and what tells whether it can act."""


def check_recipe(job: Job) -> None:
    """Refuse a recipe with a pass that its network is not made for, before any work.

    The architectures of this project are tested with every pass; only others are checked.

    Raises:
        InputError: the first pass that cannot act, with the reason.
    """
    model, passes = job.recipe.model, job.recipe.compress
    if not is_own(model.architecture):
        return
    args = model_args(model, folders=job.folders)
    job.store.stage(
        "check",
        functools.partial(
            check_network,
            arch=model.architecture,
            args=args,
            takes=job.data.input_shape,
            passes=[(step, PASSES[step.method].check) for step in passes],
            progress=job.progress,
        ),
        config={
            "model": [model.architecture, dict(args), own_version(model.architecture)],
            "takes": job.data.input_shape,
            "passes": [[step.method, step.layers_in_fp32, step.moves_weights] for step in passes],
        },
        inputs={},
        tools=(*TRAINING_TOOLS, *EXPORT_TOOLS),
    )


def check_network(
    folder: Path,
    resume: Path,
    *,
    arch: str,
    args: Mapping[str, Any],
    takes: Takes,
    passes: Sequence[Checked],
    progress: Progress,
) -> None:
    """Ask every pass, then try to convert; what passes find is written to ``folder``.

    Raises:
        InputError: as `check_recipe`; or the network cannot be converted.
    """
    with progress.task("check the network", len(passes) + 1) as advance:
        network = new_network(arch, args, seed=0, takes=takes)
        answers: dict[str, str] = {}
        for i, (step, check) in enumerate(passes):
            try:
                answers[step.method] = checked(check, network, step, limit_s=RUN_LIMIT_S)
            except InputError as error:
                raise InputError(f"compress.{i} ({step.method}): {error}") from error
            advance(1, "")
        first = next(step for step, _ in passes if step.decides_scales)  # a second goes on with it
        for sentence in conversions(network, keep_fp32=first.layers_in_fp32).values():
            if sentence is not None:
                raise InputError(sentence)
        (folder / "answers.json").write_bytes(format_json(answers))
        advance(1, "")


def exports(
    network: Network, *, keep_fp32: tuple[str, ...] = ()
) -> Mapping[str, Graph | InputError]:
    """fp32 and int8 -> ``network`` as a graph, or why there is none."""
    sources: dict[str, Graph | InputError] = {}
    for precision, make in (("fp32", _export_float), ("int8", _export_int8)):
        try:
            sources[precision] = make(network, keep_fp32)
        except InputError as error:
            sources[precision] = error
        _give_memory_back()
    return sources


def conversions(
    network: Network,
    *,
    keep_fp32: tuple[str, ...] = (),
    sources: Mapping[str, Graph | InputError] | None = None,
) -> dict[str, str | None]:
    """Every kind of file -> None, or one sentence that says why the network cannot become it.

    Args:
        network: whose weights do not matter.
        keep_fp32: layers to compute in float32.
        sources: what `exports` gave, where that was done before.
    """
    sources = sources or exports(network, keep_fp32=keep_fp32)
    obstacles: dict[str, str | None] = {}
    for kind, target in {**targets_of("fp32"), **targets_of("int8")}.items():
        source = sources[target.precision]
        try:
            if isinstance(source, InputError):
                raise source
            target.convert(source)
            obstacles[kind] = None
        except InputError as error:
            obstacles[kind] = str(error)
    return obstacles


def _give_memory_back() -> None:
    """What was exported from refers to itself, and has all weights; what is freed stays with us.

    Of a network of 29 million weights it is 200 MB, at the moment that needs most.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library than GNU's has no such
        ctypes.CDLL(None).malloc_trim(0)


def _export_float(network: Network, keep_fp32: tuple[str, ...]) -> Graph:
    module = network.module(shared=True)
    return export(fold_bn(module, network.input_shapes, shared=True), shared=True)


def _export_int8(network: Network, keep_fp32: tuple[str, ...]) -> Graph:
    module, inputs = network.module(shared=True), example_inputs(network)
    done = quantize(module, [inputs], Ptq(method="ptq", keep_fp32=keep_fp32))
    return export(fake_quantized(done.folded, done.scales), shared=True)
