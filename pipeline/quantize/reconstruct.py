"""Make each rounded layer give what the float layer gives: round weights well, mend biases.

Float and rounded network run side by side over the calibration set, step by step, so that a
layer sees the rounded inputs that it will see, and can make up for what came before it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeticket.pipeline.graph.batches import Batch, first_of, size_of, tensors_of
from edgeticket.pipeline.graph.graph import Arranged
from edgeticket.pipeline.graph.module import Layer, tied_layers
from edgeticket.pipeline.quantize.adaround import round_rows
from edgeticket.pipeline.quantize.fake import FakeQuantize, QuantizedLayer, fake_quantized
from edgeticket.pipeline.quantize.scales import Scales
from edgeticket.pipeline.recipe import Ptq

# What the tensors of both networks that are alive at a time may take; large images mean fewer
# examples, whose many positions are as good.
MEMORY_BYTES = 2**30

Pair = tuple[Any, Any]  # one batch of a step's output: float, rounded


@torch.no_grad()
def reconstruct(
    folded: fx.GraphModule,
    scales: Scales,
    inputs: Sequence[Batch],
    cfg: Ptq,
    frozen: Collection[str] = (),
) -> tuple[fx.GraphModule, int]:
    """Choose the rounding of weights (``cfg.rounding``) and correct biases.

    Bias correction is Nagel et al. 2019, 4.2, with means over the calibration set: the mean of
    each output channel becomes that of the float network.

    Args:
        frozen: layers that keep their weights.

    Returns:
        A folded graph whose weights lie on codes, but for those of ``frozen`` layers, and how many
        examples were used.
    """
    rounded = fake_quantized(folded, scales)
    better = copy.deepcopy(folded)
    batches = _within_memory(rounded, inputs)
    # Each of several readers would want another weight: those stay on the nearest codes.
    tied = {node.name for nodes in tied_layers(folded) for node in nodes}
    alive: dict[fx.Node, list[Pair]] = {}
    sources_of_batches = iter(zip(*map(tensors_of, batches), strict=True))
    for node in rounded.graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            alive[node] = [(tensor, tensor) for tensor in next(sources_of_batches)]
            continue
        if node.op == "get_attr":
            alive[node] = [(getattr(folded, node.target),) * 2] * len(batches)
            continue
        step = rounded.get_submodule(node.name)
        real = nn.Identity() if isinstance(step, FakeQuantize) else folded.get_submodule(node.name)
        # As it is called: it may read one tensor twice.
        sources = [alive[source] for source in node.args if isinstance(source, fx.Node)]
        if isinstance(step, QuantizedLayer) and node.name not in frozen:
            if node.name not in tied:
                _improve(step, real, sources[0], cfg, node.meta.get("arranged"))
            mended = better.get_submodule(node.name)
            mended.load_state_dict(step.layer.state_dict())
        alive[node] = [
            (real(*(r for r, _ in batch)), step(*(q for _, q in batch)))
            for batch in zip(*sources, strict=True)
        ]
        for source in node.all_input_nodes:
            if all(reader in alive or reader.op == "output" for reader in source.users):
                alive[source] = []
    return better, sum(map(size_of, batches))


def _within_memory(rounded: fx.GraphModule, inputs: Sequence[Batch]) -> list[Batch]:
    """As many of the examples as `MEMORY_BYTES` allow, at least one."""
    example = first_of(next(batch for batch in inputs if size_of(batch)), 1)
    size = 0

    class Sizes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            nonlocal size
            result = super().run_node(n)
            live = [v for v in (*self.env.values(), result) if isinstance(v, Tensor)]
            size = max(size, sum(v.numel() * v.element_size() for v in live))
            return result

    Sizes(rounded).run(*tensors_of(example))
    left = max(1, MEMORY_BYTES // (2 * size))
    batches: list[Batch] = []
    for batch in inputs:
        if left and size_of(batch):
            batches.append(first_of(batch, left))
            left -= size_of(batches[-1])
    return batches


@dataclass(frozen=True)
class _Moments:
    """Means over all positions of all examples, from which a layer's mean errors follow.

    A column is what one output position reads: K = inputs of a group × kernel positions.
    """

    column: Tensor  # [groups, K]; of the rounded network
    output: Tensor  # [groups, outputs]; of the float network
    squares: Tensor  # [groups, K, K]
    products: Tensor  # [groups, outputs, K]


def _improve(
    step: QuantizedLayer,
    real: nn.Module,
    pairs: Sequence[Pair],
    cfg: Ptq,
    arranged: Arranged | None,
) -> None:
    layer = step.layer
    m = _moments(layer, real, pairs)
    groups, outputs = m.output.shape
    correct = cfg.bias_correction and layer.bias is not None
    if cfg.rounding == "adaround":
        if correct:  # the bias will take care of the means
            squares = m.squares - m.column[:, :, None] * m.column[:, None]
            products = m.products - m.output[:, :, None] * m.column[:, None]
        else:
            bias = torch.zeros(groups * outputs) if layer.bias is None else layer.bias
            products = m.products - bias.view(groups, outputs, 1) * m.column[:, None]
            squares = m.squares
        weight = layer.weight.double().reshape(groups, outputs, -1)
        scales = step.scale.double().view(groups, outputs)
        rows = [round_rows(*group) for group in zip(weight, scales, squares, products, strict=True)]
        layer.weight.copy_(torch.stack(rows).view_as(layer.weight))
    if correct:
        weight = step.rounded_weight().double().reshape(groups, outputs, -1)
        assert layer.bias is not None
        bias = (m.output - (weight @ m.column[:, :, None])[:, :, 0]).flatten()
        if arranged is not None:  # the stored bias is one for all of its copies
            bias = bias.view(arranged.copies, -1).mean(0).repeat(arranged.copies)
        layer.bias.copy_(bias)
        if arranged is None or arranged.copies == 1:
            step.round_bias()


def _moments(layer: Layer, real: nn.Module, pairs: Sequence[Pair]) -> _Moments:
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    width = layer.weight[0].numel()
    outputs = len(layer.weight) // groups
    column = torch.zeros(groups, width, dtype=torch.float64)
    output = torch.zeros(groups, outputs, dtype=torch.float64)
    squares = torch.zeros(groups, width, width, dtype=torch.float64)
    products = torch.zeros(groups, outputs, width, dtype=torch.float64)
    positions = 0
    for float_input, rounded_input in pairs:
        for x, q in zip(float_input.split(10), rounded_input.split(10), strict=True):
            y = real(x)
            y = y.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0).reshape(groups, outputs, -1)
            columns = _columns(layer, q).reshape(groups, width, -1)
            column += columns.sum(2, dtype=torch.float64)
            output += y.sum(2, dtype=torch.float64)
            squares += columns @ columns.mT
            products += y @ columns.mT
            positions += columns.shape[2]
    return _Moments(*(total / positions for total in (column, output, squares, products)))


def _columns(layer: Layer, x: Tensor) -> Tensor:
    """What each output position reads: [groups × K, positions]."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2).T
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    sizes = layer.kernel_size, layer.dilation, (0,) * len(layer.stride), layer.stride
    if isinstance(layer, nn.Conv1d):  # maps of height one
        padded = padded.unsqueeze(2)
        sizes = (1, *sizes[0]), (1, *sizes[1]), (0, 0), (1, *sizes[3])
    return F.unfold(padded, *sizes).transpose(0, 1).flatten(1)
