"""Post-training quantisation: the steps of a `ptq` pass, in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import fx, nn

from edgeticket.pipeline.graph.batches import Batch, size_of, takes_of
from edgeticket.pipeline.quantize.calibration import calibrate
from edgeticket.pipeline.quantize.equalise import equalise
from edgeticket.pipeline.quantize.fold import fold_bn
from edgeticket.pipeline.quantize.joins import inserted_steps, requantised
from edgeticket.pipeline.quantize.reconstruct import reconstruct
from edgeticket.pipeline.quantize.scales import Scales
from edgeticket.pipeline.recipe import Ptq


@dataclass(frozen=True)
class Quantized:
    """A folded network with the weights that int8 files are made of, and its scales."""

    folded: fx.GraphModule
    scales: Scales


def quantize(
    module: nn.Module, inputs: Sequence[Batch], cfg: Ptq, *, frozen: Collection[str] = ()
) -> Quantized:
    """Float network and preprocessed batches -> weights and scales; see `calibrate`.

    Args:
        frozen: layers whose weights stay, whatever ``cfg`` moves (`stuck_layers`).
    """
    takes = next((takes_of(batch) for batch in inputs if size_of(batch)), ())
    folded = fold_bn(module, takes)
    if cfg.equalise:
        equalise(folded, frozen)
    scales = calibrate(folded, inputs, cfg)
    folded = requantised(folded, scales.weights)
    if cfg.rounding != "nearest" or cfg.bias_correction:
        folded, _ = reconstruct(folded, scales, inputs, cfg, {*frozen, *inserted_steps(folded)})
    return Quantized(folded, scales)
