"""The passes of a recipe: ways of finding a ticket, training on, and quantisation.

docs/tickets.md explains the ways of finding a ticket; `pipeline.tickets` has them.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from pipeline.recipe.config import Config, Count, Share
from pipeline.recipe.parts import BenchConfig, TrainConfig

Sparsity = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]


class Budget(Config):
    """What the ticket may still cost, as a share of the dense network: one of the two."""

    macs: Share | None = None
    parameters: Share | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if (self.macs is None) == (self.parameters is None):
            raise ValueError("give exactly one of macs, parameters")
        return self


class ChannelTicket(Config):
    """A way of finding channels that can be removed physically, within a budget."""

    method: str
    budget: Budget
    round_to: Count = 8  # channels are kept in multiples of this; int8 kernels want 8


class WeightTicket(Config):
    """A way of finding single weights that can be zero.

    Weights of convolutions and linear layers count; biases and normalisation are never pruned.
    """

    method: str
    sparsity: Sparsity  # zeroed share of the weights of all layers that are not excluded
    exclude: tuple[str, ...] = ()  # names of layers that stay whole

    @property
    def starts_at_random(self) -> bool:
        """Whether a network that was never trained is a sensible start."""
        return True


class StochasticGates(ChannelTicket):
    """Find the channels that matter with stochastic gates, and remove the others physically.

    Gates are Yamada et al. 2020 (STG); the weights are trained along with them.
    """

    method: Literal["stochastic_gates"]
    # Noise of the gates: the first until the budget is reached, then falling to the second.
    sigma: tuple[float, float] = (0.5, 0.05)
    gate_lr: Annotated[float, Field(gt=0)] = 0.02  # Adam's, on the gates
    steer_until: Share = 0.7  # share of the run by which the budget is reached
    train: TrainConfig = TrainConfig(epochs=5, lr=0.02, warmup=0.0)


class ChannelMagnitude(ChannelTicket):
    """Remove the channels with the smallest norm over all the layers that write them."""

    method: Literal["channel_magnitude"]


class ChannelPenalty(ChannelTicket):
    """Train with a penalty that makes channels small, then remove the smallest."""

    method: Literal["channel_penalty"]
    # Norms of a channel's weights (group lasso), or scales of batch norm (network slimming).
    penalty: Literal["group_l2", "bn_l1"] = "group_l2"
    strength: Rate = 1e-4  # what the penalty is multiplied by in the loss
    train: TrainConfig = TrainConfig(epochs=5, lr=0.02, warmup=0.0)


class BlockBudget(Config):
    """What the ticket may still cost, as shares of the dense network; all that are given hold."""

    macs: Share | None = None
    parameters: Share | None = None
    latency: Share | None = None  # of the int8 network, measured on this machine, see `runtime`

    @model_validator(mode="after")
    def _at_least_one(self) -> BlockBudget:
        if self.macs is None and self.parameters is None and self.latency is None:
            raise ValueError("give at least one of macs, parameters, latency")
        return self


class ResidualBlocks(Config):
    """Remove the residual blocks that the network misses least."""

    method: Literal["residual_blocks"]
    budget: BlockBudget
    examples: Count = 500  # training images by which the blocks are judged
    runtime: Literal["tflite", "ort"] = "tflite"  # whose latency counts
    bench: BenchConfig = BenchConfig(min_seconds=1.0, min_queries=200)  # how it is measured


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
    # Gates are 0 and 1 from the first step, with the gradient of the authors' own, which are not.
    rounded: bool = True
    noise: tuple[Rate, Rate] = (0.5, 0.01)  # stg: σ, first step to last; hard_concrete: β
    # Standard deviation of the first scores. Where it is far above the noise, nearly the same gates
    # are open in every step: many layers one after the other learn nothing else.
    spread: Rate = 0.01
    gate_lr: Rate = 0.02  # Adam's, on the gates: the peak of the schedule of ``train``
    reach_at: Share = 0.4  # share of the run by which the sparsity is reached
    frozen: bool = True  # False: the weights are trained along
    train: TrainConfig = TrainConfig(epochs=20, warmup=0.0)


class Finetune(Config):
    """Train whatever the passes before it left."""

    method: Literal["finetune"]
    train: TrainConfig = TrainConfig(epochs=10, lr=0.02)


class Ptq(Config):
    """Post-training quantisation to int8: decides the one set of scales."""

    method: Literal["ptq"]
    # Activation ranges over the calibration set (data.calibration examples): the extremes; all but
    # a few of the largest values; or what makes the least squared error.
    ranges: Literal["minmax", "percentile", "mse"] = "minmax"
    # ranges: percentile; so many percent of the values lie inside either end.
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    weight_ranges: Literal["minmax", "mse"] = "minmax"  # for each output channel, symmetric
    # Even out the ranges of consecutive layers first (cross-layer equalisation).
    equalise: bool = False
    # Round each weight up or down so that its layer's output changes least, not to the nearest.
    rounding: Literal["nearest", "adaround"] = "nearest"
    # Cancel the mean error that rounding makes in each channel, through the biases.
    bias_correction: bool = False
    keep_fp32: tuple[str, ...] = ()  # layers that are not rounded, e.g. layer1.0.conv1


class Qat(Config):
    """Quantisation-aware training: train with int8's rounding, then fix the scales.

    It starts from the scales of a `ptq` pass right before it, or else calibrates by itself.
    """

    method: Literal["qat"]
    # How activation ranges move: trained by the loss (LSQ+), or as averages of batch extremes.
    ranges: Literal["learned", "averaged"] = "learned"
    range_lr: Rate = 1e-3  # ranges: learned; Adam's, on the logarithms of the scales
    # Share of the epochs after which ranges are fixed; at least the last epoch has them fixed.
    freeze_ranges_at: Annotated[float, Field(ge=0, le=1)] = 0.5
    keep_fp32: tuple[str, ...] = ()  # layers that are not rounded; after a ptq pass, say it there
    # bf16 holds until ranges are fixed, the rest is always trained in float32. Folded networks
    # have no normalisation that forgives large steps: momentum SGD at 0.002 destroys a ResNet-20.
    train: TrainConfig = TrainConfig(epochs=2, optimizer="adam", lr=1e-5, weight_decay=0.0)


Pass = Annotated[
    StochasticGates
    | ChannelMagnitude
    | ChannelPenalty
    | ResidualBlocks
    | Magnitude
    | WeightPenalty
    | Rewinding
    | RandomMask
    | Reinit
    | EdgePopup
    | ScoreMiner
    | ContinuousSparsification
    | WeightGates
    | Finetune
    | Ptq
    | Qat,
    Field(discriminator="method"),
]

PASSES: tuple[type[Config], ...] = get_args(get_args(Pass)[0])
TICKET_METHODS = tuple(
    p for p in PASSES if issubclass(p, ChannelTicket | ResidualBlocks | WeightTicket)
)
