"""Whether what is asked of the outputs fits them, and the samples and scores of a manifest."""

from __future__ import annotations

import difflib
import math

from edgeticket.device_runner.chunks import check_chunks
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest.fields import (
    CLASSES,
    NOTHING,
    TRANSCRIPTS,
    Artifact,
    Manifest,
    TensorSpec,
)
from edgeticket.device_runner.task import TASKS, Settings, Task, read_settings
from edgeticket.device_runner.unavailable import Unavailable

CHANNELS_LAST = ("NHWC", "NWC", "NDHWC")
NAMES = (*TASKS, TRANSCRIPTS)


def check_task(manifest: Manifest, place: str) -> None:
    """Hold the task against labels, targets, outputs and scores.

    Raises:
        InputError: the first thing that does not fit.
    """
    name, labels = manifest.task.name, len(manifest.labels)
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            f"{place}: there is no task {name!r} here; {hint}known: {', '.join(NAMES)}; if it is a "
            "newer one, upgrade the runner"
        )
    if name in (CLASSES, TRANSCRIPTS):
        if manifest.task.settings:
            raise InputError(f"{place}: the task {name} has no settings here: leave them empty")
        for artifact in manifest.artifacts:
            _check_labelled_output(artifact, manifest, f"{place}: artifact {artifact.id}")
    if (manifest.chunks is not None) != (name == TRANSCRIPTS):
        raise InputError(f"{place}: chunks are for {TRANSCRIPTS}, and the task is {name}")
    if name in (CLASSES, TRANSCRIPTS):
        _check_labelled(manifest, place)
        _check_scores(manifest, ("top1",) if name == CLASSES else ("wer", "cer"), place)
        return
    task, settings = read_settings(name, manifest.task.settings, place=f"{place}: task")
    if name == NOTHING and (labels or manifest.samples.targets is not None):
        raise InputError(f"{place}: the task {NOTHING} has neither labels nor targets")
    for artifact in manifest.artifacts:
        _check_outputs(artifact, task, settings, f"{place}: artifact {artifact.id}: {name}")
    _check_scores(manifest, tuple(metric.name for metric in task.metrics(settings)), place)


def network_shape(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of one sample of an output in the order of axes that the network itself has."""
    shape = spec.sample_shape
    return (shape[-1], *shape[:-1]) if spec.layout in CHANNELS_LAST else shape


def _check_labelled(manifest: Manifest, place: str) -> None:
    """Classes and transcripts, whose targets are of a form of their own."""
    name, labels = manifest.task.name, len(manifest.labels)
    if labels < 2:
        raise InputError(f"{place}: {labels} labels: there must be two at least")
    if manifest.samples.targets is None or manifest.samples.random is not None:
        raise InputError(f"{place}: {name} need targets for samples that are data: give them")


def _check_labelled_output(artifact: Artifact, manifest: Manifest, place: str) -> None:
    """Classes and symbols are told by one output, with a value for each of the labels."""
    name, labels, chunks = manifest.task.name, len(manifest.labels), manifest.chunks
    if len(artifact.outputs) != 1 or len(artifact.inputs) != 1:
        raise InputError(
            f"{place}: it has {len(artifact.inputs)} inputs and {len(artifact.outputs)} outputs, "
            f"and {name} are told by a network with one of each: make it a bundle of task {NOTHING}"
        )
    output = artifact.output
    given = f"{place}: output {output.layout} {list(output.shape)}"
    if name == CLASSES:
        if output.layout != "NC" or output.shape[1] != labels:
            raise InputError(f"{given} must be NC [1, {labels}], one value per label")
        return
    if chunks is None:
        raise InputError(f"{place}: {TRANSCRIPTS} need chunks, how recordings become queries")
    check_chunks(chunks, place=place)
    least = chunks.window_samples // chunks.stride_samples
    sizes = dict(zip(output.layout, output.shape))
    if output.layout not in ("NCW", "NWC") or sizes["C"] != labels or sizes["W"] < least:
        raise InputError(
            f"{given} must be NCW or NWC with one value for each of {labels} symbols, and an "
            f"answer for each of the {least} strides of a window"
        )


def _check_outputs(artifact: Artifact, task: Task, settings: Settings, place: str) -> None:
    try:
        task.check_outputs([network_shape(spec) for spec in artifact.outputs], settings)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _check_scores(manifest: Manifest, names: tuple[str, ...], place: str) -> None:
    """A network was scored by all metrics of the task, or not at all."""
    for network, described in manifest.networks.items():
        scores = described.scores
        if scores and set(scores) != set(names):
            raise InputError(
                f"{place}: network {network}: scores are {', '.join(scores)}, those of the task "
                f"{manifest.task.name} are {', '.join(names) or 'none'}"
            )
        for name, value in scores.items():
            most = {"top1": 1.0, "wer": math.inf, "cer": math.inf}.get(name)
            if isinstance(value, Unavailable) or most is None:
                continue
            if not 0 <= value <= most:
                raise InputError(
                    f"{place}: network {network}: {name} is {value:g}, and it is a share"
                )
