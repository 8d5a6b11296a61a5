"""How the network of a recipe hears recordings of any length."""

from __future__ import annotations

from edgeticket import models
from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.network.receptive_field import find_reach
from edgeticket.pipeline.recipe import Recipe


def transcribes(arch: str) -> bool:
    """False too for what is no architecture of ours, whether it is the user's or a typing error."""
    return arch in models.ARCHITECTURES and models.transcribes(arch)


def chunks_of(recipe: Recipe, data: Dataset) -> Chunks:
    """How the network of ``recipe`` hears recordings that are longer than it takes at a time."""
    arch, args = recipe.model.architecture, recipe.model.args
    if not transcribes(arch):
        known = ", ".join(filter(models.transcribes, models.ARCHITECTURES))
        raise InputError(
            f"model: {data.name} has what is said in recordings, and {arch} cannot write that "
            f"down; choose one of {known}"
        )
    try:
        takes = models.input_shape(arch, args)
        reach = find_reach(Network.fresh(arch, args, seed=0).module(), takes)
    except ValueError as error:
        raise InputError(f"model: {error}") from None
    if reach is None or takes[-1] <= 2 * reach.context + reach.stride:
        raise InputError(
            f"model: {arch} of {takes[-1]} frames is too short: what it says of a moment depends "
            "on more frames than that, so that it could not hear long recordings in pieces; raise "
            "model.args.frames, or use smaller kernels"
        )
    features = next(step for step in data.preprocessing if step["op"] == "log_mel")
    hop = int(features["hop_samples"])
    stride = reach.stride * hop
    return Chunks(
        rate_hz=int(features["rate_hz"]),
        window_samples=int(features["fft_samples"]) + (takes[-1] - 1) * hop,
        context_samples=-(-reach.context * hop // stride) * stride,
        stride_samples=stride,
    )
