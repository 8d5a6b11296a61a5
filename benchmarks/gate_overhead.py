"""What stochastic gates add to a training step: ratio of interleaved steps, one thread.

    python benchmarks/gate_overhead.py [architecture] [--steps 40]

Prints the median step with and without gates, and the median of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from models.network import Network
from pipeline.channels import find_groups
from pipeline.recipe import Budget, StochasticGates
from pipeline.tickets.expected_cost import expected_macs
from pipeline.tickets.gated import Gated

BATCH = 64


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("arch", nargs="?", default="digits_cnn")
    arguments.add_argument("--steps", type=int, default=40)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    network = Network.fresh(given.arch, {}, seed=0)
    images = torch.randn(BATCH, *network.input_shape).to(memory_format=torch.channels_last)
    labels = torch.zeros(BATCH, dtype=torch.int64)

    module = network.module()
    groups = find_groups(module, network.input_shape)
    cost = expected_macs(module, groups, network.input_shape)
    cfg = StochasticGates(method="stochastic_gates", budget=Budget(macs=0.5))
    gated = Gated(module, groups, cost, cfg, budget=0.5, steps=given.steps)
    plain_step = _step(network.module(), images, labels, lambda: torch.zeros(()))
    gated_step = _step(gated, images, labels, gated.steering)
    for _ in range(3):
        plain_step(), gated_step()

    plain, with_gates = [], []
    for _ in range(given.steps):
        plain.append(plain_step())
        with_gates.append(gated_step())
    ratio = statistics.median(b / a for a, b in zip(plain, with_gates, strict=True))
    print(
        f"{given.arch}, batch {BATCH}: {statistics.median(plain):.1f} ms plain, "
        f"{statistics.median(with_gates):.1f} ms with gates, ratio {ratio:.3f}"
    )


def _step(
    module: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    extra: Callable[[], torch.Tensor],
) -> Callable[[], float]:
    """A training step of ``module`` that returns its time in ms."""
    module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def step() -> float:
        start = time.perf_counter()
        loss = F.cross_entropy(module(images), labels) + extra()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return (time.perf_counter() - start) * 1e3

    return step


if __name__ == "__main__":
    main()
