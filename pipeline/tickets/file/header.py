"""What a ticket file says about its network before the mask: frozen, complete, checked."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import parse_json
from edgeticket.pipeline.recipe import Config, Share, check
from edgeticket.pipeline.recipe.methods.weights import Settled
from edgeticket.pipeline.tickets.file.mask_code import PRIORS, Model

MAX_NUMBERS = 1 << 25  # in all tensors; a file that claims more is refused before any is made

Whole = Annotated[int, Field(ge=0, le=MAX_NUMBERS)]


class MaskEntry(Config):
    """How the mask of one tensor was coded; see `mask_code.Model`."""

    kept: Whole
    along: Literal["outputs", "inputs"]
    prior: Annotated[int, Field(ge=1, le=max(PRIORS))]
    settled: bool = False  # the seed decides some of it; ``kept`` counts the others


class SettledBySeed(Settled):
    """Which weights a seed prunes and keeps by itself; see `pipeline.network.draw.settle`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]


class TensorEntry(Config):
    """One tensor of the network: drawn and masked, one number throughout, or stored."""

    name: str
    shape: Annotated[tuple[Whole, ...], Field(max_length=8)]
    mask: MaskEntry | None = None
    fill: int | float | None = None
    # As it is stored; float16 and float32 both become float32.
    dtype: Literal["float16", "float32", "int64"] = "float32"

    @model_validator(mode="after")
    def _makes_sense(self) -> TensorEntry:
        if self.mask is not None:
            if self.fill is not None or self.dtype != "float32":
                raise ValueError(f"{self.name} is either drawn, one number or stored")
            if len(self.shape) < 2 or 0 in self.shape or self.mask.kept > self.size:
                raise ValueError(f"{self.name} has no such mask")
        if isinstance(self.fill, float) and self.dtype == "int64":
            raise ValueError(f"{self.name} is filled with {self.fill}, which is no whole number")
        return self

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """[outputs, inputs]."""
        return self.shape[0], math.prod(self.shape[1:])

    @property
    def model(self) -> Model:
        """How its mask was coded."""
        assert self.mask is not None
        return Model(self.mask.kept, self.mask.along, self.mask.prior)


class Header(Config):
    """Everything but bits: how to build the network and how to draw its weights."""

    arch: str
    args: dict[str, int | float | str | bool]
    init: Literal["kaiming_normal", "uniform", "signed_constant"]
    init_kept: Share
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    settled: SettledBySeed | None = None
    tensors: tuple[TensorEntry, ...]

    @model_validator(mode="after")
    def _is_of_a_size_that_can_be(self) -> Header:
        numbers = sum(tensor.size for tensor in self.tensors)
        if numbers > MAX_NUMBERS:
            raise ValueError(f"its tensors hold {numbers} numbers, more than {MAX_NUMBERS}")
        names = [tensor.name for tensor in self.tensors]
        if len(set(names)) < len(names):
            raise ValueError("it names a tensor twice")
        if self.settled is None and any(t.mask and t.mask.settled for t in self.tensors):
            raise ValueError("a seed is to decide some of a mask, and it does not say which")
        return self

    @property
    def masked(self) -> tuple[TensorEntry, ...]:
        """The tensors that are drawn and masked."""
        return tuple(tensor for tensor in self.tensors if tensor.mask is not None)

    @property
    def stored(self) -> tuple[TensorEntry, ...]:
        """The tensors whose numbers the file holds."""
        return tuple(t for t in self.tensors if t.mask is None and t.fill is None)


def read_header(text: bytes, *, place: str) -> Header:
    """JSON -> header.

    Raises:
        InputError: it is no JSON, or says something that a header cannot.
    """
    document = parse_json(text, place=f"the header of {place}")
    if not isinstance(document, dict):
        raise InputError(f"the header of {place} is no mapping")
    return check(Header, document, place=f"the header of {place}")


def write_header(header: Header) -> bytes:
    """Compact JSON; equal headers give equal bytes."""
    return header.model_dump_json(exclude_defaults=True).encode()
