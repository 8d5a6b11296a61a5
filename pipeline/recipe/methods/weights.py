"""Ways of finding single weights that can be zero."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe.config import METHOD, Config, Count, Rate, Share
from edgeticket.pipeline.recipe.methods.pass_config import PassConfig
from edgeticket.pipeline.recipe.parts import TrainConfig

Sparsity = Annotated[float, Field(ge=0, lt=1)]


class WeightTicket(PassConfig):
    """A way of finding single weights that can be zero.

    Weights of convolutions, linear and recurrent layers count; biases and normalisation are never
    pruned.
    """

    removes: ClassVar = "weights"

    method: str = Field(description=METHOD)
    sparsity: Sparsity = Field(
        description="Zeroed share of the weights of all layers that are not excluded."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Names of layers that stay whole.")

    @property
    def starts_at_random(self) -> bool:
        return True


class Magnitude(WeightTicket):
    """Zero the smallest weights: at once, or gradually while the network is trained."""

    method: Literal["magnitude"] = Field(description=METHOD)
    scope: Literal["global", "layer"] = Field(
        default="global",
        description="The smallest of the whole network; or of each layer, all at one sparsity.",
    )
    train: TrainConfig | None = Field(
        default=None, description="Where it is given, the sparsity rises while this training runs."
    )
    reach_at: Share = Field(
        default=0.7, description="Share of that training by which the sparsity is reached."
    )
    every: Count = Field(default=50, description="Steps from one rise of the sparsity to the next.")

    @property
    def starts_at_random(self) -> bool:
        return self.train is not None


class WeightPenalty(WeightTicket):
    """Train with an L1 penalty on the weights, then zero the smallest."""

    method: Literal["weight_penalty"] = Field(description=METHOD)
    strength: Rate = Field(
        default=1e-5, description="Σ|w| is multiplied by this in the loss; has to be tried out."
    )
    scope: Literal["global", "layer"] = Field(
        default="global",
        description="The smallest of the whole network; or of each layer, all at one sparsity.",
    )
    train: TrainConfig = Field(
        default=TrainConfig(epochs=10), description="The run that makes weights small."
    )


class Levels(WeightTicket):
    """Prune a share of the weights, level by level, each time after training from a rewound start.

    One level trains what is left of the network from the end of epoch ``rewind_to`` to the end of
    ``train``; then its smallest weights go. The last level takes only what is still needed.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2,
        description="Of the weights that are left, zeroed at each level; the papers' fifth.",
    )
    scope: Literal["global", "layer"] = Field(
        default="global",
        description="The smallest of the whole network; or of each layer, all at one sparsity.",
    )
    rewind_to: Annotated[int, Field(ge=0)] = Field(
        default=1, description="Epoch that is gone back to; 0 is the weights before any training."
    )
    rewind: Literal["weights", "learning_rate"] = Field(
        default="weights",
        description="What a level starts with: the weights at `rewind_to`, or those that the level "
        "before ended with. The learning rate goes back in both cases.",
    )
    early_bird: bool = Field(
        default=False,
        description="Stop a level's training once the mask that it would give hardly changes (You "
        "et al. 2020).",
    )
    train: TrainConfig = Field(
        default=TrainConfig(epochs=10), description="The training of each level."
    )

    @model_validator(mode="after")
    def _rewinds_into_the_training(self) -> Levels:
        if self.rewind_to >= self.train.epochs:
            raise ValueError(f"rewind_to is below train.epochs, which is {self.train.epochs}")
        return self


class Rewinding(Levels):
    """Iterative magnitude pruning with rewinding."""

    method: Literal["rewinding"] = Field(description=METHOD)


class Control(Levels):
    """What another method finds, spoiled on purpose, to see what mattered about it."""

    of: Literal["magnitude", "rewinding"] = Field(
        default="rewinding",
        description="Whose ticket; `magnitude` is in one shot, with sparsity, exclude and scope.",
    )

    @property
    def starts_at_random(self) -> bool:
        return self.of == "rewinding"


class RandomMask(Control):
    """The ticket's start and sparsity of each layer, but a random choice of weights."""

    method: Literal["random_mask"] = Field(description=METHOD)


class Reinit(Control):
    """The ticket's mask, but new random weights."""

    method: Literal["reinit"] = Field(description=METHOD)


class EdgePopup(WeightTicket):
    """Learn a score for each frozen weight; each layer keeps its best."""

    method: Literal["edge_popup"] = Field(description=METHOD)
    train: TrainConfig = Field(
        default=TrainConfig(epochs=20, lr=0.1, warmup=0.0),
        description="The run that scores learn in; weights stay as they were drawn.",
    )


class ScoreMiner(WeightTicket):
    """Learn a score for each frozen weight; ever fewer are kept, and what falls stays down."""

    method: Literal["score_miner"] = Field(description=METHOD)
    reach_at: Share = Field(
        default=0.7, description="Share of the run by which the sparsity is reached."
    )
    freeze_after: Share = Field(
        default=0.1, description="Share of the run after which a dropped weight cannot come back."
    )
    train: TrainConfig = Field(
        default=TrainConfig(epochs=20, lr=1.0, warmup=0.0),
        description="The run that scores learn in; weights stay as they were drawn.",
    )


class ContinuousSparsification(WeightTicket):
    """Gates sigmoid(temperature × score) on frozen weights; the temperature rises."""

    method: Literal["continuous_sparsification"] = Field(description=METHOD)
    temperature: tuple[Rate, Rate] = Field(
        default=(1.0, 200.0),
        description="From the first step to the last; high makes gates 0 or 1.",
    )
    gate_lr: Rate = Field(
        default=0.02,
        description="Adam's learning rate, on the scores: the peak of the schedule of `train`.",
    )
    reach_at: Share = Field(
        default=0.7, description="Share of the run by which the sparsity is reached."
    )
    frozen: bool = Field(default=True, description="false trains the weights along.")
    train: TrainConfig = Field(
        default=TrainConfig(epochs=20, warmup=0.0),
        description="The run that scores learn in.",
    )


class Settled(Config):
    """Weights that a seed decides before anything is learnt; a mask need not tell of them."""

    zeros: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of the weights that are pruned at random."
    )
    ones: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of the weights that are kept at random."
    )

    @model_validator(mode="after")
    def _leaves_some(self) -> Settled:
        if self.zeros + self.ones >= 1:
            raise ValueError(
                f"zeros ({self.zeros:g}) and ones ({self.ones:g}) leave nothing to search for; "
                "together they are below 1"
            )
        return self


class WeightGates(WeightTicket):
    """Stochastic gates on single weights, frozen or trained along."""

    method: Literal["weight_gates"] = Field(description=METHOD)
    gate: Literal["stg", "hard_concrete"] = Field(
        default="stg", description="Which gate; docs/tickets.md has the formulas."
    )
    rounded: bool = Field(
        default=True,
        description="Gates are 0 and 1 from the first step, unlike the authors' own, so that the "
        "network learns with what it will have.",
    )
    noise: tuple[Rate, Rate] = Field(
        default=(0.5, 0.01),
        description="From the first step to the last: σ of `stg`, β of `hard_concrete`.",
    )
    spread: Rate = Field(
        default=0.01,
        description="Standard deviation of the first scores. Where it is far above the noise, "
        "nearly the same gates are open in every step: many layers one after the other learn "
        "nothing else.",
    )
    gate_lr: Rate = Field(
        default=0.02,
        description="Adam's learning rate, on the gates: the peak of the schedule of `train`.",
    )
    reach_at: Share = Field(
        default=0.4, description="Share of the run by which the sparsity is reached."
    )
    frozen: bool = Field(default=True, description="false trains the weights along.")
    settled: Settled | None = Field(
        default=None,
        description="Weights that chance prunes or keeps beforehand. The `.ticket` file stores the "
        "mask of the others alone, so that a wider network fits into it. Default: none.",
    )
    train: TrainConfig = Field(
        default=TrainConfig(epochs=20, warmup=0.0),
        description="The run that gates learn in.",
    )

    @model_validator(mode="after")
    def _settles_no_more_than_it_wants(self) -> WeightGates:
        if self.settled is None:
            return self
        if self.settled.zeros > self.sparsity:
            raise ValueError(
                f"settled.zeros prunes {self.settled.zeros:g} of the weights, more than sparsity, "
                f"{self.sparsity:g}; lower it"
            )
        if self.settled.ones > 1 - self.sparsity:
            raise ValueError(
                f"settled.ones keeps {self.settled.ones:g} of the weights, and sparsity leaves "
                f"{1 - self.sparsity:g}; lower it"
            )
        return self
