"""Training on recordings: the same features as the runner's, changes that keep what was said, and
a whole run from recordings to a measured bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_fixtures import StopAfter
from waveform_fixtures import STEP, speech, words

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.preprocess import preprocess
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import TrainConfig, read_recipe
from edgeticket.pipeline.run.pipeline import run
from edgeticket.pipeline.train import normalize, train
from edgeticket.pipeline.train.augment import check_augment, draw
from edgeticket.pipeline.train.augment_speech import SPEECH, Speech, hide, perturb


@pytest.mark.parametrize("layout", ["NWC", "NHWC"])
def test_host_and_runner_make_the_same_features(layout: str) -> None:
    waveforms = speech(16000, count=3)
    channels = 40 if layout == "NWC" else 1
    scaling = {"op": "normalize", "mean": [-4.0] * channels, "std": [3.0] * channels}
    steps = [{**STEP, "log_offset": 1e-3, "layout": layout}, scaling]
    expected = np.moveaxis(preprocess(waveforms, steps), -1, 1)
    found = normalize(torch.from_numpy(waveforms), steps).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_perturbed_speech_is_still_the_same_speech() -> None:
    torch.manual_seed(0)
    t = torch.arange(16000) / 16000
    tone = (8000 * torch.sin(2 * torch.pi * 440 * t)).round().to(torch.int16).expand(64, -1)
    for speed in (0.0, 0.15):
        found = perturb(tone, Speech(speed, shift=0.1))
        assert found.dtype == torch.float32
        middle = found[:, 4000:12000] * torch.hann_window(8000)
        peaks = torch.fft.rfft(middle).abs().argmax(1) * 2.0  # Hz
        reach = 440 * speed + 2
        assert bool(((peaks - 440).abs() <= reach).all())
        assert (len(peaks.unique()) > 10) == (speed > 0)
        levels = 20 * torch.log10(found[:, 4000:12000].std(1) / tone[:, 4000:12000].float().std(1))
        assert bool((levels.abs() <= 6.3).all())
    quiet = torch.zeros(8, 500, dtype=torch.int16)
    assert bool((perturb(quiet, SPEECH["speech_speed"]).abs() < 2000).all())


@pytest.mark.parametrize("shape", [(64, 1, 50, 40), (64, 40, 50)])
def test_masks_hide_whole_frames_and_mels(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    hidden = hide(torch.ones(shape), SPEECH["speech"]) == 0
    hidden = hidden[:, 0] if len(shape) == 4 else hidden.transpose(1, 2)  # [N, frames, mels]
    frames, mels = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, frames[:, :, None] | mels[:, None, :])
    assert frames.sum(1).max() <= 20
    assert mels.sum(1).max() <= 16
    assert len(frames.sum(1).unique()) > 5


def test_what_is_drawn_follows_pytorchs_seed() -> None:
    waveforms = torch.from_numpy(speech(4000))

    def changed(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return draw("speech", 2, seed=0).apply(waveforms)

    assert torch.equal(changed(1), changed(1))
    assert not torch.equal(changed(1), changed(2))


def test_an_interrupted_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    split = Split(speech(2000, count=8), np.arange(8) % 2)
    cfg = TrainConfig(epochs=2, batch_size=4, lr=0.01, augment="speech_speed")
    steps = [{**STEP, "layout": "NHWC"}]

    def trained(resume: Path | None = None, progress: Progress = QUIET) -> str:
        network = Network.fresh("ds_cnn", {"num_classes": 2, "width": 8, "blocks": 1}, seed=0)
        module = network.module()
        train(module, split, cfg, preprocessing=steps, seed=7, resume=resume, progress=progress)
        return network.with_weights(module).digest

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "state.pt", StopAfter(3))
    assert trained(tmp_path / "state.pt") == trained()


@pytest.mark.parametrize(
    ("augment", "stored", "says"),
    [
        ("shift", np.dtype(np.int16), "not for recordings; give one of none, speech, speech_speed"),
        ("speech", np.dtype(np.uint8), "not for images; give one of none, flip, shift"),
    ],
)
def test_images_and_recordings_are_not_changed_alike(augment: str, stored: Any, says: str) -> None:
    check_augment("none", stored)
    with pytest.raises(InputError, match=says):
        check_augment(augment, stored)


RECIPE = """
name: two_words
data: {name: speech_commands, validation: 2, calibration: 2}
model: {arch: ds_cnn, args: {num_classes: 2, width: 8, blocks: 1}}
train: {epochs: 1, batch_size: 2, lr: 0.01, augment: speech_speed}
compress: [{method: ptq}]
bench: {min_seconds: 0, min_queries: 5}
"""


def test_from_recordings_to_a_measured_bundle(tmp_path: Path) -> None:
    words(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    summary = run(
        read_recipe(tmp_path / "recipe.yaml"),
        recipe_folder=tmp_path,
        out=tmp_path / "out",
        data_folder=tmp_path,
        remeasure=False,
        progress=QUIET,
    )
    assert "two_words" in summary.to_markdown()
    with open_bundle(tmp_path / "out" / "two_words" / "bundle") as bundle:
        inputs, labels = bundle.samples()
        assert inputs.dtype == np.int16
        assert inputs.shape == (2, 16000)
        assert sorted(labels.tolist()) == [0, 1]
        assert [step["op"] for step in bundle.manifest.preprocessing] == ["log_mel", "normalize"]
        assert bundle.manifest.artifacts[0].input.shape == (1, 1, 51, 40)


def test_a_network_for_other_features_is_refused(tmp_path: Path) -> None:
    words(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("width: 8", "frames: 98"))
    with pytest.raises(InputError, match=r"has 1x51x40; choose .* args\.frames and args\.mels"):
        run(
            read_recipe(tmp_path / "recipe.yaml"),
            recipe_folder=tmp_path,
            out=tmp_path / "out",
            data_folder=tmp_path,
            remeasure=False,
            progress=QUIET,
        )
