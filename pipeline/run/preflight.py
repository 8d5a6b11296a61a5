"""Can the passes of a recipe act on a network? Asked before any of them works for hours.

The network's weights do not matter for that, so it is asked of random ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import torch

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import format_json
from edgeticket.models.network import Network
from edgeticket.models.own import is_own, own_version
from edgeticket.pipeline.convert import CONVERTERS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.network.file import new_network
from edgeticket.pipeline.onnx_import import model_args
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.mask import channel_mask
from edgeticket.pipeline.prune.shrink import slim
from edgeticket.pipeline.quantize import fake_quantized, fold_bn, quantize
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.quantize.write_back import expect_unfoldable
from edgeticket.pipeline.recipe import (
    PASSES,
    ChannelTicket,
    Config,
    Finetune,
    Pass,
    Ptq,
    Qat,
    ResidualBlocks,
    WeightTicket,
)
from edgeticket.pipeline.run.artifacts import EXPORT_TOOLS, FP32, INT8
from edgeticket.pipeline.run.candidate import TRAINING_TOOLS, Job
from edgeticket.pipeline.run.quantize_passes import moves_weights
from edgeticket.pipeline.tickets.prunable import prunable

EXAMPLES = 4  # random inputs


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

    def write(folder: Path, resume: Path) -> None:
        with job.progress.task("check the network", len(passes) + 1) as advance:
            network = new_network(model.architecture, args, seed=0, takes=job.data.input_shape)
            told: dict[str, str] = {}
            for i, step in enumerate(passes):
                try:
                    told[step.method] = can_act(step, network)
                except InputError as error:
                    raise InputError(f"compress.{i} ({step.method}): {error}") from error
                advance(1, "")
            keep_fp32 = next(s.keep_fp32 for s in reversed(passes) if hasattr(s, "keep_fp32"))
            for sentence in conversions(network, keep_fp32=keep_fp32).values():
                if sentence is not None:
                    raise InputError(sentence)
            (folder / "told.json").write_bytes(format_json(told))
            advance(1, "")

    job.store.stage(
        "check",
        write,
        config={
            "model": [model.architecture, dict(args), own_version(model.architecture)],
            "takes": job.data.input_shape,
            "passes": [
                [step.method, getattr(step, "keep_fp32", None), moves_weights(step)]
                for step in passes
            ],
        },
        inputs={},
        code=[
            "edgeticket.pipeline.prune.channels",
            "edgeticket.pipeline.convert",
            "edgeticket.pipeline.quantize",
            "edgeticket.pipeline.prune.shrink",
        ],
        glue=(__name__,),
        tools=(*TRAINING_TOOLS, *EXPORT_TOOLS),
    )


def can_act(step: Pass, network: Network) -> str:
    """What a pass finds to work on in ``network``, in a few words.

    Raises:
        InputError: nothing, with the reason.
    """
    if isinstance(step, Ptq | Qat):
        if moves_weights(step):
            expect_unfoldable(network)
        return _rounded(network, step.keep_fp32)
    return CHECKS[step.method](network)


def conversions(network: Network, *, keep_fp32: tuple[str, ...] = ()) -> dict[str, str | None]:
    """Every kind of file -> None, or one sentence that says why the network cannot become it."""
    module = fold_bn(network.module(), network.input_shape)
    inputs = example_inputs(network)
    cfg = Ptq(method="ptq", keep_fp32=keep_fp32)
    found: dict[str, str | None] = {}
    sources: dict[str, Graph | InputError] = {}
    for name in ("fp32", "int8"):
        try:
            if name == "fp32":
                sources[name] = export(module)
            else:
                rounded = fake_quantized(module, quantize(module, [inputs], cfg).scales)
                sources[name] = export(rounded)
        except InputError as error:
            sources[name] = error
    for kind in (*FP32, *INT8):
        source = sources["int8" if kind in INT8 else "fp32"]
        try:
            if isinstance(source, InputError):
                raise source
            CONVERTERS[kind](source)
            found[kind] = None
        except InputError as error:
            found[kind] = str(error)
    return found


def example_inputs(network: Network) -> torch.Tensor:
    """Random inputs, as networks take them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(EXAMPLES, *network.input_shape, generator=generator)


def _channels(network: Network) -> str:
    """Half of the channels of every group are removed for a try."""
    module = network.module()
    try:
        groups = find_groups(module, network.input_shape)
    except InputError:
        raise
    except Exception as error:  # whatever torch-pruning meets in a network that it cannot follow
        told = str(error).partition("\n")[0]
        raise InputError(
            f"torch-pruning cannot follow {network.arch} ({type(error).__name__}: {told}); use a "
            "pass that prunes single weights, or none"
        ) from None
    if not groups:
        raise InputError(f"{network.arch} has no channels that can be removed")
    half = [torch.arange(group.width) % 2 == 0 for group in groups]
    mask = channel_mask(module, groups, half)
    narrow = slim(network, mask)
    inputs = example_inputs(network)
    try:
        with torch.no_grad():
            left, masked = narrow.module()(inputs), mask.apply(network).module()(inputs)
        same = torch.allclose(left, masked, rtol=1e-3, atol=1e-4)
    except (RuntimeError, ValueError, IndexError):
        same = False
    if not same:
        raise InputError(
            f"{network.arch} is not the same function without channels that are zero: it counts "
            "them somewhere in its forward; use sizes of tensors there, or no pass that removes "
            "channels"
        )
    return f"{sum(g.width for g in groups):,} channels in {len(groups)} groups can go"


def _blocks(network: Network) -> str:
    blocks = models.removable_blocks(network.module())
    if not blocks:
        raise InputError(
            f"{network.arch} has no residual blocks that can be removed: a block says so by an "
            "attribute `removable`"
        )
    return f"{len(blocks)} residual blocks can go"


def _weights(network: Network) -> str:
    weights = prunable(network.module())
    return f"{sum(w.numel() for w in weights.values()):,} weights of {len(weights)} layers can go"


def _all(network: Network) -> str:
    return "trains all weights"


def _rounded(network: Network, keep_fp32: tuple[str, ...] = ()) -> str:
    folded = fold_bn(network.module(), network.input_shape)
    placement = place(folded, keep_fp32=keep_fp32)
    real = f", {len(placement.fp32)} stay in float32" * bool(placement.fp32)
    return f"{len(placement.int8)} layers become int8{real}"


def _check(kind: type[Config]) -> Callable[[Network], str]:
    for wanted, check in (
        (ChannelTicket, _channels),
        (ResidualBlocks, _blocks),
        (WeightTicket, _weights),
        (Finetune, _all),
    ):
        if issubclass(kind, wanted):
            return check
    return _rounded


# By method.
CHECKS: Mapping[str, Callable[[Network], str]] = {
    get_args(kind.model_fields["method"].annotation)[0]: _check(kind) for kind in PASSES
}
