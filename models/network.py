"""A network as a value: what it was built from, what was removed from it, and its weights."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from edgeticket import models
from edgeticket.models.counts import set_counts
from edgeticket.models.own import is_own, vacant

Takes = tuple[int, ...] | tuple[tuple[int, ...], ...]
"""Shape of the only input without the batch, or one for each of several."""

Removed = Mapping[str, Mapping[int, tuple[int, ...]]]
"""Tensor name -> axis -> indices, in the unpruned architecture, that are no longer there."""


@dataclass(frozen=True, eq=False)
class Network:
    """An architecture with arguments, minus what was removed, with weights.

    ``bypassed`` names submodules that are gone, so that their inputs pass on as they are.
    ``weights`` holds every parameter and buffer by its PyTorch name, on the CPU, in the narrower
    shapes. It is never changed in place: a training run ends in `with_weights`.
    """

    arch: str  # a key of models.ARCHITECTURES, or one from elsewhere (models.own)
    args: models.Args
    weights: Mapping[str, Tensor]
    removed: Removed = field(default_factory=dict)
    bypassed: frozenset[str] = frozenset()
    takes: Takes = ()  # shape of one input, or of each, where the architecture does not decide it

    @classmethod
    def fresh(cls, arch: str, args: models.Args, *, seed: int, takes: Takes = ()) -> Network:
        """A network with random initial weights that ``seed`` alone determines.

        A function of the user's own may return trained weights instead.

        Raises:
            ValueError: unknown architecture or argument.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = models.build(arch, args)
        return cls(arch, args, _copy(module.state_dict()), takes=takes)

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each input without the batch."""
        if not self.takes:
            return (models.input_shape(self.arch, self.args),)
        sizes = tuple(size for size in self.takes if isinstance(size, int))
        shapes = tuple(shape for shape in self.takes if not isinstance(shape, int))
        return shapes or (sizes,)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width) or (channels, frames) of the only input.

        Raises:
            ValueError: there are several.
        """
        if len(self.input_shapes) > 1:
            raise ValueError(f"{self.arch} takes {len(self.input_shapes)} inputs, not one")
        return self.input_shapes[0]

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of everything that makes this network what it is."""
        removed = {n: dict(a) for n, a in self.removed.items()}
        what: list[object] = [self.arch, dict(self.args), removed, sorted(self.bypassed)]
        what += [self.takes] if self.takes else []
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
        for name, tensor in sorted(self.weights.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def module(self, *, shared: bool = False) -> nn.Module:
        """A module in evaluation mode, narrow, with the weights.

        Args:
            shared: its tensors are those of ``weights``, and so are only to be read; else it has
                copies.

        Raises:
            ValueError: unknown architecture or argument; weights that do not fit.
        """
        module = skeleton(self.arch, self.args, self.removed, self.bypassed)
        state: OrderedDict[str, Tensor] = OrderedDict(
            self.weights if shared else _copy(self.weights)
        )
        # Layers may have a version, and refuse tensors without it.
        state._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
        try:
            module.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise ValueError(f"weights do not fit {self.arch}: {error}") from None
        return module.eval()

    def with_weights(self, module: nn.Module) -> Network:
        """The same network with a copy of the weights of ``module``, which came from `module()`."""
        return replace(self, weights=_copy(module.state_dict()))

    def without(self, blocks: Collection[str]) -> Network:
        """The network with ``blocks``, names of submodules, bypassed as well."""
        prefixes = tuple(f"{name}." for name in blocks)
        weights = {n: t for n, t in self.weights.items() if not n.startswith(prefixes)}
        removed = {n: axes for n, axes in self.removed.items() if not n.startswith(prefixes)}
        bypassed = self.bypassed | frozenset(blocks)
        return replace(self, weights=weights, removed=removed, bypassed=bypassed)


def skeleton(
    arch: str, args: models.Args, removed: Removed, bypassed: Collection[str] = ()
) -> nn.Module:
    """The module in its narrower shapes on PyTorch's meta device: shapes, but no values.

    One from elsewhere may have values that its state does not hold; it is on the CPU, except for
    what is narrower, and has zeros for the rest.

    Raises:
        ValueError: unknown architecture or argument; ``removed`` names what is not there;
            ``bypassed`` names what cannot be left out.
    """
    if is_own(arch):
        module = vacant(arch, args)
    else:
        with torch.device("meta"):
            module = models.build(arch, args)
    for name in sorted(bypassed):
        if name not in models.removable_blocks(module):
            raise ValueError(f"{arch}: {name!r} is no block that can be removed")
    for name in bypassed:
        module.set_submodule(name, nn.Identity())
    try:
        narrow(module, removed)
    except ValueError as error:
        raise ValueError(f"{arch}: {error}") from None
    return module


def narrow(module: nn.Module, removed: Removed) -> None:
    """Remove indices from parameters and buffers of ``module``, which keeps no values of those.

    Raises:
        ValueError: ``removed`` names what is not there.
    """
    changed: dict[nn.Module, dict[str, tuple[int, ...]]] = {}
    gone: dict[nn.Module, dict[str, Mapping[int, tuple[int, ...]]]] = {}
    for name, axes in removed.items():
        owner_name, _, tensor_name = name.rpartition(".")
        try:
            owner = module.get_submodule(owner_name)
            if tensor_name in changed.get(owner, {}):
                continue  # a layer that is called by two names
            tensor: Tensor = getattr(owner, tensor_name)
            shape = [_remaining(size, axes.get(axis, ())) for axis, size in enumerate(tensor.shape)]
        except (AttributeError, IndexError) as error:
            raise ValueError(f"cannot remove from {name}: {error}") from None
        changed.setdefault(owner, {})[tensor_name] = tuple(tensor.shape)
        gone.setdefault(owner, {})[tensor_name] = axes
        empty = torch.empty(shape, dtype=tensor.dtype, device="meta")
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
        setattr(owner, tensor_name, empty)
    for owner, shapes in changed.items():
        set_counts(owner, shapes, gone[owner])


def _remaining(size: int, removed: tuple[int, ...]) -> int:
    gone = set(removed)
    if len(gone) != len(removed) or any(not 0 <= i < size for i in gone) or len(gone) == size:
        raise IndexError(f"{len(removed)} indices do not fit an axis of {size}")
    return size - len(gone)


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }
