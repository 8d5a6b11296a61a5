"""Round each weight of a layer up or down so that the layer's output changes least."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeticket.pipeline.quantize.scales import WEIGHT_HIGHEST

# Share of the mean square input that is added to all of them: where few examples say nothing,
# the nearest code stays the best.
DAMPING = 0.01


def round_rows(rows: Tensor, scales: Tensor, squares: Tensor, products: Tensor) -> Tensor:
    """Weights [outputs, K] -> the same on codes, each next to its weight, below or above.

    For each row r the mean squared error E(r·x − y)² = r·E[xxᵀ]·r − 2 r·E[yx] + const is a
    quadratic function of binary choices: Nagel et al., "Up or Down? Adaptive Rounding for
    Post-Training Quantization" (2020), eq. 20. They relax it to gradient descent; here, from the
    nearest codes on, the choice that gains most is turned over until none gains, which needs
    the moments alone and ends in a local minimum. A weight of 0 stays 0.

    Args:
        rows: float64, the float weights.
        scales: [outputs].
        squares: [K, K], E[xxᵀ] over inputs x as the rounded network gives them.
        products: [outputs, K], E[yx] for the wanted outputs y.
    """
    column = scales[:, None]
    real = (rows / column).clamp(-WEIGHT_HIGHEST, WEIGHT_HIGHEST)
    codes = real.round()
    turned = torch.where(codes > real, real.floor(), real.ceil())  # where the same: no choice
    damping = DAMPING * squares.diagonal().mean()
    squares = squares + damping * torch.eye(len(squares), dtype=squares.dtype)
    products = products + damping * rows
    curvature = squares.diagonal()
    slope = (codes * column) @ squares - products  # half the gradient
    line = torch.arange(len(rows))
    for _ in range(2 * rows.shape[1]):
        step = (turned - codes) * column
        change, place = (step * (2 * slope + step * curvature)).min(1)
        gains = change < 0
        if not gains.any():
            break
        chosen, at = line[gains], place[gains]
        slope[chosen] += step[chosen, at][:, None] * squares[at]
        before = codes[chosen, at]
        codes[chosen, at] = turned[chosen, at]
        turned[chosen, at] = before
    return codes * column
