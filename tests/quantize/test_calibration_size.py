"""How many examples calibration needs: with few numbers the tails of an input are clipped."""

from __future__ import annotations

import torch
from torch import nn

from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq

WIDTH = 32


def test_few_examples_clip_and_many_do_not() -> None:
    """The error of a vector network is that of clipping: small on what was calibrated with."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 4)).eval()
    folded = fold_bn(network, (WIDTH,))
    examples = torch.randn(500, WIDTH)
    others = examples[300:]

    def ratio_db(count: int, inputs: torch.Tensor) -> float:
        scales = calibrate(folded, torch.split(examples[:count], 1), Ptq(method="ptq"))
        rounding = fake_quantized(folded, scales).eval()
        with torch.no_grad():
            right, given = network(inputs), rounding(inputs)
        noise = ((given - right) ** 2).sum()
        return float(10 * torch.log10((right**2).sum() / noise))

    few, many = ratio_db(8, others), ratio_db(300, others)
    assert many > 30
    assert few < many - 6
    assert ratio_db(8, examples[:8]) > 30  # nothing of these is clipped
