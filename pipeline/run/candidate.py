"""What passes between the steps of a run, and the step that makes it."""

from __future__ import annotations

import functools
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from edgeticket.device_runner.strict_json import flat_fields, format_json
from edgeticket.models.imported import look_in
from edgeticket.models.network import Network
from edgeticket.models.own import is_file, own_version
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.network.file import load_network, save_network
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.prune.mask_file import load_mask, save_mask
from edgeticket.pipeline.quantize import Scales
from edgeticket.pipeline.recipe import Recipe
from edgeticket.pipeline.run.dataset import load_recipe_data
from edgeticket.pipeline.store import Result, Store
from edgeticket.pipeline.task import task_of
from edgeticket.pipeline.task.shown import metric_name, metric_text
from edgeticket.pipeline.train import evaluate

TRAINING_TOOLS = ("torch", "numpy", "lightning-fabric", "mlxtend")


@dataclass(frozen=True)
class Job:
    """What every step of a run needs."""

    recipe: Recipe
    data: Dataset
    store: Store
    progress: Progress
    folders: Sequence[Path] = ()  # where files that the recipe names are looked up, in order

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        *,
        recipe_folder: Path,
        store: Path,
        data_folder: Path,
        progress: Progress,
    ) -> Job:
        """The job of carrying out ``recipe``, with its data loaded.

        Raises:
            InputError: the data are absent, or do not fit.
        """
        beside = (recipe_folder, Path())
        look_in(beside)
        data = load_recipe_data(
            recipe, folder=data_folder, beside=beside, store=store, progress=progress
        )
        return cls(recipe, data, Store(store), progress, (*beside, data_folder))


@dataclass(frozen=True)
class Candidate:
    """What one pass hands to the next: a network, its mask if single weights of it were pruned,
    and its scales once they are decided."""

    network: Network  # what the mask zeroes is zero
    mask: Mask | None
    scales: Scales | None
    log: tuple[Mapping[str, Any], ...]  # one entry for each step so far
    digest: str
    before: Candidate | None = None  # what this was made of
    seconds: float | None = None  # that the last step took; None: it is not known

    @property
    def timed_log(self) -> tuple[Mapping[str, Any], ...]:
        """The log with the time of each step, which is no part of what a bundle says."""
        earlier = () if self.before is None else self.before.timed_log
        return (*earlier, {**self.log[-1], "seconds": self.seconds})


@dataclass(frozen=True)
class PassResult:
    """What a pass makes, and what the log should say of it; see `Candidate`."""

    network: Network
    mask: Mask | None = None
    scales: Scales | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A stage whose result is a candidate: all that the store asks for, and how it is read back.

    step.read(job.store.stage(step.name, step.make, **step.key))
    """

    job: Job  # the run that needs it, with the data that it works on
    name: str  # what people read
    # ``work(resume=folder)`` does it; a long training keeps its state in that folder. The code that
    # it can reach is part of the key, see `Store.stage`.
    work: Callable[..., PassResult]
    config: Mapping[str, Any]  # what decides the result, besides ``before`` and the data
    before: Candidate | None  # what it is made of; None for the first

    @property
    def make(self) -> Callable[..., None]:
        """What the store calls."""
        return functools.partial(_make_and_keep, name=self.name, make=self.work, data=self.job.data)

    @property
    def key(self) -> dict[str, Any]:
        """What decides the result, as the store takes it."""
        before, config = self.before, dict(self.config)
        if before is not None and is_file(before.network.arch):
            config["version"] = own_version(before.network.arch)
        # The last bits of a training run depend on these too.
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
        return {
            "config": {**config, "device": device, "threads": torch.get_num_threads()},
            "inputs": {"data": self.job.data.digest, "before": before.digest if before else ""},
            "tools": TRAINING_TOOLS,
        }

    def read(self, result: Result) -> Candidate:
        """What the store made or found."""
        candidate = _read(result, self.before)
        _show(self.job, self.name, candidate.log[-1], reused=result.reused)
        return candidate


def _make_and_keep(
    folder: Path,
    resume: Path,
    *,
    name: str,
    make: Callable[..., PassResult],
    data: Dataset,
) -> None:
    """Write what a pass makes to ``folder``, with a log entry that judges it on validation."""
    made = make(resume=resume)
    module = made.network.module()
    parameters, macs = count(module, made.network.input_shapes)
    judged = evaluate(module, data.validation, preprocessing=data.preprocessing)
    entry = {
        "step": name,
        **made.facts,
        **_teacher_facts(data),
        "parameters": parameters,
        "macs": macs,
        **judged.logged(),
    }
    save_network(made.network, folder)
    if made.mask is not None:
        save_mask(made.mask, folder / "mask.safetensors")
    if made.scales is not None:
        (folder / "scales.json").write_bytes(format_json(made.scales.to_json()))
    (folder / "log.json").write_bytes(format_json(entry))


def _read(result: Result, before: Candidate | None) -> Candidate:
    """What `_make_and_keep` wrote."""
    network = load_network(result.folder, trusted="*")  # the recipe asked for its code
    mask_file, scales_file = result.folder / "mask.safetensors", result.folder / "scales.json"
    entry = json.loads((result.folder / "log.json").read_bytes())
    return Candidate(
        network,
        load_mask(mask_file, network) if mask_file.exists() else None,
        Scales.from_json(json.loads(scales_file.read_bytes())) if scales_file.exists() else None,
        (*(before.log if before else ()), entry),
        result.digest,
        before,
        result.seconds,
    )


def _teacher_facts(data: Dataset) -> dict[str, Any]:
    """What the log says of whoever taught: one that is no good should be noticed."""
    teacher = data.train.teacher
    if teacher is None:
        return {}
    module = teacher.network.module()
    judged = evaluate(module, data.validation, preprocessing=teacher.preprocessing)
    return {"teacher": {"arch": teacher.network.arch, **judged.logged()}}


def _show(job: Job, name: str, entry: Mapping[str, Any], *, reused: bool) -> None:
    """One line of progress about a candidate."""
    metric = task_of(job.data.validation).headline
    if metric is None:
        ratio = entry.get("validation_sqnr_db")
        score = "" if ratio is None else f"int8 {ratio:.1f} dB on validation"
    elif metric.name == "top1":
        score = f"{entry['validation_top1']:7.2%} on validation"
    else:
        value = flat_fields(entry)[f"validation_{metric.name}"]
        score = f"{metric_name(metric)} {metric_text(metric, value)} on validation"
    job.progress.say(
        f"{name:18} {entry['parameters']:>10,} parameters  {entry['macs']:>12,} MACs  "
        f"{score}{'  (done before)' * reused}".rstrip()
    )
