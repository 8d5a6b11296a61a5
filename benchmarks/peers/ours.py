"""This project: one set of scales as the recipe decides them, written for one of the runtimes."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import torch
from work import images, timed, torch_network

from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.quantize import fake_quantized, quantize
from edgeticket.pipeline.recipe import Ptq, check


def write(folder: Path, file: Path, *, kind: str) -> None:
    cfg = check(Ptq, json.loads((folder / "ptq.json").read_bytes()), place="ptq.json")
    batches = list(torch.split(torch.from_numpy(images(folder)), 100))
    done = quantize(torch_network(folder), batches, cfg)
    graph = export(fake_quantized(done.folded, done.scales))
    file.write_bytes(TARGETS[kind].convert(graph).data)


if __name__ == "__main__":
    timed(functools.partial(write, kind=sys.argv[3]))
