"""What tests of distillation share: digits, a teacher, and every loss."""

from __future__ import annotations

from pathlib import Path

from models.network import Network
from pipeline.data import load_dataset
from pipeline.recipe import (
    Attention,
    DataConfig,
    Decoupled,
    Distil,
    Features,
    Review,
    SoftTargets,
)

DATA = load_dataset(
    DataConfig(name="digits", train=300, validation=200, test=100), seed=0, folder=Path()
)
LARGE = Network.fresh("digits_cnn", {"width": 8}, seed=2)
LATE = ("features.8", "features.14")
ALL = {
    "soft_targets": Distil(cross_entropy=0.1, soft_targets=SoftTargets(weight=0.9)),
    "dkd": Distil(dkd=Decoupled(beta=2.0)),
    "features": Distil(features=Features(layers=(("features.8", "features.8"),))),
    "attention": Distil(attention=Attention(layers=(("features.8", "features.8"),))),
    "review": Distil(review=Review(layers=tuple((n, n) for n in LATE), width=8)),
    "together": Distil(
        cross_entropy=0.5,
        soft_targets=SoftTargets(),
        features=Features(layers=(("classifier", "classifier"), ("features.2", "features.5"))),
        review=Review(layers=(("features.14", "features.14"),), width=4),
    ),
}
