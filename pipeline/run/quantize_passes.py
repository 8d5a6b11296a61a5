"""The passes that decide the int8 scales: `ptq` finds them, `qat` trains with them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
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
    diagnose,
    fake_quantized,
    fold_bn,
    quantize,
)
from edgeticket.pipeline.quantize.destinations import Destination, destinations
from edgeticket.pipeline.quantize.joins import requantised
from edgeticket.pipeline.quantize.qat import finish, fixed, freeze, moving, range_rates, settle
from edgeticket.pipeline.quantize.write_back import stuck_layers, written_back
from edgeticket.pipeline.recipe import Ptq, Qat
from edgeticket.pipeline.run.candidate import Candidate, PassResult
from edgeticket.pipeline.run.mixed_precision import keep_fewest
from edgeticket.pipeline.task import nothing, task_of
from edgeticket.pipeline.train import batch_of, compare, to_torch, train
from edgeticket.pipeline.train.fidelity import Fidelity

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
    stuck = _stuck(network, progress) if cfg.moves_weights else frozenset()
    batches = calibration_batches(data)
    facts: Mapping[str, Any] = {}
    if cfg.max_drop is None:
        done = quantize(network.module(), batches, cfg, frozen=stuck)
    else:
        mixed = keep_fewest(
            before, data, batches, cfg, frozen=stuck, resume=resume, progress=progress
        )
        done, facts = mixed.done, mixed.facts
    after = written_back(network, done.folded) if cfg.moves_weights else network
    return _judged(before, after, done, data, progress, facts=facts)


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
        data: its training split is trained on; where nothing is known to be right, that or the
            calibration set, whichever has more examples, and to the float32 outputs.
        cfg: see `Qat`.
        seed: decides order and augmentation.
        resume: a folder for the state files of an interrupted run.
        progress: shows how far it is, and warnings.
    """
    network, mask = before.network, before.mask
    stuck = _stuck(network, progress)
    if before.scales is None:
        start = quantize(network.module(), calibration_batches(data), cfg.calibration())
    else:
        folded = fold_bn(network.module(), network.input_shapes)
        start = Quantized(requantised(folded, before.scales.weights), before.scales)
    folded_mask = _of_layers(mask, network, start) if mask else None
    loss, examples = None, data.train
    if task_of(examples) is nothing.TASK:
        loss = Fidelity(network.module())
        examples = max(examples, data.calibration, key=len)
    fit = functools.partial(
        train,
        split=examples,
        loss=loss,
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
    return _judged(before, written_back(network, done.folded), done, data, progress, facts={})


def _stuck(network: Network, progress: Progress) -> frozenset[str]:
    """The layers that keep their weights, which is said."""
    stuck = stuck_layers(network)
    if stuck:
        progress.say(
            "these layers stay as they are, because the network computes their weights, or makes "
            f"them of several of its parts: {', '.join(sorted(stuck))}"
        )
    return stuck


def _of_layers(mask: Mask, network: Network, start: Quantized) -> Mask:
    """The mask of a network's weights -> that of the parameters that are trained."""
    module = network.module()
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    tensors = {}
    for layer, place in destinations(module, fold_bn(module, network.input_shapes)).items():
        if isinstance(place, Destination):
            for name in names.get(id(place.weight), []):
                if name in mask.tensors:
                    path = f"{layer}.layer" if layer in start.scales.weights else layer
                    tensors[f"{path}.weight"] = place.spread(mask.tensors[name])
    return Mask(tensors)


def _judged(
    before: Candidate,
    after: Network,
    done: Quantized,
    data: Dataset,
    progress: Progress,
    *,
    facts: Mapping[str, Any],
) -> PassResult:
    """Measure on the validation set what int8 costs, and show what looks wrong."""
    warnings = diagnose(done.folded, done.scales, calibration_batches(data))
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
    facts = {
        "calibration_examples": len(data.calibration),
        **judged,
        "warnings": warnings,
        **facts,
    }
    return PassResult(after, before.mask, done.scales, facts)
