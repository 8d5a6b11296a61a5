"""Writing down what is said: batches, the CTC loss, and training that goes on in the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spoken_fixtures import ARGS, STEPS, WORDS, spoken, tiny_module
from training_fixtures import StopAfter

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Recordings, Split
from edgeticket.pipeline.data.librispeech_texts import SYMBOLS
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task import task_of
from edgeticket.pipeline.task.transcripts import Targets, choose_separator_bias, predict
from edgeticket.pipeline.train import evaluate, train
from edgeticket.pipeline.train.augment import check_augment, draw
from edgeticket.pipeline.train.augment_speech import SPEECH, hide, stretch
from edgeticket.pipeline.train.batches import MakeBatch, batches_of


def batches(split: Split) -> MakeBatch:
    device = torch.device("cpu")
    return batches_of(split, task_of(split).targets(split, device), device)


def test_padding_changes_no_loss() -> None:
    split = spoken("AH", "GO DO GO", "BEE")
    task = task_of(split)
    torch.manual_seed(0)
    stored, targets = batches(split)(draw("none", 3, seed=0))
    order = draw("none", 3, seed=0).order.tolist()
    assert stored.shape == (3, 960 * 8)
    logits = torch.randn(3, 29, 48)
    total = task.loss(None, split)(logits, targets)  # type: ignore[arg-type]
    losses = []
    for row, i in enumerate(order):
        assert split.spoken is not None
        text = split.spoken.texts[i]
        frames = 6 * len(text)
        written = torch.tensor([SYMBOLS.index(letter) for letter in text])
        alone = logits[row, :, :frames].log_softmax(0).T
        losses.append(F.ctc_loss(alone, written, (frames,), (len(text),)))
    torch.testing.assert_close(total, torch.stack(losses).mean())


def test_batches_are_of_like_length_and_hold_everything() -> None:
    rng = np.random.default_rng(0)
    split = spoken(*("A" * n for n in rng.integers(1, 60, 70)))
    order = draw("none", 70, seed=1).order
    found = task_of(split).arrange(order, split, 4)
    assert sorted(found.tolist()) == list(range(70))
    assert isinstance(split.inputs, Recordings)
    lengths = split.inputs.lengths

    def padding(order: torch.Tensor) -> float:
        parts = [lengths[part] for part in torch.split(order[:68], 4)]
        return float(sum(4 * part.max() - part.sum() for part in parts))

    assert padding(found) < padding(order) / 3
    assert torch.equal(found, task_of(split).arrange(order, split, 4))


def test_stretched_recordings_keep_every_word() -> None:
    torch.manual_seed(0)
    waveforms = torch.zeros(32, 4000, dtype=torch.int16)
    waveforms[:, 2990:3000] = 20000  # the last sound
    speech = SPEECH["speech_whole"]
    found, lengths = stretch(waveforms, torch.full((32,), 3000), speech)
    for row, length in zip(found, lengths.tolist(), strict=True):
        loud = int(row.argmax())
        assert length - 20 < loud < length < found.shape[1]
    assert 2700 < lengths.min() < 2800
    assert 3200 < lengths.max() < 3400
    hidden = hide(torch.ones(16, 40, 600), speech) == 0
    frames = hidden.all(1)
    assert frames.sum(1).max() <= 6 * 25
    assert frames.any(1).all()
    with pytest.raises(InputError, match="not for recordings that are transcribed; give one of"):
        check_augment("speech", np.dtype(np.int16), whole=True)
    with pytest.raises(InputError, match="speech_whole is not for recordings; give one of none"):
        check_augment("speech_whole", np.dtype(np.int16))


def test_it_learns_and_goes_on_in_the_same_bits(tmp_path: Path) -> None:
    split = spoken(*(f"{a} {b}" for a in WORDS for b in WORDS))
    cfg = TrainConfig(epochs=10, batch_size=5, optimizer="adam", lr=0.01)

    def trained(resume: Path | None = None, progress: Any = QUIET) -> Network:
        network = Network.fresh("separable_ctc", {**ARGS, "width": 48}, seed=0)
        module = network.module()
        train(module, split, cfg, preprocessing=STEPS, seed=7, resume=resume, progress=progress)
        return network.with_weights(module)

    before = evaluate(tiny_module(), split, preprocessing=STEPS).scores
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "state.pt", StopAfter(12))
    network = trained(tmp_path / "state.pt")
    assert network.digest == trained().digest
    after = evaluate(network.module(), split, preprocessing=STEPS).scores
    assert after["cer"] < 0.7 < before["cer"]


@pytest.mark.parametrize(("lead", "chosen"), [(0.8, -1.0), (-0.2, 0.0)])
def test_the_separator_is_held_back_as_far_as_it_takes(lead: float, chosen: float) -> None:
    split = spoken("AH")
    outputs = np.zeros_like(evaluate(tiny_module(), split, preprocessing=STEPS).outputs)
    for frame, letter in enumerate("A H"):
        outputs[0, SYMBOLS.index(letter), frame] = lead if letter == " " else 9
    assert choose_separator_bias(outputs, split) == chosen
    heard = predict(outputs, split.with_separator_bias(chosen))
    assert heard.tolist() == ["AH"]


def test_targets_are_a_tuple_of_tensors() -> None:
    stored, targets = batches(spoken("AH"))(draw("none", 1, seed=0))
    assert isinstance(targets, Targets)
    assert targets.symbols.tolist() == [SYMBOLS.index("A"), SYMBOLS.index("H")]
    assert (targets.counts.tolist(), targets.shares.tolist()) == ([2], [1.0])
    assert stored.dtype == torch.int16
