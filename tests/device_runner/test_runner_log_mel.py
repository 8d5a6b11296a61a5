"""Log-mel energies against torchaudio's, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from waveform_fixtures import STEP, speech

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.log_mel import count_frames, log_mel, mel_filters
from edgeticket.device_runner.manifest import read_manifest
from edgeticket.models.torchvision_cure import import_torchaudio


def by_torchaudio(waveforms: Any, step: dict[str, Any], dtype: torch.dtype) -> Any:
    import_torchaudio()
    from torchaudio.transforms import MelSpectrogram

    transform = MelSpectrogram(
        sample_rate=step["rate_hz"],
        n_fft=step["fft_samples"],
        win_length=step["window_samples"],
        hop_length=step["hop_samples"],
        f_min=step["low_hz"],
        f_max=step["high_hz"],
        n_mels=step["mels"],
        power=float(step["power"]),
        center=step["centred"],
        norm="slaney" if step["equal_area"] else None,
        mel_scale=step["scale"],
    ).to(dtype)
    samples = torch.from_numpy(waveforms).to(dtype) / 32768
    return torch.log(transform(samples) + step["log_offset"]).numpy().transpose(0, 2, 1)


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(700, 5000),
    seed=st.integers(0, 9),
    window=st.sampled_from([256, 400, 480, 511]),
    hop=st.integers(100, 400),
    power=st.sampled_from([1, 2]),
    mels=st.integers(5, 40),
    scale=st.sampled_from(["htk", "slaney"]),
    centred=st.booleans(),
    equal_area=st.booleans(),
)
def test_equals_torchaudio(samples: int, seed: int, window: int, hop: int, **of_step: Any) -> None:
    step = {**STEP, "window_samples": window, "hop_samples": hop, **of_step, "low_hz": 60.0}
    waveforms = speech(samples, seed)
    found = log_mel(waveforms.astype(np.float32), step)
    assert found.dtype == np.float32
    assert found.shape == (2, count_frames(samples, step), step["mels"])
    # torchaudio makes its filters in float32 even so: where a tone meets the foot of one, its
    # weight is wrong in the fourth digit.
    np.testing.assert_allclose(found, by_torchaudio(waveforms, step, torch.float64), atol=1e-3)


def test_equals_torchaudio_in_float32() -> None:
    # With a smaller offset torchaudio's own rounding shows where a loud frame has a quiet band.
    step = {**STEP, "log_offset": 1e-3}
    waveforms = speech(16000, count=4)
    found = log_mel(waveforms.astype(np.float32), step)
    np.testing.assert_allclose(found, by_torchaudio(waveforms, step, torch.float32), atol=1e-4)


def test_a_waveform_gives_the_same_bits_alone() -> None:
    waveforms = speech(16000, count=3).astype(np.float32)
    whole = log_mel(waveforms, STEP)
    alone = [log_mel(waveforms[i : i + 1], STEP) for i in range(3)]
    assert whole.tobytes() == np.concatenate(alone).tobytes()


def test_as_a_picture() -> None:
    waveforms = speech(8000).astype(np.float32)
    picture = log_mel(waveforms, {**STEP, "layout": "NHWC"})
    np.testing.assert_array_equal(picture[..., 0], log_mel(waveforms, STEP))


def test_silence_is_the_logarithm_of_the_offset() -> None:
    found = log_mel(np.zeros((1, 16000), np.float32), STEP)
    np.testing.assert_array_equal(found, np.float32(np.log(1e-6)))


@pytest.mark.parametrize(("centred", "shortest"), [(True, 257), (False, 512)])
def test_too_short(centred: bool, shortest: int) -> None:
    step = {**STEP, "centred": centred}
    assert log_mel(np.zeros((1, shortest), np.float32), step).shape == (1, 1, 40)
    with pytest.raises(InputError, match=f"needs {shortest} samples or more"):
        log_mel(np.zeros((1, shortest - 1), np.float32), step)


def test_refuses_what_is_no_waveform() -> None:
    with pytest.raises(InputError, match=r"waveforms \[N, samples\], not \[1, 8, 8\]"):
        log_mel(np.zeros((1, 8, 8), np.float32), STEP)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"high_hz": 8001.0}, "at most half the rate"),
        ({"low_hz": 7600.0}, "low must be below high"),
        ({"window_samples": 513}, "fft_samples must be as many or more"),
    ],
)
def test_refuses_parameters_that_contradict(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        mel_filters({**STEP, **change})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mels": 0}, "mels: found 0, allowed: 1 or more"),
        ({"hop_samples": 0.5}, "hop_samples: found 0.5"),
        ({"scale": "bark"}, "scale: found 'bark'"),
        ({"log_offset": 0}, "log_offset: found 0"),
        ({"speed": 1}, "speed"),
    ],
)
def test_a_manifest_says_what_is_allowed(change: dict[str, Any], says: str) -> None:
    document = json.loads((Path(__file__).parents[1] / "golden" / "manifest.json").read_bytes())
    document["inputs"][0]["preprocessing"] = [STEP]
    assert read_manifest(json.dumps(document).encode()).preprocessing == (STEP,)
    document["inputs"][0]["preprocessing"] = [{**STEP, **change}]
    with pytest.raises(InputError) as caught:
        read_manifest(json.dumps(document).encode())
    assert says in str(caught.value).replace('"', "'")
