"""A bundle of models that other tools made, so that runner, devices and comparisons serve them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgeticket.device_runner import __version__
from edgeticket.device_runner.atomic import make_folder
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Artifact, InputSpec, Network, Task, TensorSpec
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.preprocess import prepare
from edgeticket.device_runner.runtimes.session import port_names
from edgeticket.pipeline.bill import BILL, CARD, check_bill, gather_facts, write_bill
from edgeticket.pipeline.bundle import StoredInput, write_bundle, zip_bundle
from edgeticket.pipeline.data.folder import Tell
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.external.asked import ask, check_fit
from edgeticket.pipeline.external.ends import aligned_inputs, aligned_outputs, base_of
from edgeticket.pipeline.external.file import ExternalModel, read_external
from edgeticket.pipeline.external.placed import place_targets, place_task
from edgeticket.pipeline.external.references import find_references
from edgeticket.pipeline.external.samples import draw_given, read_given
from edgeticket.pipeline.output_folder import (
    check_output,
    check_replaceable,
    is_bundle_zip,
    put_in_place,
    read_bundle_record,
)
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe.layouts import LetterboxConfig

ALL = ("x86_64", "aarch64", "armv7l")


def bundle_foreign(
    models: Sequence[Path],
    *,
    samples: Path | None,
    labels: Path | None,
    names: Path | None,
    mean: Sequence[float],
    std: Sequence[float],
    layout: str | None,
    out: Path,
    task: Task | None = None,
    targets: Path | None = None,
    random: int | None = None,
    seed: int = 0,
    letterbox: LetterboxConfig | None = None,
    tell: Tell = QUIET.say,
) -> list[Artifact]:
    """Write ``out``, a bundle folder, and beside it ``out``.zip, ``out``.bom.cdx.json and
    ``out``.model-card.md; only older ones of its own are replaced.

    Without a ``task``: with classes for the samples, and models of one output [1, classes], the
    bundle's task is those; else nothing is asked but fidelity.

    Args:
        models: .onnx and .tflite files; those that cost the same count as one network.
        samples: .npy, or .npz with ``inputs`` or an array for each input, and perhaps ``labels``;
            or a folder of pictures, in one folder for each class, or by themselves, or of .npy
            files; None: ``random`` is given.
        labels: .npy, or text with one number a line; None: in ``samples``, or there are none.
        names: of the classes, one a line; None: their numbers.
        mean, std: what happens to samples before the model; none: nothing.
        layout: of the models' inputs, where shapes do not tell.
        task: what is asked (`read_task`).
        targets: what is right, an .npz of the task's arrays; None: the task says when answers
            agree, and no more.
        random: so many samples that are noise, drawn by ``seed``, and marked so.
        out: the folder to write.
        letterbox: where pictures of ``samples`` become inputs so; right boxes are in pixels of the
            pictures themselves then, unless the settings say `picture`.
        tell: hears of files of ``samples`` that are passed over.

    Raises:
        InputError: anything that does not fit, by name.
    """
    zipped = out.with_name(f"{out.name}.zip")
    check_replaceable(out, read=read_bundle_record)
    check_output(zipped, ours=is_bundle_zip)
    bill, card = (out.with_name(f"{out.name}.{name}") for name in (BILL, CARD))
    check_bill(bill, card)
    if (samples is None) == (random is None):
        raise InputError("give either --samples, or --random with a number of random ones")
    # A folder's pictures need no more than the size that the first model takes.
    read = [read_external(model) for model in models]
    if samples is None:
        assert random is not None
        if labels is not None or mean or std or layout is not None or letterbox is not None:
            raise InputError("--random samples go in as they are: leave out the other options")
        read = aligned_inputs(read)
        given = draw_given(random, seed, read)
    else:
        several = len(read[0].inputs) > 1
        read = aligned_inputs(read) if several or len({len(m.inputs) for m in read}) > 1 else read
        given, read = read_given(
            samples,
            read,
            models,
            labels=labels,
            names=names,
            layout=layout,
            tell=tell,
            letterbox=letterbox,
        )
    base = base_of(read)
    steps = _scaling(mean, std, given.arrays)
    described = [InputSpec(name, "", preprocessing=steps) for name in port_names_of(base.inputs)]
    for model in read:
        prepare([a[:1] for a in given.arrays], described, model.inputs, place=model.place)
    read = aligned_outputs(read, given.arrays, described)
    asked, read, classes = ask(
        given,
        read,
        names,
        task=place_task(task, given.capture),
        targets=targets,
        has_labels=labels is not None,
    )
    asked = place_targets(asked, given.sizes)
    artifacts, networks = _describe(models, read)
    references = find_references(artifacts, read, given.arrays, described)
    if isinstance(asked, Targets):
        check_fit(asked, references)
    make_folder(out.parent)
    # Beside its place, so that it can be renamed when it is whole.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        scratch = Path(folder)
        (scratch / "bundle").mkdir()
        write_bundle(
            scratch / "bundle",
            name=_plain(out.name),
            artifacts=[(a, m.data) for a, m in zip(artifacts, read, strict=True)],
            inputs=[
                StoredInput(one.name, array, given.capture, steps)
                for one, array in zip(described, given.arrays, strict=True)
            ],
            targets=asked,
            outputs=port_names_of(base_of(read).outputs),
            dataset="random numbers" if samples is None else plain(samples.stem),
            random=given.random,
            labels=classes,
            networks=networks,
            references=references,
            provenance={
                "made_by": "other tools",
                "files": [plain(file.name) for file in models],
                "tools": {"edgeticket": __version__},
            },
        )
        zip_bundle(scratch / "bundle", scratch / "bundle.zip")
        put_in_place(scratch / "bundle", out, read=read_bundle_record)
        (scratch / "bundle.zip").replace(zipped)
    write_bill(gather_facts(out), bill, card)
    return artifacts


def port_names_of(specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """What a manifest calls inputs or outputs: as the base file does, as plain text."""
    return port_names([plain(spec.name)[:200] for spec in specs])


def _scaling(
    mean: Sequence[float], std: Sequence[float], arrays: Sequence[npt.NDArray[Any]]
) -> tuple[Mapping[str, Any], ...]:
    if not (mean or std):
        return ()
    if len(arrays) > 1:
        raise InputError("--mean and --std are for models with one input: scale the samples")
    channels = arrays[0].shape[-1]
    if {len(mean), len(std)} - {1, channels} or min(std, default=0) <= 0:
        raise InputError(
            f"--mean and --std: give both, one number or {channels} (one per channel), std above 0"
        )
    return (
        {
            "op": "normalize",
            "mean": list(mean) * (channels // len(mean)),
            "std": list(std) * (channels // len(std)),
        },
    )


def _describe(
    files: Sequence[Path], read: Sequence[ExternalModel]
) -> tuple[list[Artifact], dict[str, Network]]:
    """Artifacts with names of their own, and the networks that they are of."""
    networks: dict[str, Network] = {}
    artifacts: list[Artifact] = []
    mixed = len({model.precision for model in read}) > 1
    for file, model in zip(files, read, strict=True):
        alike = [
            name
            for name, known in networks.items()
            if known.macs == model.macs and isinstance(model.macs, int)
        ]
        network = alike[0] if alike else f"model-{len(networks) + 1}"
        networks.setdefault(network, Network(model.parameters, model.macs, {}))
        stem, number = _plain(file.stem), 2
        name = stem
        while name in {a.id for a in artifacts}:
            name, number = f"{stem}-{number}", number + 1
        artifacts.append(
            Artifact(
                id=name,
                file=f"artifacts/{name}{file.suffix}",
                network=network,
                role="baseline" if mixed and model.precision == "fp32" else "deploy",
                runtime=model.runtime,
                precision=model.precision,
                architectures=ALL,
                exact_with=(),
                inputs=model.inputs,
                outputs=model.outputs,
            )
        )
    return artifacts, networks


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:120] or "model"
