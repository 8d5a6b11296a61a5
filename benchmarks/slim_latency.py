"""Latency of a slimmed network against the dense one, on both runtimes: ratios, one thread.

    python benchmarks/slim_latency.py [architecture] [--macs 0.47] [--round-to 8] [--no-amx]

Weights are random, but batch norm has statistics of what it sees: without them activations fade
into denormal numbers, which are slow. Otherwise the time does not depend on weights. All files
are timed side by side by the device runner's own loop, so that drift of the machine hits dense and
slim alike. Where others use the machine, the fastest queries say more than the median ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from edgeticket.device_runner.amx import withhold_amx
from edgeticket.device_runner.latency import measure
from edgeticket.device_runner.preprocess import to_tensor
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.models import input_shape
from edgeticket.models.network import Network
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Budget, Ptq
from edgeticket.pipeline.tickets.channel_magnitude import channel_norms, keep_channels, removable

KINDS = ("onnx-fp32", "onnx-int8-u8", "tflite-fp32", "tflite-int8")


def main() -> None:
    """Print a line for each runtime and precision: both medians and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("arch", nargs="?", default="resnet56")
    parser.add_argument("--macs", type=float, default=0.47, help="share that may stay")
    parser.add_argument("--round-to", type=int, default=8, help="channels come in multiples of it")
    parser.add_argument("--no-amx", action="store_true", help="keep Intel's AMX from the runtimes")
    parser.add_argument("--seconds", type=float, default=2.0, help="timed, for each file")
    given = parser.parse_args()
    if given.no_amx:
        withhold_amx()
    torch.set_num_threads(1)
    images = torch.randn(
        16, *input_shape(given.arch, {}), generator=torch.Generator().manual_seed(0)
    )
    dense = with_statistics(Network.fresh(given.arch, {}, seed=0), images)
    groups = removable(dense)
    norms = [channel_norms(dense.module(), group) for group in groups]
    budget = Budget(macs=given.macs)
    ticket = keep_channels(dense, groups, norms, budget=budget, round_to=given.round_to)
    narrow = with_statistics(shrink(ticket.start, ticket.mask), images)
    networks = {"dense": dense, "slim": narrow}
    queries = [
        query(onnx, kind, images)
        for network in networks.values()
        for onnx in [exports(network, images)]
        for kind in KINDS
    ]
    times = measure(queries, min_seconds=given.seconds, min_queries=100, warmup_seconds=0.2)
    sizes = {name: count(n.module(), n.input_shape) for name, n in networks.items()}
    for name, (parameters, macs) in sizes.items():
        print(f"{given.arch} {name}: {parameters:,} parameters, {macs:,} MACs")
    (parameters, macs), (fewer_parameters, fewer_macs) = sizes.values()
    print(f"fewer: parameters {parameters / fewer_parameters:.2f}x, MACs {macs / fewer_macs:.2f}x")
    print(f"{'':14} {'p50 ms: dense':>14} {'slim':>7} {'faster':>7} {'by fastest':>11}")
    for kind, before, after in zip(KINDS, times, times[len(KINDS) :], strict=False):
        assert isinstance(before.p50_ns, int)  # 100 queries are enough for a median
        assert isinstance(after.p50_ns, int)
        print(
            f"{kind:14} {before.p50_ns / 1e6:14.3f} {after.p50_ns / 1e6:7.3f} "
            f"{before.p50_ns / after.p50_ns:6.2f}x {before.min_ns / after.min_ns:10.2f}x"
        )


@torch.no_grad()
def with_statistics(network: Network, images: torch.Tensor) -> Network:
    """``network`` with batch norm's statistics of ``images``."""
    module = network.module().train()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the plain average, not mixed with what was there
            layer.reset_running_stats()
    module(images)
    return network.with_weights(module)


def exports(network: Network, images: torch.Tensor) -> dict[str, Graph]:
    """The graph of each precision."""
    folded = fold_bn(network.module(), network.input_shape)
    scales = calibrate(folded, [images], Ptq(method="ptq"))
    return {"fp32": export(folded), "int8": export(fake_quantized(folded, scales))}


def query(
    graphs: Mapping[str, Graph], kind: str, images: torch.Tensor
) -> tuple[Callable[[Any], Any], Sequence[Any]]:
    """A loaded file's run, and inputs for it."""
    target = TARGETS[kind]
    converted = target.convert(graphs[target.precision])
    runtime = get_runtime(target.runtime)
    session = runtime.load(converted.data, threads=1, place=kind)
    tensor = to_tensor(images.permute(0, 2, 3, 1).contiguous().numpy(), converted.input)
    return session.run, [tensor[i : i + 1] for i in range(len(tensor))]


if __name__ == "__main__":
    main()
