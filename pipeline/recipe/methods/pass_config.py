"""What every pass of a recipe says of itself, so that nobody asks for its class."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from edgeticket.pipeline.recipe.config import Config
from edgeticket.pipeline.recipe.parts import TrainConfig

if TYPE_CHECKING:
    from edgeticket.pipeline.recipe.methods.training import Ptq


class PassConfig(Config):
    """One pass of a recipe."""

    method: str

    removes: ClassVar[Literal["channels", "blocks", "weights", "nothing"]] = "nothing"
    decides_scales: ClassVar[bool] = False  # of int8; a recipe ends with such a pass
    keeps_float32: ClassVar[bool] = False  # the float32 network is the same afterwards

    @classmethod
    def method_name(cls) -> str:
        """What a recipe calls it."""
        (name,) = get_args(cls.model_fields["method"].annotation)
        return str(name)

    @property
    def moves_weights(self) -> bool:
        """Whether every folded layer gets new weights, all of which the network must take back."""
        return False

    @property
    def training(self) -> TrainConfig | None:
        """The training that is part of it."""
        training = self.__dict__.get("train")
        assert training is None or isinstance(training, TrainConfig)
        return training

    @property
    def needs_targets(self) -> bool:
        """Whether examples must say what is right; else it can do without."""
        return self.training is not None

    @property
    def starts_at_random(self) -> bool:
        """Whether a network that was never trained is a sensible start."""
        return False

    @property
    def layers_in_fp32(self) -> tuple[str, ...]:
        """Layers that it leaves unrounded, of those that int8 could have."""
        return ()

    def calibration(self) -> Ptq | None:
        """How it finds int8 ranges; None where it decides no scales."""
        return None
