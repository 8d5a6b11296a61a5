"""What is asked of models made elsewhere: classes where that fits, a task by name, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import CLASSES, NOTHING, TRANSCRIPTS, Task
from edgeticket.device_runner.regular import read_regular, read_regular_text
from edgeticket.device_runner.strict_json import parse_json
from edgeticket.device_runner.task import get_task, read_settings
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.external.file import ExternalModel
from edgeticket.pipeline.external.samples import Given, read_arrays
from edgeticket.pipeline.recipe.reading import parse_value
from edgeticket.pipeline.reference.outputs import Reference

Asked = tuple[
    npt.NDArray[np.int64] | Targets | None, list[ExternalModel], list[str]
]  # targets as `write_bundle` takes them, the models, names of what outputs tell

EXAMPLES = {"input": "input=[320,320]", "scores": "scores='{outputs: [0], count: 3}'"}


def read_task(name: str, settings: Sequence[str]) -> Task:
    """The task that a user names, with its settings.

    Args:
        name: of docs/tasks.md.
        settings: files of JSON objects, and ``key=value`` with a value as recipes have it; later
            ones go before earlier ones.

    Raises:
        InputError: there is no such task or setting, or a file that cannot be read.
    """
    if name == TRANSCRIPTS:
        raise InputError(
            f"--task {name}: only recipes make bundles of {name} (docs/speech.md); leave it out, "
            "and fidelity alone is measured"
        )
    get_task(name, place="--task")
    document: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if equals and key.isidentifier():
            document[key] = _value(key, value)
            continue
        read = parse_json(read_regular(Path(text)), place=text)
        if not isinstance(read, dict):
            raise InputError(f'{text} is no JSON object: write settings as {{"form": ...}}')
        document |= read
    if name == CLASSES and document:
        raise InputError(f"--task {name} has no settings here: leave out --task-settings")
    needed = get_task(name).settings.schema().get("required", [])
    missing = [key for key in needed if key not in document]
    if missing:
        example = EXAMPLES.get(missing[0], f"{missing[0]}=...")
        raise InputError(
            f"--task {name} needs {', '.join(missing)}: give --task-settings FILE.json, or one for "
            f"each key, such as {example}; docs/tasks.md#{name} has all of them"
        )
    read_settings(name, document, place="--task-settings")
    return Task(name, document)


def ask(
    given: Given,
    read: Sequence[ExternalModel],
    names: Path | None,
    *,
    task: Task | None,
    targets: Path | None,
    has_labels: bool,
) -> Asked:
    """Hold what is asked against samples and models.

    Args:
        given: the samples, perhaps with classes.
        read: the models.
        names: of classes, one a line; None: their numbers, or of other tasks none.
        task: None: classes where samples and models have them, else nothing.
        targets: of the task, .npz; None: there are none.
        has_labels: the user gave a file of classes.

    Raises:
        InputError: what does not fit.
    """
    if task is None or task.name == CLASSES:
        if targets is not None:
            raise InputError("--targets are for a task: give --task with its name (docs/tasks.md)")
        told = _classes(given, read, names, is_wanted=has_labels or task is not None)
        return told[0].labels, told[1], told[2]
    if has_labels:
        raise InputError(f"--labels are classes, and --task is {task.name}: give --targets")
    known = get_task(task.name).targets
    if targets is not None and (not known or given.random is not None):
        why = "takes no targets" if not known else "nothing is right about --random samples"
        raise InputError(f"--targets: {task.name} {why}" if not known else f"--targets: {why}")
    arrays = {} if targets is None else _arrays(targets, known)
    listed = [] if names is None else read_regular_text(names).splitlines()
    if task.name == NOTHING and listed:
        raise InputError(f"--names: the task {NOTHING} has no names")
    return Targets(task, arrays, len(given.arrays[0])), list(read), listed


def check_fit(targets: Targets, references: Mapping[str, Reference]) -> None:
    """Judge what was computed for the first samples, so that outputs and targets that do not fit
    are refused before there is a bundle.

    Raises:
        InputError: they do not.
    """
    if not targets.arrays:
        return
    task, settings = read_settings(
        targets.task.name, targets.task.settings, place="--task-settings"
    )
    task.check(targets.arrays, settings, targets.count)
    for reference in references.values():
        count = len(reference.outputs[0])
        task.make_tally(task.take_first(targets.arrays, count), settings, count).add(
            reference.outputs
        )


def _value(key: str, text: str) -> Any:
    """JSON, or as recipes have it: ``{outputs: [0], count: 3}``, a word."""
    try:
        return parse_json(text.encode(), place="value")
    except InputError:
        return parse_value(text, place=f"--task-settings {key}")


def _arrays(file: Path, known: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz; a .npy is the task's only target."""
    arrays = read_arrays(file)
    needed = [name for name in known if not name.endswith("?")]
    if set(arrays) != {""}:
        return arrays
    if len(needed) != 1:
        raise InputError(
            f"--targets {file}: give a .npz with {', '.join(known)}, as numpy.savez writes it"
        )
    return {needed[0]: arrays[""]}


def _classes(
    given: Given, read: Sequence[ExternalModel], names: Path | None, *, is_wanted: bool
) -> tuple[Given, list[ExternalModel], list[str]]:
    """Whether classes are told: then outputs get the layout NC, and classes have names."""
    tells = all(
        len(m.inputs) == len(m.outputs) == 1
        and m.outputs[0].has_batch
        and len(m.outputs[0].shape) == 2
        and m.outputs[0].shape[1] > 1
        for m in read
    )
    if given.labels is None or not tells:
        if is_wanted and not tells:
            shapes = [list(spec.shape) for spec in read[0].outputs]
            raise InputError(
                f"--labels are classes, and {read[0].place} gives {shapes}, which is not "
                "[1, classes]: leave them out, and fidelity alone is measured"
            )
        if is_wanted:
            raise InputError("--task classes: the samples have no classes: give --labels")
        return replace(given, labels=None), list(read), []
    counts = {model.outputs[0].shape[1] for model in read}
    if len(counts) > 1:
        raise InputError(f"the models give {sorted(counts)} values: they must be of one task")
    (count,) = counts
    if given.classes is not None and len(given.classes) != count:
        raise InputError(
            f"the model gives {count} values, and {names or 'the folder'} has "
            f"{len(given.classes)} classes: give --names, a file with the folder of each class, "
            "one a line in the order of the model's values"
        )
    if int(given.labels.max()) >= count:
        raise InputError(
            f"labels go to {given.labels.max()}, but the model gives {count} values: classes are "
            "numbered from 0"
        )
    told = [replace(m, outputs=(replace(m.outputs[0], layout="NC"),)) for m in read]
    classes = _names(names, count) if given.classes is None else list(given.classes)
    return given, told, classes


def _names(file: Path | None, count: int) -> list[str]:
    if file is None:
        return [str(i) for i in range(count)]
    names = read_regular_text(file).splitlines()
    if len(names) != count:
        raise InputError(f"{file} has {len(names)} names, the model gives {count} values")
    return names
