"""How many examples go into which split, where the recipe does not say."""

from __future__ import annotations

from collections.abc import Mapping

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.examples import Collection
from edgeticket.pipeline.recipe import DataConfig

MOST_CALIBRATION = 300  # more examples hardly change the ranges


def fitting_sizes(
    pool: int, classes: int, *, validation: int | None, has_test: bool
) -> dict[str, int]:
    """Sizes of splits for a small data set: a tenth is for choices, a fifth for the test.

    Args:
        pool: examples that are to be split.
        classes: a split has each at least once where the pool allows it.
        validation: examples that are for validation already; None: they come from the pool.
        has_test: whether there is an official test set.
    """
    tenth = max(1, min(classes, pool // 4), pool // 10)
    sizes = {"validation": tenth if validation is None else min(5000, validation)}
    sizes["calibration"] = min(MOST_CALIBRATION, tenth)
    if not has_test:
        sizes["test"] = max(1, min(classes, pool // 4), pool // 5)
    return sizes


def split_sizes(cfg: DataConfig, collection: Collection, *, title: str) -> Mapping[str, int]:
    """Examples that leave the pool: validation, calibration and test, as far as they come from it.

    What ``cfg`` gives is taken as it is; defaults that do not fit become `fitting_sizes`.

    Raises:
        InputError: what is given does not fit; names the keys and what there is.
    """
    pool = len(collection.pool)
    own_validation, own_test = collection.validation, collection.test
    sizes = {"calibration": cfg.calibration} if collection.calibration is None else {}
    if own_validation is None:
        sizes["validation"] = cfg.validation
    if own_test is not None and cfg.test is not None and cfg.test > len(own_test):
        raise InputError(f"data.test: {cfg.test} examples, but {title} has {len(own_test)}")
    fitting = fitting_sizes(
        pool,
        len(collection.labels),
        validation=None if own_validation is None else len(own_validation),
        has_test=own_test is not None,
    )
    if own_test is None:
        sizes["test"] = fitting["test"] if cfg.test is None else cfg.test
    least = cfg.train or 1
    if sum(sizes.values()) + least > pool:
        sizes |= {key: fitting[key] for key in sizes if key not in cfg.model_fields_set}
    if sum(sizes.values()) + least <= pool:
        return sizes
    asked = " + ".join(f"data.{key} {size}" for key, size in sorted(sizes.items(), reverse=True))
    train = f"data.train {cfg.train}" if cfg.train else "at least 1 to train with (data.train)"
    raise InputError(
        f"{asked} + {train} = {sum(sizes.values()) + least} examples, but {title} has {pool} to be "
        f"split: make them smaller, e.g. {_example(fitting)}"
    )


def _example(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{key}: {size}" for key, size in sizes.items())
