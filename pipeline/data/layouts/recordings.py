"""Recordings as inputs of one length; in one folder for each class, or named by a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import is_litter
from edgeticket.pipeline.data.audio import SUFFIXES, log_mel, read_waveform
from edgeticket.pipeline.data.examples import Inputs
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.layouts.lengths import fit_length
from edgeticket.pipeline.data.layouts.names import read_names
from edgeticket.pipeline.data.layouts.part import Part, Reading, Source, Steps
from edgeticket.pipeline.data.layouts.paths import list_files, parts_of, shown
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.recipe import DataConfig
from edgeticket.pipeline.recipe.layouts import AudioConfig

PLACE = "data.recordings"
MOST_BYTES = 2**31
# Of the features of speech in a living room, as `speech_commands` has them.
LOG_MEL_MEAN, LOG_MEL_STD = -4.5, 3.2
LOUDEST = np.float32(32768)


def read_recordings(source: Source) -> Reading:
    """What `data.recordings` names: PATH/CLASS/*.wav, perhaps below train/, val/ and test/.

    Raises:
        InputError: a folder or recording that cannot be used.
    """
    cfg = source.cfg
    assert cfg.recordings is not None
    root = find_file(cfg.recordings, folders=source.folders, kind="folder")
    parted = parts_of(root, place=PLACE)
    named = read_names(find_file(cfg.classes, folders=source.folders)) if cfg.classes else None
    labels = named or _folders(parted.train)
    parts = {
        name: _part(folder, labels, source)
        for name in ("train", "validation", "test")
        if (folder := getattr(parted, name)) is not None
    }
    pool = parts["train"]
    return Reading(
        pool,
        parts.get("validation"),
        parts.get("test"),
        labels,
        features(cfg),
    )


def _folders(root: Path) -> tuple[str, ...]:
    names = sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and not is_litter(entry.name)
    )
    if len(names) < 2:
        raise InputError(
            f"{PLACE}: {root} has {len(names)} folders: recordings lie in one folder for each "
            "class, two at least"
        )
    return tuple(names)


def _part(root: Path, labels: tuple[str, ...], source: Source) -> Part:
    strange = sorted(set(_folders(root)) - set(labels))
    if strange:
        raise InputError(
            f"{PLACE}: {root} has the folder {shown(strange[0])}, which is no class: classes are "
            "the folders of the training part, or those of data.classes"
        )
    names: list[str] = []
    numbers: list[int] = []
    for number, label in enumerate(labels):
        if (root / label).is_dir():
            files = list_files(root / label, SUFFIXES, place=PLACE, tell=source.progress.say)
            names += [f"{label}/{file}" for file in files]
            numbers += [number] * len(files)
    inputs = read_waveforms(root, names, source.cfg, source)
    return Part(inputs, {"label": np.array(numbers, dtype=np.int64)})


def read_waveforms(root: Path, names: Sequence[str], cfg: DataConfig, source: Source) -> Inputs:
    """Recordings below ``root`` -> int16 [N, samples]; as they are, in −1..1, if that is wanted.

    Raises:
        InputError: one cannot be read, or has another length than all should have.
    """
    audio = cfg.audio or AudioConfig()
    samples = round(audio.rate_hz * audio.seconds)
    if samples < 1:
        raise InputError(f"data.audio: {audio.seconds:g} s at {audio.rate_hz} Hz are no sample")
    stored = np.zeros((len(names), samples), np.int16)
    with source.progress.task(f"read {root.name}", len(names)) as advance:
        for row, name in zip(stored, names, strict=True):
            path = root / name
            if path.stat().st_size > MOST_BYTES:
                raise InputError(f"{path} has more than {MOST_BYTES:,} bytes: cut it")
            waveform = read_waveform(path, rate_hz=audio.rate_hz)
            some = fit_length(waveform, samples, audio.lengths, where=str(path), unit="samples")
            row[:] = some
            advance(1, "")
    if audio.features != "waveform":
        return stored
    values = stored[..., np.newaxis].astype(np.float32) / LOUDEST
    if cfg.mean is not None and cfg.std is not None:
        features(cfg)  # one number each
        values = (values - np.float32(cfg.mean[0])) / np.float32(cfg.std[0])
    return Tensors((values,), ("input",))


def features(cfg: DataConfig) -> Steps:
    """What makes numbers of recordings.

    Raises:
        InputError: mean and std are not one number.
    """
    audio = cfg.audio or AudioConfig()
    given = cfg.mean is not None and cfg.std is not None
    mean, std = (cfg.mean, cfg.std) if given else ((LOG_MEL_MEAN,), (LOG_MEL_STD,))
    assert mean is not None
    assert std is not None
    channels = 40 if audio.features == "log_mel_1d" else 1
    if {len(mean), len(std)} - {1, channels}:
        raise InputError(
            f"data.mean and data.std: {cfg.title} are recordings, so give {channels} numbers each, "
            "or one"
        )
    if audio.features == "waveform":
        return ()  # real numbers go into networks as they are stored
    layout = "NHWC" if audio.features == "log_mel" else "NWC"
    wide = [list(values) * (channels // len(values)) for values in (mean, std)]
    return (
        log_mel(audio.rate_hz, layout=layout),
        {"op": "normalize", "mean": wide[0], "std": wide[1]},
    )
