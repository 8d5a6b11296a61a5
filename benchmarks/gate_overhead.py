"""What stochastic gates add to a training step: ratios of interleaved steps, one thread.

    python benchmarks/gate_overhead.py [architecture ...] [--steps 40] [--bf16]
    python benchmarks/gate_overhead.py lenet300 --floor

A step is forward, backward and optimizer, without loading data. Times are CPU time, so that other
work on the machine hardly counts. Prints the median plain step (SGD
with momentum on all weights), and for each kind of gates the median of the ratios of neighbours:
gates on channels with the weights trained along, gates on frozen weights (a strong ticket, which
saves the update of the weights), gates on weights that are trained along.

``--floor`` adds what the arithmetic of the gates alone takes: one kernel after the other on
memory that is there, without autograd, without Python between layers, in the same rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from edgeticket.models.network import Network
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.recipe import Budget, StochasticGates, WeightGates
from edgeticket.pipeline.tickets.expected_cost import expected_macs
from edgeticket.pipeline.tickets.gated import Gated
from edgeticket.pipeline.tickets.masked import Span
from edgeticket.pipeline.tickets.prunable import prunable
from edgeticket.pipeline.tickets.weight_gates import Stg

BATCH = 128
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "conv4": {"width": 16, "hidden": 64},
    "fast_cifar": {"width": 32},
    "resnet20": {},
    "digits_cnn": {},
    "lenet300": {},
}

Step = Callable[[], float]


def main() -> None:
    """Print one line for each architecture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archs", nargs="*", default=list(NETWORKS), metavar="architecture")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--bf16", action="store_true", help="under autocast, as precision: bf16")
    parser.add_argument("--floor", action="store_true", help="show the gates' kernels alone, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    columns = ["channels", "frozen", "trained", *["floor", "update"] * given.floor]
    print(f"{'':12} {'plain ms':>9} " + " ".join(f"{column:>9}" for column in columns))
    for arch in given.archs:
        network = Network.fresh(arch, NETWORKS.get(arch, {}), seed=0)
        steps = steps_of(network, bf16=given.bf16, count=given.steps)
        if given.floor:
            steps |= floor_of(sum(w.numel() for w in prunable(network.module(), ()).values()))
        for _ in range(3):
            for step in steps.values():
                step()
        rounds = [{name: step() for name, step in steps.items()} for _ in range(given.steps)]
        plain = statistics.median(times["plain"] for times in rounds)
        ratios = [
            statistics.median(times[name] / times["plain"] for times in rounds) for name in columns
        ]
        print(f"{arch:12} {plain:9.2f} " + " ".join(f"{ratio:8.3f}x" for ratio in ratios))


def steps_of(network: Network, *, bf16: bool, count: int) -> dict[str, Step]:
    """Training steps of ``network``, by name; each returns its time in ms."""
    images = torch.randn(BATCH, *network.input_shape).to(memory_format=torch.channels_last)
    module = network.module()
    groups = find_groups(module, network.input_shape)
    cost = expected_macs(module, groups, network.input_shape)
    channel_cfg = StochasticGates(method="stochastic_gates", budget=Budget(macs=0.5))
    channels = Gated(module, groups, cost, channel_cfg, budget=0.5, steps=2 * count)

    def on_weights(*, frozen: bool) -> Stg:
        cfg = WeightGates(method="weight_gates", sparsity=0.95, frozen=frozen)
        return Stg(network, cfg, span=Span(epochs=2, per_epoch=count), seed=0)

    return {
        "plain": step_of(network.module(), images, bf16=bf16),
        "channels": step_of(
            channels, images, bf16=bf16, gates="means", extra=channels.cost_penalty
        ),
        "frozen": step_of(on_weights(frozen=True), images, bf16=bf16, gates="scores"),
        "trained": step_of(on_weights(frozen=False), images, bf16=bf16, gates="scores"),
    }


def floor_of(size: int) -> dict[str, Step]:
    """What the gates of ``size`` weights take: their kernels, and Adam's update of their scores."""
    scores = torch.nn.Parameter(torch.rand(size))
    scores.grad = torch.rand(size)
    noise, weights, drawn, slope, out = torch.rand(5, size)
    adam = torch.optim.Adam([scores], lr=0.01, fused=True)
    threshold = torch.ops.aten.threshold_backward.grad_input

    def kernels() -> float:
        start = time.process_time()
        torch.add(scores.detach(), noise, alpha=0.5, out=drawn)
        threshold(weights, drawn, 0.5, grad_input=out)
        torch.mul(slope, weights, out=out)
        out.mul_(drawn.sub_(0.5).square_().mul_(-2.0).exp2_())
        return (time.process_time() - start) * 1e3

    def update() -> float:
        start = time.process_time()
        adam.step()
        return (time.process_time() - start) * 1e3

    return {"floor": kernels, "update": update}


def step_of(
    module: nn.Module,
    images: torch.Tensor,
    *,
    bf16: bool,
    gates: str | None = None,
    extra: Callable[[], torch.Tensor] | None = None,
) -> Step:
    """A step as `pipeline.train` does it; Adam trains the parameter ``gates``."""
    module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    labels = torch.zeros(len(images), dtype=torch.int64)
    weights = [p for n, p in module.named_parameters() if p.requires_grad and n != gates]
    optimizers: list[torch.optim.Optimizer] = []
    if weights:
        optimizers.append(
            torch.optim.SGD(weights, lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
        )
    if gates is not None:
        optimizers.append(torch.optim.Adam([module.get_parameter(gates)], lr=0.01, fused=True))

    def step() -> float:
        start = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            outputs = module(images)
        loss = F.cross_entropy(outputs.float(), labels)
        if extra is not None:
            loss = loss + extra()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        return (time.process_time() - start) * 1e3

    return step


if __name__ == "__main__":
    main()
