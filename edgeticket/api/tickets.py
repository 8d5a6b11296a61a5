"""Strong tickets as small files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.api.paths import StrPath
from edgeticket.device_runner.errors import InputError

if TYPE_CHECKING:
    from edgeticket.pipeline.tickets.file import SeededTicket, TicketFacts


def pack(
    network: StrPath,
    *,
    out: StrPath,
    init: str = "signed_constant",
    init_kept: float = 1.0,
    seed: int = 0,
    settled: tuple[float, float, int] | None = None,
) -> TicketFacts:
    """Write a strong ticket as a .ticket file: seed, coded mask, statistics of batch norm.

    Args:
        network: a folder with network.json and weights.safetensors.
        out: the .ticket file.
        init, init_kept, seed: how its weights were drawn, `model.init`, `model.init_kept` and
            `seed` of the recipe.
        settled: what chance decided of the mask before the search: shares of zeros and of ones, and
            the seed, as the log of the run has them.

    Returns:
        How long the file is, and what for.

    Raises:
        InputError: a weight is neither zero nor what the seed draws, the network cannot be read, or
            another file is at ``out``.
    """
    from edgeticket.pipeline.network.file import load_network
    from edgeticket.pipeline.output_folder import write_output
    from edgeticket.pipeline.prune.mask import Mask
    from edgeticket.pipeline.recipe import check
    from edgeticket.pipeline.tickets.file import SettledBySeed, decode, encode, weigh
    from edgeticket.pipeline.tickets.prunable import prunable

    if not 0 < init_kept <= 1:
        raise InputError(f"--init-kept is a share, above 0 and up to 1, not {init_kept:g}")
    loaded = load_network(Path(network))
    mask = Mask.of_zeros(loaded, prunable(loaded.module()))
    by_seed = None
    if settled is not None:
        named = dict(zip(("zeros", "ones", "seed"), settled, strict=True))
        by_seed = check(SettledBySeed, named, place="settled")
    data = encode(loaded, mask, init=init, init_kept=init_kept, seed=seed, settled=by_seed)
    write_output(Path(out), data, ours=lambda before: before == data)
    return weigh(data, decode(data, place=str(out)))


def unpack(file: StrPath, *, out: StrPath) -> SeededTicket:
    """Restore the network that a .ticket file was made of, bit for bit.

    Leaves network.json, weights.safetensors and mask.safetensors in ``out``; a recipe takes the
    weights as `model.weights`.

    Args:
        file: the .ticket file.
        out: where the network goes; made if need be.

    Raises:
        InputError: the file is damaged, or files of another network are in ``out``.
    """
    from edgeticket.pipeline.network.file import save_network
    from edgeticket.pipeline.output_folder import check_output
    from edgeticket.pipeline.prune.mask_file import save_mask
    from edgeticket.pipeline.tickets.file import read

    ticket, folder = read(Path(file)), Path(out)
    # Files of another network, or of somebody else, are not written over.
    with tempfile.TemporaryDirectory() as scratch:
        save_network(ticket.network, Path(scratch))
        save_mask(ticket.mask, Path(scratch) / "mask.safetensors")
        for same in sorted(Path(scratch).iterdir()):
            check_output(folder / same.name, ours=same.read_bytes().__eq__)
    save_network(ticket.network, folder)
    save_mask(ticket.mask, folder / "mask.safetensors")
    return ticket
