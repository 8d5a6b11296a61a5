"""Bundles of models that other tools made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.api.paths import StrPath, optional_path
from edgeticket.device_runner.errors import InputError

if TYPE_CHECKING:
    from edgeticket.device_runner.manifest import Manifest


def bundle(
    models: StrPath | Sequence[StrPath],
    *,
    out: StrPath = "bundle",
    samples: StrPath | None = None,
    random: int | None = None,
    seed: int = 0,
    labels: StrPath | None = None,
    names: StrPath | None = None,
    task: str | None = None,
    task_settings: Sequence[str] = (),
    targets: StrPath | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    letterbox: Sequence[int] | None = None,
    layout: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Manifest:
    """Make a bundle of any model files, with the samples that they are measured and judged on.

    Without a ``task``: with classes for the samples of a classifier the bundle tells accuracy; else
    nothing is asked but fidelity.

    Args:
        models: .onnx and .tflite files; those that cost the same count as one network.
        out: the bundle's folder; ``out``.zip is written beside it, and what it is made of:
            ``out``.bom.cdx.json (CycloneDX) and ``out``.model-card.md.
        samples: test examples: a folder of pictures or of .npy files, .npy, or .npz.
        random: instead of ``samples`` so many random ones, which reports call so.
        seed: draws them.
        labels: the class of each sample: .npy, or text with a number a line; None: what ``samples``
            say.
        names: a file of the classes' names, one a line.
        task: what is asked of the outputs, by its name in docs/tasks.md.
        task_settings: ``key=value`` as recipes have them, or files of JSON.
        targets: a .npz of what is right, for ``task``.
        mean, std: what happens to samples before the model, a number or one for each channel.
        letterbox: height and width: pictures go in whole, with grey around them.
        layout: of the models' inputs, where shapes do not tell.
        say: gets a line for each file of ``samples`` that is passed over; None: nobody does.

    Returns:
        What the bundle says of itself: artifacts with their ends, samples, task.

    Raises:
        InputError: anything that does not fit, by name.
    """
    from edgeticket.device_runner.bundle import open_bundle
    from edgeticket.pipeline.external.asked import read_task
    from edgeticket.pipeline.external.bundle import bundle_foreign
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.recipe import check
    from edgeticket.pipeline.recipe.layouts import LetterboxConfig

    if task is None and (task_settings or targets is not None):
        raise InputError(
            "--task-settings and --targets are for a task: give --task with its name "
            "(docs/tasks.md)"
        )
    box = None
    if letterbox is not None:
        box = check(LetterboxConfig, {"size": list(letterbox)}, place="--letterbox")
    bundle_foreign(
        [Path(model) for model in ([models] if isinstance(models, str | Path) else models)],
        samples=optional_path(samples),
        labels=optional_path(labels),
        names=optional_path(names),
        mean=mean,
        std=std,
        layout=layout,
        task=None if task is None else read_task(task, task_settings),
        targets=optional_path(targets),
        out=Path(out),
        tell=say or QUIET.say,
        random=random,
        seed=seed,
        letterbox=box,
    )
    with open_bundle(Path(out)) as opened:
        return opened.manifest
