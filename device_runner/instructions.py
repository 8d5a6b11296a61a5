"""Which int8 files are exact on which CPU.

On x86-64 without dot-product instructions (AVX2 alone: before Ice Lake, Zen 4 and Alder Lake) ONNX
Runtime multiplies uint8 activations with int8 weights by VPMADDUBSW, which adds two products and
saturates the sum to 16 bits (Intel's instruction set reference). 255 × 127 twice does not fit, so
large weights beside each other lose what is beyond. VNNI and AMX add in 32 bits. XNNPACK widens
first, and so do ARM's kernels: the files for LiteRT are exact everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeticket.device_runner.machine import Machine
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.unavailable import Unavailable

# Flags of /proc/cpuinfo, one of which makes U8S8 products exact on x86-64.
DOT_PRODUCTS = ("avx_vnni", "avx512_vnni", "amx_int8")


def warn_inexact(
    entry: Artifact, others: Sequence[Artifact], machine: Machine, *, withheld: Sequence[str] = ()
) -> str | None:
    """One sentence if ``entry`` may saturate on ``machine``, else None.

    Args:
        entry: the artifact that is about to run.
        others: the artifacts of its bundle, among which a better one is looked for.
        machine: where it is to run.
        withheld: instruction sets that are kept from the runtimes: amx.
    """
    present = machine.int8_instructions
    if not entry.exact_with or isinstance(present, Unavailable):
        return None
    usable = {flag for flag in present if flag.partition("_")[0] not in withheld}
    if usable & set(entry.exact_with):
        return None
    better = [
        other.id
        for other in others
        if (other.network, other.precision) == (entry.network, entry.precision)
        and machine.architecture in other.architectures
        and not other.exact_with
    ]
    advice = f"; {better[0]} is exact here" if better else ""
    needed = ", ".join(entry.exact_with)
    return (
        f"{entry.id} may lose accuracy: this CPU has none of {needed}, so sums of two products "
        f"saturate at 16 bits{advice}"
    )
