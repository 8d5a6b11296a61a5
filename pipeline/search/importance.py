"""What a network loses with channels and blocks, before anything is trained: three opinions.

- *divergence*: how far the outputs move, after the statistics of batch norm are taken anew, as a
  share of their variance; of each group at each width, and of each block, alone.
- *magnitude*: the share of a group's squared norms that goes; of a block, 1.
- *even*: the logarithm of the share that stays, which spreads a cut over all groups.

None is right everywhere: what fine-tuning brings back differs from network to network. Structures
that each prefers go on, and a few epochs of training tell which is better.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeticket import models
from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.strict_json import format_json
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.graph.batches import Batch, leaves_of, tensors_of
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.prune.channels import follow_channels
from edgeticket.pipeline.run.candidate import TRAINING_TOOLS, Candidate, Job
from edgeticket.pipeline.run.quantize_passes import calibration_batches
from edgeticket.pipeline.search.choice import Losses
from edgeticket.pipeline.tickets.channel_magnitude import channel_norms
from edgeticket.pipeline.tickets.structure import cut

BATCHES = 4  # of the calibration set
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FILE = "losses.json"


def opinions(job: Job, dense: Candidate, levels: Mapping[str, Sequence[int]]) -> dict[str, Losses]:
    """All three, by name; divergences are a stage of the store."""
    network = dense.network
    result = job.store.stage(
        "importance",
        functools.partial(
            write_divergences, network=network, data=job.data, levels=levels, progress=job.progress
        ),
        config={"levels": {name: list(widths) for name, widths in levels.items()}},
        inputs={"data": job.data.digest, "dense": dense.digest},
        tools=TRAINING_TOOLS,
    )
    known: dict[str, float] = json.loads((result.folder / FILE).read_bytes())
    module = network.module()
    blocks = models.removable_blocks(module)
    magnitude, even, divergence = {}, {}, {}
    for group in follow_channels(module, network.input_shapes).groups:
        if group.name not in levels:
            continue
        squares = channel_norms(module, group).detach().square().sort(descending=True).values
        shares = (squares.cumsum(0) / squares.sum()).tolist()
        widths = levels[group.name]
        magnitude[group.name] = {w: max(0.0, 1 - shares[w - 1]) for w in widths}
        even[group.name] = {w: math.log(group.width / w) for w in widths}
        divergence[group.name] = _rising({w: known[_place(group.name, w)] for w in widths})
    return {
        "divergence": Losses(divergence, {block: known[_place(block, 0)] for block in blocks}),
        "magnitude": Losses(magnitude, dict.fromkeys(blocks, 1.0)),
        "even": Losses(even, dict.fromkeys(blocks, math.log(4))),
    }


def write_divergences(
    folder: Path,
    resume: Path,
    *,
    network: Network,
    data: Dataset,
    levels: Mapping[str, Sequence[int]],
    progress: Progress,
) -> None:
    """Fill ``folder`` with divergences by group and width; stopped, the next call goes on."""
    state = resume / FILE
    known: dict[str, float] = json.loads(state.read_bytes()) if state.exists() else {}
    batches = calibration_batches(data)[:BATCHES]
    before = _answers(network.module(), batches)
    blocks = models.removable_blocks(network.module())
    cuts: list[tuple[str, dict[str, int], tuple[str, ...]]] = [
        (_place(name, width), {name: width}, ()) for name, widths in levels.items()
        for width in widths
    ]  # fmt: skip
    cuts += [(_place(block, 0), {}, (block,)) for block in blocks]
    with progress.task("what channels are worth", len(cuts)) as advance:
        for place, keep, gone in cuts:
            if place not in known:
                left, mask = cut(network, keep, gone)
                module = mask.apply(left).module()
                with _new_statistics(module):
                    _answers(module, batches)
                known[place] = _distance(before, _answers(module, batches))
                write_atomic(state, format_json(known))
            advance(1, place)
    (folder / FILE).write_bytes(format_json(known))


def _place(name: str, width: int) -> str:
    return f"{name} {width}"


def _answers(module: nn.Module, batches: Sequence[Batch]) -> list[list[Tensor]]:
    with torch.no_grad():
        return [list(leaves_of(module(*tensors_of(batch)))) for batch in batches]


@contextmanager
def _new_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms take the mean over what is run within; all else is as in evaluation."""
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, NORMS)]
    former = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    yield
    for norm, momentum in zip(norms, former, strict=True):
        norm.momentum = momentum
        norm.eval()


def _distance(before: list[list[Tensor]], after: list[list[Tensor]]) -> float:
    """The mean over outputs of squared differences, as shares of the output's variance."""
    shares = []
    for number in range(len(before[0])):
        real = torch.cat([answer[number].flatten() for answer in before]).double()
        moved = torch.cat([answer[number].flatten() for answer in after]).double()
        variance = (real - real.mean()).square().mean().clamp_min(1e-12)
        shares.append(float((real - moved).square().mean() / variance))
    distance = sum(shares) / len(shares)
    return distance if math.isfinite(distance) else 1e6


def _rising(losses: Mapping[int, float]) -> dict[int, float]:
    """No width loses less than a wider one: what noise says otherwise is not believed."""
    rising: dict[int, float] = {}
    most, whole = 0.0, losses[max(losses)]  # new statistics alone move outputs a little
    for width in sorted(losses, reverse=True):
        most = max(most, losses[width] - whole)
        rising[width] = most
    return rising
