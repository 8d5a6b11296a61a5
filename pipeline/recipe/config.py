"""What all parts of a recipe have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Rate = Annotated[float, Field(gt=0)]

METHOD = "Which pass this is."


class Config(BaseModel):
    """One part of a recipe: frozen, complete with defaults, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )

    @classmethod
    def spelled_out(cls, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The document without what is short for something else.

        No validator can do it: with one that comes before, pydantic takes no list for a tuple.
        """
        return document
