"""What a teacher adds to a training, asked in every epoch or once for each view: ratios.

    python benchmarks/teacher_cost.py [--student resnet20] [--teacher resnet56] [--epochs 8]

The same few random pictures are learnt three ways: without a teacher, with one that is asked for
each batch, and with one whose answers to `views` changes of each picture are kept. One thread, CPU
time of whole trainings, turn by turn, medians. What many epochs cost follows: kept answers cost
a pass of the teacher over the pictures for each view, and nothing for each epoch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Split, Teacher
from edgeticket.pipeline.recipe import Distil, SoftTargets, TrainConfig
from edgeticket.pipeline.train import train

PREPROCESSING = ({"op": "normalize", "mean": [127.5] * 3, "std": [64.0] * 3},)
TAUGHT = Distil(cross_entropy=0.1, soft_targets=SoftTargets(weight=0.9))


def main() -> None:
    """Print seconds and ratios."""
    given = _arguments()
    torch.set_num_threads(1)
    student, teacher = (Network.fresh(a, {}, seed=0) for a in (given.student, given.teacher))
    drawn = np.random.default_rng(0)
    pictures = drawn.integers(0, 256, (given.examples, 32, 32, 3), dtype=np.uint8)
    split = Split(pictures, drawn.integers(0, 10, given.examples))
    cfg = TrainConfig(epochs=given.epochs, augment="crop_flip", precision=given.precision, lr=0.01)
    taught = replace(split, teacher=Teacher(teacher, PREPROCESSING))
    ways = {
        "no teacher": (split, cfg),
        "asked in every epoch": (taught, cfg.model_copy(update={"distil": TAUGHT})),
        f"asked once, {given.views} views": (
            taught,
            cfg.model_copy(update={"distil": TAUGHT, "views": given.views}),
        ),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(given.rounds):
        for way, (examples, how) in ways.items():
            seconds[way].append(_trained(student, examples, how))
    (plain,) = (_median(seconds[way]) for way in ways if way == "no teacher")
    print(
        f"{given.teacher} teaches {given.student}: {given.epochs} epochs of {given.examples} "
        f"pictures, {given.precision}, one thread"
    )
    for way, times in seconds.items():
        print(f"{way:24} {_median(times):8.2f} s of CPU time  {_median(times) / plain:5.2f}x")


def _trained(network: Network, split: Split, cfg: TrainConfig) -> float:
    module = network.module()
    begun = time.process_time()
    train(module, split, cfg, preprocessing=PREPROCESSING, seed=1)
    return time.process_time() - begun


def _median(times: Sequence[float]) -> float:
    return statistics.median(times)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", default="resnet20", metavar="ARCH")
    parser.add_argument("--teacher", default="resnet56", metavar="ARCH")
    parser.add_argument("--examples", type=int, default=1024, metavar="N")
    parser.add_argument("--epochs", type=int, default=8, metavar="N")
    parser.add_argument("--views", type=int, default=2, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--precision", default="auto", choices=["fp32", "bf16", "auto"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
