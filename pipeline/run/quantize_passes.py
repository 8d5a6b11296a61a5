"""The passes that decide the int8 scales: `ptq` finds them, `qat` trains with them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.quantize import (
    Quantized,
    Scales,
    fake_quantized,
    find_doubts,
    fold_bn,
    quantize,
)
from edgeticket.pipeline.quantize.qat import finish, fixed, moving, range_rates, settle
from edgeticket.pipeline.quantize.write_back import expect_unfoldable, origin_of, unfold
from edgeticket.pipeline.recipe import Pass, Ptq, Qat
from edgeticket.pipeline.train import batch_of, evaluate, to_torch, train

SHOWN = 5  # warnings that are printed; the log has all


@dataclass(frozen=True)
class Int8:
    """What a pass leaves: a network whose folding has the weights, the scales, and the facts."""

    network: Network
    scales: Scales
    facts: Mapping[str, Any]


def calibration_batches(data: Dataset) -> list[Tensor]:
    """The calibration set as networks take it: float32 [n, C, H, W]."""
    inputs = data.calibration.queries()
    at_a_time = batch_of(inputs.shape[1:], most=100)
    return list(torch.split(to_torch(inputs, data.preprocessing), at_a_time))


def post_training(network: Network, data: Dataset, cfg: Ptq, progress: Progress) -> Int8:
    """Decide scales, and with them the weights where ``cfg`` lets them move."""
    if moves_weights(cfg):
        expect_unfoldable(network)
    done = quantize(network.module(), calibration_batches(data), cfg)
    made = unfold(network, done.folded) if moves_weights(cfg) else network
    return _made(made, network, done, data, progress)


def moves_weights(step: Pass) -> bool:
    """Whether a pass gives the folded layers new weights, which the network must take back."""
    if isinstance(step, Ptq):
        return step.equalise or step.bias_correction or step.rounding != "nearest"
    return isinstance(step, Qat)


def aware_training(
    network: Network,
    mask: Mask | None,
    scales: Scales | None,
    data: Dataset,
    cfg: Qat,
    *,
    seed: int,
    resume: Path,
    progress: Progress,
) -> Int8:
    """Train with rounding: first with ranges that move, then with the scales that are exported.

    Args:
        network: what to start from.
        mask: of weights that stay zero.
        scales: to start from; None calibrates (`mse`).
        data: its training split is trained on.
        cfg: see `Qat`.
        seed: decides order and augmentation.
        resume: a folder for the state files of an interrupted run.
        progress: shows how far it is, and doubts.
    """
    expect_unfoldable(network)
    if scales is None:
        first = Ptq(method="ptq", ranges="mse", keep_fp32=cfg.keep_fp32)
        start = quantize(network.module(), calibration_batches(data), first)
    else:
        start = Quantized(fold_bn(network.module(), network.input_shape), scales)
    names = _names(network, start)
    folded_mask = Mask({names[n]: kept for n, kept in mask.tensors.items()}) if mask else None
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
        module = moving(start, cfg)
        fit(
            module,
            cfg=cfg.train,
            epochs=range(freeze_at),
            adam_lr=range_rates(module, cfg),
            resume=resume / "moving.pt",
            title="train with int8 rounding",
        )
        start = settle(module, start)
    module = fixed(start)
    fit(
        module,
        cfg=cfg.train.model_copy(update={"precision": "fp32"}),
        epochs=range(freeze_at, epochs),
        resume=resume / "fixed.pt",
        title="train with the final scales",
    )
    done = finish(module, start)
    return _made(unfold(network, done.folded), network, done, data, progress)


def _names(network: Network, start: Quantized) -> dict[str, str]:
    """Weight of the network -> the parameter that trains it."""
    folded = fold_bn(network.module(), network.input_shape)
    return {
        f"{origin_of(folded, name).module}.weight": f"{name}.layer.weight"
        for name in start.scales.weights
    } | {f"{origin_of(folded, name).module}.weight": f"{name}.weight" for name in start.scales.fp32}


def _made(
    network: Network, before: Network, done: Quantized, data: Dataset, progress: Progress
) -> Int8:
    """Measure on the validation set what int8 costs, and say what looks wrong."""
    doubts = find_doubts(done.folded, done.scales, calibration_batches(data))
    for sentence in doubts[:SHOWN]:
        progress.say(f"  {sentence}")
    if len(doubts) > SHOWN:
        progress.say(f"  and {len(doubts) - SHOWN} more warnings in the log")
    rounded = fake_quantized(done.folded, done.scales)
    validation, preprocessing = data.validation, data.preprocessing
    int8 = evaluate(rounded, validation, preprocessing=preprocessing)
    real = evaluate(before.module(), validation, preprocessing=preprocessing)
    facts = {
        "calibration_examples": len(data.calibration),
        **int8.logged("_int8"),
        "validation_agreement": float((int8.predictions == real.predictions).mean()),
        "warnings": doubts,
    }
    return Int8(network, done.scales, facts)
