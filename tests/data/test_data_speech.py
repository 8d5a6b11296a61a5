"""Recordings: splits that keep speakers apart, and one sentence for each bad file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waveform_fixtures import RATE, speakers, words, write

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data import Dataset, fetch, load_dataset
from edgeticket.pipeline.data.audio import read_waveform
from edgeticket.pipeline.data.librispeech import load_librispeech_speakers
from edgeticket.pipeline.data.speech_commands import load_speech_commands
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import DataConfig


def load(name: str, folder: Path, **sizes: int) -> Dataset:
    cfg = DataConfig(name=name, **{"validation": 2, "calibration": 2, **sizes})
    return load_dataset(cfg, seed=0, folder=folder)


def test_the_lists_decide_who_is_tested(tmp_path: Path) -> None:
    data = load("speech_commands", words(tmp_path))
    assert data.labels == ("no", "yes")
    assert data.input_shape == (1, 51, 40)
    sizes = [len(s) for s in (data.train, data.validation, data.calibration, data.test)]
    assert sizes == [6, 2, 2, 2]
    root = tmp_path / "speech_commands"
    for split, n, suffix in ((data.validation, 1, "wav"), (data.test, 2, "flac")):
        for row, label in zip(split.inputs, split.labels, strict=True):
            word = data.labels[label]
            samples = read_waveform(root / word / f"{n}_nohash_0.{suffix}", rate_hz=RATE)
            np.testing.assert_array_equal(row[: len(samples)], samples)
            assert not row[len(samples) :].any()
    whole = np.concatenate([s.inputs for s in (data.train, data.validation, data.calibration)])
    assert len({row.tobytes() for row in whole}) == 10


def test_no_recording_of_a_speaker_is_in_two_splits(tmp_path: Path) -> None:
    collection = load_librispeech_speakers(speakers(tmp_path))
    assert collection.labels == ("27", "103")
    assert collection.validation is not None
    assert collection.test is not None
    # Of six recordings, one of 1 s and five of 6.5 s: 1 + 2 + 2 + 2 pieces, 2 and 2 held out.
    for split, pieces in ((collection.pool, 7), (collection.validation, 2), (collection.test, 2)):
        assert np.bincount(split.labels).tolist() == [pieces, pieces]
        assert split.inputs.shape[1:] == (3 * RATE,)
    file = tmp_path / "LibriSpeech/train-clean-100/27/1240/27-1240-0004.flac"
    samples = read_waveform(file, rate_hz=RATE)[: 6 * RATE]
    np.testing.assert_array_equal(collection.test.inputs[:2].reshape(-1), samples)
    short = collection.pool.inputs[0].reshape(3, RATE)
    np.testing.assert_array_equal(short[1:], short[:-1])
    assert load("librispeech_speakers", tmp_path).input_shape == (40, 151)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"rate": 8000}, "has 8000 samples per second, not 16000: resample it"),
        ({"channels": 2}, "has 2 channels: mix them into one"),
        ({"seconds": 0}, "has no samples: record it again, or leave it out"),
    ],
)
def test_recordings_that_cannot_be_used(tmp_path: Path, how: dict[str, Any], says: str) -> None:
    path = tmp_path / "a.wav"
    write(path, **{"seconds": 0.5, **how})
    with pytest.raises(InputError, match=rf"a\.wav {says}"):
        read_waveform(path, rate_hz=RATE)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_damaged_recordings(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    expected = write(path, 1.0)
    whole = path.read_bytes()
    np.testing.assert_array_equal(read_waveform(path, rate_hz=RATE), expected)
    for size in (0, 3, 20, 60, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="copy it again") as caught:
            read_waveform(path, rate_hz=RATE)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"no file .*absent\.wav"):
        read_waveform(tmp_path / "absent.wav", rate_hz=RATE)


def spoil_lists(root: Path) -> None:
    (root / "testing_list.txt").write_text("no/1_nohash_0.wav\nyes/2_nohash_0.wav\n")


def lose_a_file(root: Path) -> None:
    (root / "no" / "2_nohash_0.flac").unlink()


def lengthen_a_word(root: Path) -> None:
    write(root / "yes" / "3_nohash_0.wav", 1.5)


def empty_a_list(root: Path) -> None:
    (root / "testing_list.txt").write_text("cat/1_nohash_0.wav\n")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_lists, r"no/1_nohash_0 is in validation_list\.txt and in testing_list\.txt"),
        (lose_a_file, r"testing_list\.txt names no/2_nohash_0, which is not there"),
        (lengthen_a_word, r"3_nohash_0\.wav lasts 1\.50 s: words last 1 s; cut it"),
        (empty_a_list, r"testing_list\.txt names no recordings of no, yes"),
    ],
)
def test_speech_commands_that_are_not_whole(tmp_path: Path, spoil: Any, says: str) -> None:
    spoil(words(tmp_path) / "speech_commands")
    with pytest.raises(InputError, match=says):
        load_speech_commands(tmp_path)


def test_too_few_recordings_of_a_speaker(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="27 has 4 recordings: 5 are needed"):
        load_librispeech_speakers(speakers(tmp_path, files=4))


@pytest.mark.parametrize("name", ["speech_commands", "librispeech_speakers"])
def test_fetching_says_where_the_files_must_lie(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"no .*: unpack "):
        fetch(name, folder=tmp_path, source=None, progress=QUIET)
    with pytest.raises(InputError, match="is read where it lies: unpack or link it as"):
        fetch(name, folder=tmp_path, source=tmp_path, progress=QUIET)
    (words if name == "speech_commands" else speakers)(tmp_path)
    assert fetch(name, folder=tmp_path, source=None, progress=QUIET).is_dir()
