"""Time and memory of converting mobilenet_v2 (random weights, 224×224 pixels) to all five files.

    python benchmarks/conversion.py [--pixels 224]

The conversion runs in a process of its own, which never imports torch: what is printed as memory
is the peak of that process, with the runtimes' schema and ONNX loaded.
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def export(folder: Path, *, pixels: int) -> None:
    """Write fp32.pickle and int8.pickle, the graphs; say how long each step took."""
    import torch

    from edgeticket.models.torchvision_cure import import_torchvision
    from edgeticket.pipeline.export import export as export_graph
    from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
    from edgeticket.pipeline.recipe import Ptq

    torch.manual_seed(0)
    module = import_torchvision().models.mobilenet_v2(weights=None).eval()
    images = torch.randn(8, 3, pixels, pixels)
    start_s = time.perf_counter()
    folded = fold_bn(module, (3, pixels, pixels))
    print(f"capture and fold         {time.perf_counter() - start_s:6.2f} s")
    start_s = time.perf_counter()
    scales = calibrate(folded, torch.split(images, 1), Ptq(method="ptq"))
    print(f"calibrate on {len(images)} images  {time.perf_counter() - start_s:6.2f} s")
    modules = {"fp32": folded, "int8": fake_quantized(folded, scales)}
    for name, network in modules.items():
        start_s = time.perf_counter()
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(export_graph(network)))
        print(f"export {name}              {time.perf_counter() - start_s:6.2f} s")


def convert(folder: Path) -> None:
    """Convert what `export` wrote; prints seconds and bytes of each file as JSON."""
    from edgeticket.pipeline.convert.targets import TARGETS

    measured = {}
    for name, target in TARGETS.items():
        # Its own, just written.
        source = pickle.loads((folder / f"{target.precision}.pickle").read_bytes())
        start_s = time.perf_counter()
        converted = target.convert(source)
        measured[name] = (time.perf_counter() - start_s, len(converted.data))
    assert "torch" not in sys.modules
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    json.dump({"files": measured, "peak_rss_bytes": peak_kib * 1024}, sys.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--converted", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pixels", type=int, default=224, help="of a side (default: 224)")
    given = parser.parse_args()
    folder: Path | None = given.converted
    if folder is not None:
        convert(folder)
        return
    with tempfile.TemporaryDirectory() as name:
        export(Path(name), pixels=given.pixels)
        command = [sys.executable, __file__, "--converted", name]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    for name, (seconds, size_bytes) in measured["files"].items():
        print(f"{name:14} {seconds:6.2f} s {size_bytes / 1e6:7.2f} MB")
    total_s = sum(seconds for seconds, _ in measured["files"].values())
    print(f"all five       {total_s:6.2f} s, peak {measured['peak_rss_bytes'] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
