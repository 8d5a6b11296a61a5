"""Samples for models made elsewhere: pictures, arrays with names, or noise."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import DTYPES, TensorSpec
from edgeticket.device_runner.regular import (
    is_litter,
    is_regular,
    name_some,
    read_regular,
    read_regular_text,
)
from edgeticket.pipeline.data.folder import Tell
from edgeticket.pipeline.external.ends import base_of, with_layout
from edgeticket.pipeline.external.file import ExternalModel
from edgeticket.pipeline.external.pictures import read_pictures
from edgeticket.pipeline.recipe.layouts import LetterboxConfig

Array = npt.NDArray[Any]

FEW_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class Given:
    """Samples as a bundle holds them, one array for each input: channels last where there are
    channels; and the class of each."""

    arrays: tuple[Array, ...]
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...] | None = None  # their names, where samples are folders
    capture: tuple[Mapping[str, Any], ...] = ()  # what made them of pictures
    random: int | None = None  # the seed of samples that are noise
    sizes: npt.NDArray[np.int64] | None = None  # [N, 2] height and width of the pictures


def read_given(
    samples: Path,
    read: Sequence[ExternalModel],
    models: Sequence[Path],
    *,
    labels: Path | None,
    names: Path | None,
    layout: str | None,
    tell: Tell,
    letterbox: LetterboxConfig | None = None,
) -> tuple[Given, list[ExternalModel]]:
    """Files of samples -> samples, and the models with the layouts in which they take them.

    Args:
        samples: .npy, or .npz with ``inputs`` or an array for each input by name, and perhaps
            ``labels``; or a folder of pictures, or of .npy files.
        read: the models, with inputs in one order.
        models: their files.
        labels: .npy, or text with one number a line; None: in ``samples``, or there are none.
        names: of the classes, one a line; None: their numbers.
        layout: of the models' inputs, where shapes do not tell.
        tell: hears of files of a folder that are passed over.
        letterbox: of pictures; None: they are resized, and cut to the middle.

    Raises:
        InputError: they cannot be read, or do not fit one another or the models.
    """
    if samples.is_dir() and not _of_arrays(samples):
        given = _of_folder(
            samples, models[0], labels=labels, names=names, tell=tell, letterbox=letterbox
        )
    elif letterbox is not None:
        raise InputError(
            f"--letterbox is for a folder of pictures, and {samples} is none: leave it out"
        )
    else:
        given = read_samples(samples, base_of(read).inputs, labels, tell=tell)
    if len(given.arrays) > 1 and layout is not None:
        raise InputError("--layout is for models with one input: leave it out")
    fitted = []
    for model in read:
        specs = []
        for spec, array in zip(model.inputs, given.arrays, strict=True):
            title = f"{model.place}: the input" + f" {spec.name}" * (len(model.inputs) > 1)
            try:
                is_settled = spec.layout != "plain"
                specs.append(spec if is_settled else with_layout(spec, array.shape[1:], layout))
            except InputError as error:
                raise InputError(f"{title}: {error}") from None
        fitted.append(replace(model, inputs=tuple(specs)))
    return given, fitted


def read_samples(
    place: Path, inputs: Sequence[TensorSpec], labels: Path | None, *, tell: Tell
) -> Given:
    """A .npy, a .npz or a folder of .npy files -> an array for each of ``inputs``, and the classes.

    Raises:
        InputError: it cannot be read, or does not fit.
    """
    arrays = _stacked(place, tell=tell, used=labels) if place.is_dir() else read_arrays(place)
    return _of_arrays_by_name(place, arrays, inputs, labels)


def draw_given(count: int, seed: int, read: Sequence[ExternalModel]) -> Given:
    """Noise for the models' inputs: what codes can stand for, else a normal distribution; whole
    numbers from their whole range, and of a table's indices those that it has.

    Args:
        count: number of samples.
        seed: decides all of them.
        read: the models, with inputs in one order and layouts.
    """
    arrays = []
    base = base_of(read)
    for number, spec in enumerate(base.inputs):
        rng = np.random.default_rng([seed, number])
        specs = [model.inputs[number] for model in read]
        limit = min((m.limits[s.name] for m, s in zip(read, specs, strict=True)
                     if s.name in m.limits), default=None)  # fmt: skip
        drawn = _drawn(rng, (count, *spec.sample_shape), specs, limit)
        if spec.layout in ("NCHW", "NCW", "NCDHW"):
            drawn = np.moveaxis(drawn, 1, -1)
        arrays.append(np.ascontiguousarray(drawn))
    return Given(tuple(arrays), None, random=seed)


def _drawn(
    rng: np.random.Generator, shape: tuple[int, ...], specs: Sequence[TensorSpec], limit: int | None
) -> Array:
    dtype, coded = specs[0].dtype, next((s for s in specs if s.scale is not None), None)
    if coded is not None and coded.scale is not None and coded.zero_point is not None:
        low, high = (-128, 128) if coded.dtype == "int8" else (0, 256)
        codes = rng.integers(low, high, shape) - coded.zero_point
        return (codes * coded.scale).astype(np.float32)
    if dtype == "float32":
        return rng.standard_normal(shape, dtype=np.float32)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(np.bool_)
    kind = np.iinfo(dtype)
    if limit is None:
        # Nothing says what they are; 0 and 1 are in every table.
        low, high = (0, 2) if dtype in ("int32", "int64") else (kind.min, kind.max + 1)
    else:
        low, high = 0, min(limit, kind.max + 1)
    return rng.integers(low, high, shape).astype(dtype)


def _of_arrays(folder: Path) -> bool:
    return bool(_array_files(folder)[0])


def _array_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The .npy files of a folder in the order of their names, and what else somebody put there."""
    try:
        entries = sorted(file for file in folder.iterdir() if not is_litter(file.name))
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from None
    files = [e for e in entries if e.suffix.lower() == ".npy" and is_regular(e)]
    arrays = set(files)
    return files, [entry for entry in entries if entry not in arrays]


def _stacked(folder: Path, *, tell: Tell, used: Path | None) -> dict[str, Array]:
    """The .npy files of a folder, one for each sample; ``used`` is a file that is read, too."""
    files, others = _array_files(folder)
    if not files:
        raise InputError(f"{folder} has no .npy files")
    known = used.resolve() if used is not None else None
    if names := [e.name + "/" * e.is_dir() for e in others if e.resolve() != known]:
        tell(f"passed over in {folder}, no plain .npy files: {name_some(names)}")
    rows = [_only_array(file) for file in files]
    for file, row in zip(files, rows, strict=True):
        if (row.shape, row.dtype) != (rows[0].shape, rows[0].dtype):
            raise InputError(
                f"{file} is {row.dtype} {list(row.shape)}, {files[0].name} {rows[0].dtype} "
                f"{list(rows[0].shape)}: samples must be of one shape"
            )
    return {"": np.stack(rows)}


def _of_arrays_by_name(
    file: Path, arrays: Mapping[str, Array], inputs: Sequence[TensorSpec], labels: Path | None
) -> Given:
    found = None
    if labels is not None:
        found = _load_labels(labels)
    elif "labels" in arrays and all(spec.name != "labels" for spec in inputs):
        found = arrays["labels"]
    rest = {name: array for name, array in arrays.items() if name != "labels"}
    if len(inputs) == 1:
        chosen = _only_input(file, rest, inputs[0])
    else:
        chosen = _by_name(file, rest, inputs)
    counts = {len(array) if array.ndim else 0 for array in chosen}
    if len(counts) != 1 or 0 in counts:
        raise InputError(
            f"{file}: its arrays have {sorted(counts)} samples: there must be as many for each "
            "input, and one at least"
        )
    (count,) = counts
    classes = None if found is None else _checked_labels(found, count)
    return Given(tuple(np.ascontiguousarray(array) for array in chosen), classes)


def _only_input(file: Path, arrays: Mapping[str, Array], spec: TensorSpec) -> list[Array]:
    """The array of the only input; pictures may be channels first as well."""
    single = next((arrays[name] for name in ("", "inputs", spec.name) if name in arrays), None)
    if single is None and len(arrays) == 1:
        (single,) = arrays.values()
    if single is None:
        raise InputError(f"{file} has {', '.join(arrays) or 'nothing'}, but no inputs")
    inputs = _checked(file, "inputs", single)
    if inputs.ndim == 4 and inputs.shape[1] <= FEW_CHANNELS < inputs.shape[3]:
        inputs = inputs.transpose(0, 2, 3, 1)
    return [inputs]


def _by_name(file: Path, arrays: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> list[Array]:
    """An array for each input, as the base model takes it -> as bundles store it."""
    missing = [spec.name for spec in inputs if spec.name not in arrays]
    if missing:
        raise InputError(
            f"{file} has {', '.join(arrays) or 'nothing'}, but no {missing[0]}: give a .npz with "
            f"an array for each input ({', '.join(spec.name for spec in inputs)})"
        )
    found = []
    for spec in inputs:
        array = _checked(file, spec.name, arrays[spec.name])
        if array.shape[1:] != spec.sample_shape:
            raise InputError(
                f"{file}: {spec.name} is {list(array.shape)}, the model takes "
                f"[N, {', '.join(map(str, spec.sample_shape))}]"
            )
        if spec.layout in ("NCHW", "NCW", "NCDHW"):
            array = np.moveaxis(array, 1, -1)
        found.append(array)
    return found


def _checked(file: Path, name: str, array: Array) -> Array:
    """float64 becomes float32; what no bundle holds is refused."""
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.name not in DTYPES or array.ndim < 1 or not array.size:
        raise InputError(
            f"{file}: {name} are {array.dtype} {list(array.shape)}: give numbers ("
            f"{', '.join(DTYPES)}), samples first"
        )
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise InputError(f"{file}: {name} are not all finite")
    return array


def _of_folder(
    folder: Path,
    model: Path,
    *,
    labels: Path | None,
    names: Path | None,
    tell: Tell,
    letterbox: LetterboxConfig | None,
) -> Given:
    by_folder = names if labels is None else None
    pictures = read_pictures(folder, model, names=by_folder, letterbox=letterbox)
    pictures.listing.tell_passed_over(tell, used=(labels, names))
    numbers = pictures.labels if labels is None else _load_labels(labels)
    return Given(
        (pictures.inputs,),
        None if numbers is None else _checked_labels(numbers, len(pictures.inputs)),
        pictures.names if labels is None else None,
        pictures.steps,
        sizes=pictures.sizes,
    )


def _checked_labels(labels: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    if labels.dtype.kind not in "iu" or labels.shape != (count,) or labels.min() < 0:
        raise InputError(
            f"labels are {labels.dtype} {list(labels.shape)}: give the class of each of the "
            f"{count} samples, whole numbers from 0 on"
        )
    return labels.astype(np.int64)


def _only_array(file: Path) -> Array:
    """That of a .npy, whatever is behind the name."""
    arrays = read_arrays(file)
    if "" not in arrays:
        raise InputError(f"{file} is a .npz, whatever its name: give it by itself")
    return arrays[""]


def read_arrays(file: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a .npz by name; that of a .npy under "".

    Raises:
        InputError: it is neither, or not of plain arrays.
    """
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
        if reason.startswith("Object arrays"):
            reason = (
                "rows of unequal length, or of objects: fill them up to one length with numbers"
            )
        raise InputError(f"{file} is no whole .npy or .npz of plain arrays: {reason}") from None


def _load_labels(file: Path) -> npt.NDArray[Any]:
    if file.suffix in (".npy", ".npz"):
        arrays = read_arrays(file)
        return arrays[next(name for name in ("", "labels", *arrays) if name in arrays)]
    text = read_regular_text(file)
    try:
        return np.array([int(word) for word in text.split()], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{file} is no list of class numbers: {error}") from None
