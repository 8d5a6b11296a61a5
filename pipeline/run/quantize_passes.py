"""The passes that decide the int8 scales: `ptq` finds them, `qat` trains with them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.graph.batches import Batch, split
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.quantize import (
    Quantized,
    fake_quantized,
    find_doubts,
    fold_bn,
    quantize,
)
from edgeticket.pipeline.quantize.qat import finish, fixed, freeze, moving, range_rates, settle
from edgeticket.pipeline.quantize.write_back import (
    expect_unfoldable,
    origin_of,
    stuck_layers,
    unfold,
)
from edgeticket.pipeline.recipe import Ptq, Qat
from edgeticket.pipeline.run.candidate import Candidate, PassResult
from edgeticket.pipeline.train import batch_of, compare, to_torch, train

SHOWN = 5  # warnings that are printed; the log has all


def calibration_batches(data: Dataset) -> list[Batch]:
    """The calibration set as networks take it: float32 [n, C, H, W], or a tensor for each input."""
    inputs = data.calibration.queries()
    shapes = inputs.shapes if isinstance(inputs, Tensors) else (inputs.shape[1:],)
    at_a_time = min(batch_of(shape, most=100) for shape in shapes)
    return split(to_torch(inputs, data.preprocessing), at_a_time)


def quantize_after_training(
    before: Candidate,
    data: Dataset,
    cfg: Ptq,
    *,
    seed: int,
    resume: Path,
    progress: Progress,
) -> PassResult:
    """Decide scales, and with them the weights where ``cfg`` lets them move."""
    network = before.network
    if cfg.moves_weights:
        expect_unfoldable(network)
    done = quantize(network.module(), calibration_batches(data), cfg)
    after = unfold(network, done.folded) if cfg.moves_weights else network
    return _judged(before, after, done, data, progress)


def quantize_while_training(
    before: Candidate,
    data: Dataset,
    cfg: Qat,
    *,
    seed: int,
    resume: Path,
    progress: Progress,
) -> PassResult:
    """Train with rounding: first with ranges that move, then with the scales that are exported.

    Args:
        before: the network to start from, the mask of weights that stay zero, and the scales to
            start from; without scales it calibrates.
        data: its training split is trained on.
        cfg: see `Qat`.
        seed: decides order and augmentation.
        resume: a folder for the state files of an interrupted run.
        progress: shows how far it is, and warnings.
    """
    network, mask = before.network, before.mask
    stuck = stuck_layers(network)
    if stuck:
        progress.say(
            "these layers stay as they are, because the network computes their weights, or makes "
            f"them of several of its parts: {', '.join(sorted(stuck))}"
        )
    if before.scales is None:
        start = quantize(network.module(), calibration_batches(data), cfg.calibration())
    else:
        start = Quantized(fold_bn(network.module(), network.input_shapes), before.scales)
    names = _names(network, start)
    folded_mask = None
    if mask is not None:
        folded_mask = Mask({n: kept for of, kept in mask.tensors.items() for n in names[of]})
    fit = functools.partial(
        train,
        split=data.train,
        preprocessing=data.preprocessing,
        seed=seed,
        mask=folded_mask,
        progress=progress,
    )
    epochs = cfg.train.epochs
    freeze_at = min(round(epochs * cfg.freeze_ranges_at), epochs - 1)
    if freeze_at:
        module = freeze(moving(start, cfg), stuck)
        fit(
            module,
            cfg=cfg.train,
            epochs=range(freeze_at),
            adam_lr=range_rates(module, cfg),
            resume=resume / "moving.pt",
            title="train with int8 rounding",
        )
        start = settle(module, start)
    module = freeze(fixed(start), stuck)
    fit(
        module,
        cfg=cfg.train.model_copy(update={"precision": "fp32"}),
        epochs=range(freeze_at, epochs),
        resume=resume / "fixed.pt",
        title="train with the final scales",
    )
    done = finish(module, start)
    return _judged(before, unfold(network, done.folded), done, data, progress)


def _names(network: Network, start: Quantized) -> dict[str, list[str]]:
    """Weight of the network -> the parameters that train it; of recurrent layers one a step."""
    folded = fold_bn(network.module(), network.input_shapes)
    nodes = {node.name: node for node in folded.graph.nodes}
    names: dict[str, list[str]] = {}
    places = [(name, f"{name}.layer.weight") for name in start.scales.weights]
    places += [(name, f"{name}.weight") for name in start.scales.fp32]
    for name, place in places:
        weight = f"{origin_of(folded, name).module}.weight"
        if weight not in network.weights:
            weight = nodes[name].meta["operator"].inputs[1]
        names.setdefault(weight, []).append(place)
    return names


def _judged(
    before: Candidate, after: Network, done: Quantized, data: Dataset, progress: Progress
) -> PassResult:
    """Measure on the validation set what int8 costs, and show what looks wrong."""
    warnings = find_doubts(done.folded, done.scales, calibration_batches(data))
    for sentence in warnings[:SHOWN]:
        progress.say(f"  {sentence}")
    if len(warnings) > SHOWN:
        progress.say(
            f"  and {len(warnings) - SHOWN} more warnings: summary.json has them all, under steps"
        )
    rounded = fake_quantized(done.folded, done.scales)
    validation, preprocessing = data.validation, data.preprocessing
    real = before.network.module()
    compared = compare(rounded, real, validation, preprocessing=preprocessing)
    if compared.agreement is None:
        judged: dict[str, Any] = {"validation_sqnr_db": compared.sqnr_db}
    else:
        int8 = compared.first.logged("_int8")
        judged = {**int8, "validation_agreement": compared.agreement}
    facts = {"calibration_examples": len(data.calibration), **judged, "warnings": warnings}
    return PassResult(after, before.mask, done.scales, facts)
