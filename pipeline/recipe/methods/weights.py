"""Ways of finding single weights that can be zero."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe.config import Count, Rate, Share
from edgeticket.pipeline.recipe.methods.pass_config import PassConfig
from edgeticket.pipeline.recipe.parts import TrainConfig

Sparsity = Annotated[float, Field(ge=0, lt=1)]


class WeightTicket(PassConfig):
    """A way of finding single weights that can be zero.

    Weights of convolutions and linear layers count; biases and normalisation are never pruned.
    """

    removes: ClassVar = "weights"

    method: str
    sparsity: Sparsity  # zeroed share of the weights of all layers that are not excluded
    exclude: tuple[str, ...] = ()  # names of layers that stay whole

    @property
    def starts_at_random(self) -> bool:
        return True


class Magnitude(WeightTicket):
    """Zero the smallest weights: at once, or gradually while the network is trained."""

    method: Literal["magnitude"]
    scope: Literal["global", "layer"] = "global"  # layer: every layer gets the same sparsity
    train: TrainConfig | None = None  # given: the sparsity rises while this training runs
    reach_at: Share = 0.7  # share of that training by which the sparsity is reached
    every: Count = 50  # steps from one rise of the sparsity to the next

    @property
    def starts_at_random(self) -> bool:
        return self.train is not None


class WeightPenalty(WeightTicket):
    """Train with an L1 penalty on the weights, then zero the smallest."""

    method: Literal["weight_penalty"]
    strength: Rate = 1e-5  # Σ|w| is multiplied by this in the loss
    scope: Literal["global", "layer"] = "global"
    train: TrainConfig = TrainConfig(epochs=10)


class Levels(WeightTicket):
    """Prune a share of the weights, level by level, each time after training from a rewound start.

    One level trains what is left of the network from the end of epoch ``rewind_to`` to the end of
    ``train``; then its smallest weights go. The last level takes only what is still needed.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of the weights left, zeroed at each level
    scope: Literal["global", "layer"] = "global"
    rewind_to: Annotated[int, Field(ge=0)] = 1  # epochs; 0 is the weights before any training
    # What a level starts with: the weights at ``rewind_to``, or those that the level before
    # ended with. The learning rate is rewound in both cases.
    rewind: Literal["weights", "learning_rate"] = "weights"
    # Stop a level's training once the mask that it would give hardly changes (You et al. 2020).
    early_bird: bool = False
    train: TrainConfig = TrainConfig(epochs=10)

    @model_validator(mode="after")
    def _rewinds_into_the_training(self) -> Levels:
        if self.rewind_to >= self.train.epochs:
            raise ValueError(f"rewind_to is below train.epochs, which is {self.train.epochs}")
        return self


class Rewinding(Levels):
    """Iterative magnitude pruning with rewinding."""

    method: Literal["rewinding"]


class Control(Levels):
    """What another method finds, spoiled on purpose, to see what mattered about it."""

    of: Literal["magnitude", "rewinding"] = "rewinding"  # magnitude uses sparsity, exclude, scope

    @property
    def starts_at_random(self) -> bool:
        return self.of == "rewinding"


class RandomMask(Control):
    """The ticket's start and sparsity of each layer, but a random choice of weights."""

    method: Literal["random_mask"]


class Reinit(Control):
    """The ticket's mask, but new random weights."""

    method: Literal["reinit"]


class EdgePopup(WeightTicket):
    """Learn a score for each frozen weight; each layer keeps its best."""

    method: Literal["edge_popup"]
    train: TrainConfig = TrainConfig(epochs=20, lr=0.1, warmup=0.0)


class ScoreMiner(WeightTicket):
    """Learn a score for each frozen weight; ever fewer are kept, and what falls stays down."""

    method: Literal["score_miner"]
    reach_at: Share = 0.7  # share of the run by which the sparsity is reached
    freeze_after: Share = 0.1  # share of the run after which a dropped weight cannot come back
    train: TrainConfig = TrainConfig(epochs=20, lr=1.0, warmup=0.0)


class ContinuousSparsification(WeightTicket):
    """Gates sigmoid(temperature × score) on frozen weights; the temperature rises."""

    method: Literal["continuous_sparsification"]
    temperature: tuple[Rate, Rate] = (1.0, 200.0)  # first step to last
    gate_lr: Rate = 0.02  # Adam's, on the scores: the peak of the schedule of ``train``
    reach_at: Share = 0.7  # share of the run by which the sparsity is reached
    frozen: bool = True  # False: the weights are trained along
    train: TrainConfig = TrainConfig(epochs=20, warmup=0.0)


class WeightGates(WeightTicket):
    """Stochastic gates on single weights, frozen or trained along."""

    method: Literal["weight_gates"]
    gate: Literal["stg", "hard_concrete"] = "stg"
    # Gates are 0 and 1 from the first step, unlike the authors' own.
    rounded: bool = True
    noise: tuple[Rate, Rate] = (0.5, 0.01)  # stg: σ, first step to last; hard_concrete: β
    # Standard deviation of the first scores. Where it is far above the noise, nearly the same gates
    # are open in every step: many layers one after the other learn nothing else.
    spread: Rate = 0.01
    gate_lr: Rate = 0.02  # Adam's, on the gates: the peak of the schedule of ``train``
    reach_at: Share = 0.4  # share of the run by which the sparsity is reached
    frozen: bool = True  # False: the weights are trained along
    train: TrainConfig = TrainConfig(epochs=20, warmup=0.0)
