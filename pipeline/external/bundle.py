"""A bundle of models that other tools made, so that runner, devices and comparisons serve them."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner import __version__
from edgeticket.device_runner.atomic import make_folder
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Artifact, Network
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.preprocess import preprocess, to_tensor
from edgeticket.device_runner.regular import read_regular, read_regular_text
from edgeticket.pipeline.bundle import write_bundle, zip_bundle
from edgeticket.pipeline.data.folder import Tell
from edgeticket.pipeline.external.file import Foreign, read_foreign
from edgeticket.pipeline.external.pictures import read_pictures
from edgeticket.pipeline.output_folder import (
    check_output,
    check_replaceable,
    is_foreign_zip,
    put_in_place,
    read_bundle_record,
)
from edgeticket.pipeline.progress import QUIET

ALL = ("x86_64", "aarch64", "armv7l")
FEW_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class Given:
    """Samples as a bundle holds them: channels last, and the class of each."""

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...] | None = None  # of the classes, where samples are folders
    capture: tuple[Mapping[str, Any], ...] = ()  # what made them of pictures


def bundle_foreign(
    models: Sequence[Path],
    *,
    samples: Path,
    labels: Path | None,
    names: Path | None,
    mean: Sequence[float],
    std: Sequence[float],
    layout: str | None,
    out: Path,
    tell: Tell = QUIET.say,
) -> list[Artifact]:
    """Write ``out``, a bundle folder, and ``out``.zip; only older ones of its own are replaced.

    Args:
        models: .onnx and .tflite files; those that cost the same count as one network.
        samples: .npy, or .npz with ``inputs`` and perhaps ``labels``; or a folder of pictures, in
            one folder for each class, or by themselves.
        labels: .npy, or text with one number a line; None: in ``samples``.
        names: of the classes, one a line; None: their numbers.
        mean, std: what happens to samples before the model; none: nothing.
        layout: of the models' inputs, where shapes do not tell.
        out: the folder to write.
        tell: hears of files of ``samples`` that are passed over.

    Raises:
        InputError: anything that does not fit, by name.
    """
    zipped = out.with_name(f"{out.name}.zip")
    check_replaceable(out, read=read_bundle_record)
    check_output(zipped, ours=is_foreign_zip)
    if samples.is_dir():
        given = _of_folder(samples, models[0], labels=labels, names=names, tell=tell)
    else:
        given = read_samples(samples, labels)
    steps: list[Mapping[str, Any]] = []
    if mean or std:
        channels = given.inputs.shape[-1]
        if {len(mean), len(std)} - {1, channels} or min(std, default=0) <= 0:
            raise InputError(
                f"--mean and --std: give both, one number or {channels} (one per channel), std "
                "above 0"
            )
        steps.append(
            {
                "op": "normalize",
                "mean": list(mean) * (channels // len(mean)),
                "std": list(std) * (channels // len(std)),
            }
        )
    read = [read_foreign(m, sample=given.inputs.shape[1:], layout=layout) for m in models]
    classes = {model.output.shape[1] for model in read}
    if len(classes) > 1:
        raise InputError(f"the models give {sorted(classes)} values: they must be of one task")
    (count,) = classes
    if given.names is not None and len(given.names) != count:
        raise InputError(
            f"the model gives {count} values, and {names or samples} has {len(given.names)} "
            "classes: give --names, a file with the folder of each class, one a line in the order "
            "of the model's values"
        )
    if int(given.labels.max()) >= count:
        raise InputError(
            f"labels go to {given.labels.max()}, but the model gives {count} values: classes are "
            "numbered from 0"
        )
    for file, model in zip(models, read, strict=True):
        to_tensor(preprocess(given.inputs[:1], steps), model.input, place=str(file))
    artifacts, networks = _describe(models, read)
    make_folder(out.parent)
    # Beside its place, so that it can be renamed when it is whole.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        scratch = Path(folder)
        (scratch / "bundle").mkdir()
        write_bundle(
            scratch / "bundle",
            name=_plain(out.name),
            artifacts=[(a, m.data) for a, m in zip(artifacts, read, strict=True)],
            inputs=given.inputs,
            targets=given.labels,
            dataset=plain(samples.stem),
            labels=_names(names, count) if given.names is None else given.names,
            preprocessing=steps,
            capture=given.capture,
            networks=networks,
            provenance={
                "made_by": "other tools",
                "files": [plain(file.name) for file in models],
                "tools": {"edgeticket": __version__},
            },
        )
        zip_bundle(scratch / "bundle", scratch / "bundle.zip")
        put_in_place(scratch / "bundle", out, read=read_bundle_record)
        (scratch / "bundle.zip").replace(zipped)
    return artifacts


def _of_folder(
    folder: Path, model: Path, *, labels: Path | None, names: Path | None, tell: Tell
) -> Given:
    by_folder = names if labels is None else None
    pictures = read_pictures(folder, model, names=by_folder)
    pictures.listing.tell_passed_over(tell, used=(labels, names))
    numbers = pictures.labels if labels is None else _load_labels(labels)
    if numbers is None:
        raise InputError(
            f"{folder} has pictures but no folder for each class: put them in such folders "
            f"({folder.name}/cat/1.jpg), or give --labels, the class of each in the order of the "
            "files' names, one a line"
        )
    return Given(
        pictures.inputs,
        _checked_labels(numbers, len(pictures.inputs)),
        pictures.names if labels is None else None,
        pictures.steps,
    )


def _checked_labels(labels: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    if labels.dtype.kind not in "iu" or labels.shape != (count,) or labels.min() < 0:
        raise InputError(
            f"labels are {labels.dtype} {list(labels.shape)}: give the class of each of the "
            f"{count} samples, whole numbers from 0 on"
        )
    return labels.astype(np.int64)


def read_samples(file: Path, labels: Path | None) -> Given:
    """Files of samples -> samples, channels last, and labels.

    Raises:
        InputError: they cannot be read, or do not fit one another.
    """
    arrays = _load(file)
    single = arrays.get("") if "" in arrays else arrays.get("inputs")
    if single is None:
        raise InputError(f"{file} has {', '.join(arrays)}, but no inputs")
    if labels is not None:
        found = _load_labels(labels)
    elif "labels" in arrays:
        found = arrays["labels"]
    else:
        raise InputError(f"{file} has no labels: give them with --labels")
    inputs: npt.NDArray[Any] = single.astype(np.float32) if single.dtype == np.float64 else single
    if (
        inputs.dtype not in (np.uint8, np.float32)
        or inputs.ndim not in (2, 3, 4)
        or not len(inputs)
    ):
        raise InputError(
            f"{file}: inputs are {inputs.dtype} {list(inputs.shape)}: give uint8 or float32, "
            "[N, H, W, C] or [N, C, H, W]"
        )
    if inputs.dtype == np.float32 and not np.isfinite(inputs).all():
        raise InputError(f"{file}: inputs are not all finite")
    classes = _checked_labels(found, len(inputs))
    if inputs.ndim == 4 and inputs.shape[1] <= FEW_CHANNELS < inputs.shape[3]:
        inputs = inputs.transpose(0, 2, 3, 1)
    return Given(np.ascontiguousarray(inputs), classes)


def _load(file: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a .npz by name; that of a .npy under ""."""
    data = read_regular(file)
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            # A member of another kind is given as its bytes.
            return {name: np.asarray(loaded[name]) for name in loaded.files}
    except Exception as error:  # numpy has many kinds for what is damaged
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{file} is no whole .npy or .npz of plain arrays: {reason}") from None


def _load_labels(file: Path) -> npt.NDArray[Any]:
    if file.suffix in (".npy", ".npz"):
        arrays = _load(file)
        return arrays[next(name for name in ("", "labels", *arrays) if name in arrays)]
    text = read_regular_text(file)
    try:
        return np.array([int(word) for word in text.split()], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{file} is no list of class numbers: {error}") from None


def _names(file: Path | None, count: int) -> list[str]:
    if file is None:
        return [str(i) for i in range(count)]
    names = read_regular_text(file).splitlines()
    if len(names) != count:
        raise InputError(f"{file} has {len(names)} names, the model gives {count} values")
    return names


def _describe(
    files: Sequence[Path], read: Sequence[Foreign]
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
                input=model.input,
                output=model.output,
            )
        )
    return artifacts, networks


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:120] or "model"
