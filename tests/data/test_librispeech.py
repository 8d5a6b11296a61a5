"""What is said in recordings: LibriSpeech's layout, and a whole run from recordings to reports that
compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from spoken_fixtures import CHUNKS, RATE, WORDS, sound

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.ctc import Decoder
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plan import Plan
from edgeticket.device_runner.report import Transcription, read_report
from edgeticket.pipeline.compare import Limits, compare
from edgeticket.pipeline.data import Dataset, Recordings, fetch, load_dataset
from edgeticket.pipeline.data.librispeech_texts import SYMBOLS
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import DataConfig, read_recipe
from edgeticket.pipeline.run.pipeline import run
from edgeticket.pipeline.task.transcripts import BIASES


def librispeech(folder: Path, *, readers: int = 8, subset: str = "train-clean-100") -> Path:
    """Three recordings of each of ``readers``."""
    for reader in range(11, 11 + readers):
        chapter = folder / "LibriSpeech" / subset / str(reader) / "7"
        chapter.mkdir(parents=True)
        lines = []
        for i in range(3):
            rng = np.random.default_rng([reader, i])
            text = " ".join(rng.choice(WORDS, 2 + 6 * i))
            name = f"{reader}-7-{i:04}"
            soundfile.write(chapter / f"{name}.flac", sound(text, reader), RATE)
            lines.append(f"{name} {text}\n")
        (chapter / f"{reader}-7.trans.txt").write_text("".join(lines))
    return folder


def load(folder: Path, **sizes: int) -> Dataset:
    cfg = DataConfig(name="librispeech", **{"validation": 9, "calibration": 2, **sizes})
    return load_dataset(cfg, seed=0, folder=folder)


def test_nobody_is_heard_in_two_splits_of_an_excerpt(tmp_path: Path) -> None:
    data = load(librispeech(tmp_path))
    sizes = [len(s) for s in (data.train, data.validation, data.calibration, data.test)]
    assert sizes == [4, 9, 2, 9]  # three readers for validation, three for the test
    assert data.labels == SYMBOLS
    recordings = data.test.inputs
    assert isinstance(recordings, Recordings)
    assert data.test.spoken is not None
    for waveform, text in zip(recordings.waveforms(), data.test.spoken.texts, strict=True):
        assert len(waveform) == 960 * len(text)
    heard = [
        {bytes(w) for w in s.inputs.waveforms()} for s in (data.train, data.validation, data.test)
    ]
    assert not heard[0] & heard[1]
    assert not heard[0] & heard[2]
    assert not heard[1] & heard[2]


def test_published_splits_are_kept(tmp_path: Path) -> None:
    for subset, readers in (("train-clean-100", 2), ("dev-clean", 3), ("test-clean", 4)):
        librispeech(tmp_path, readers=readers, subset=subset)
    data = load(tmp_path)
    sizes = [len(s) for s in (data.train, data.validation, data.calibration, data.test)]
    assert sizes == [4, 9, 2, 12]
    assert fetch("librispeech", folder=tmp_path, source=None, progress=QUIET).is_dir()


def lose_a_line(chapter: Path) -> None:
    (chapter / "11-7.trans.txt").write_text("11-7-0000 AH\n11-7-0001 BEE\n")


def write_small(chapter: Path) -> None:
    (chapter / "11-7.trans.txt").write_text("11-7-0000 AH be\n")


def say_nothing(chapter: Path) -> None:
    (chapter / "11-7.trans.txt").write_text("11-7-0000 \n")


def lose_the_lines(chapter: Path) -> None:
    (chapter / "11-7.trans.txt").unlink()


def write_stereo(chapter: Path) -> None:
    soundfile.write(chapter / "11-7-0001.flac", np.zeros((900, 2), np.int16), RATE)


def write_another_rate(chapter: Path) -> None:
    soundfile.write(chapter / "11-7-0001.flac", np.zeros(900, np.int16), 8000)


def cut_short(chapter: Path) -> None:
    file = chapter / "11-7-0002.flac"
    file.write_bytes(file.read_bytes()[:-300])


def write_nothing(chapter: Path) -> None:
    (chapter / "11-7-0000.flac").write_bytes(b"")


def remove_recordings(chapter: Path) -> None:
    for file in chapter.glob("*.flac"):
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lose_a_line, r"11-7-0002\.flac has no line in 11-7\.trans\.txt: unpack the data set"),
        (write_small, r"line 1 \('11-7-0000 AH be'\) has 'b', which is none of A to Z"),
        (say_nothing, r"line 1 .* says nothing: correct it"),
        (lose_the_lines, r"cannot read .*11-7\.trans\.txt"),
        (write_stereo, r"11-7-0001\.flac has 2 channels: mix them into one"),
        (write_another_rate, r"11-7-0001\.flac has 8000 samples per second, not 16000"),
        (cut_short, r"11-7-0002\.flac .*copy it again"),
        (write_nothing, r"11-7-0000\.flac .*copy it again"),
        (remove_recordings, r"11 has no recordings"),
    ],
)
def test_recordings_and_transcripts_that_cannot_be_used(
    tmp_path: Path, spoil: Any, says: str
) -> None:
    spoil(librispeech(tmp_path, readers=7) / "LibriSpeech" / "train-clean-100" / "11" / "7")
    with pytest.raises(InputError, match=says) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_too_few_readers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no .*train-clean-100: unpack LibriSpeech's"):
        load(tmp_path)
    with pytest.raises(InputError, match="too few readers: when 3 are for the test"):
        load(librispeech(tmp_path, readers=6))


RECIPE = """
name: letters
data: {name: librispeech, validation: 9, calibration: 3}
model: {arch: separable_ctc, args: {mels: 40, frames: 100, width: 8, blocks: 1, kernel: 5}}
train: {epochs: 1, batch_size: 4, optimizer: adam, lr: 0.01, augment: speech_whole}
compress: [{method: ptq}]
bench: {min_seconds: 0, min_queries: 11}
"""


def carry_out(folder: Path, recipe: str) -> Any:
    (folder / "recipe.yaml").write_text(recipe)
    return run(
        read_recipe(folder / "recipe.yaml"),
        recipe_folder=folder,
        out=folder / "out",
        data_folder=folder,
        remeasure=False,
        progress=QUIET,
    )


def test_from_recordings_to_reports_that_compare(tmp_path: Path) -> None:
    summary = carry_out(librispeech(tmp_path), RECIPE)
    text = summary.to_markdown()
    assert "| WER |" in text
    assert "| real time |" in text
    bundle = tmp_path / "out" / "letters" / "bundle"
    with open_bundle(bundle) as opened:
        inputs, texts = opened.samples()
        chunks, network = opened.manifest.chunks, opened.manifest.networks["dense"]
        bias = opened.manifest.separator_bias
    assert bias in BIASES
    decoder = Decoder(separator=1, separator_bias=bias).name
    assert f" Decoder: {decoder}." in text
    assert chunks == CHUNKS
    assert inputs.shape[1:] == (CHUNKS.window_samples,)
    assert len(inputs) > len(texts) == 9  # some are longer than a query
    reports = [read_report(file) for file in sorted((bundle.parent / "reports").iterdir())]
    assert len(reports) == 4
    for report in reports:
        found = report.accuracy
        assert isinstance(found, Transcription)
        assert found.decoder == decoder
        if report.artifact.precision == "fp32":
            assert found.wer == pytest.approx(network.scores["wer"])
            assert found.cer == pytest.approx(network.scores["cer"], abs=0.01)
    plan = Plan(min_seconds=0, min_queries=11, warmup_seconds=0, beam=4)
    (by_beam,) = bench(bundle, plan=plan, artifact="dense-onnx-fp32", samples=3)
    assert isinstance(by_beam.accuracy, Transcription)
    assert (by_beam.accuracy.decoder, by_beam.accuracy.count) == (
        decoder.replace("greedy", "beam 4"),
        3,
    )
    before, after = (r for r in reports if r.artifact.runtime == "ort")
    assert before.artifact.precision == "fp32"
    found = compare(before, after, limits=Limits(max_drop_points=-1000))
    assert (found.kind, found.measure) == ("fidelity", "WER")
    assert found.drop_points.value == pytest.approx(
        100 * (after.accuracy.score - before.accuracy.score)
    )
    assert "WER rose" in found.broken_limits[0]
    with pytest.raises(InputError, match="different samples"):
        compare(by_beam, after, limits=Limits())
    with pytest.raises(InputError, match="transcribes recordings, and takes only its own"):
        bench(bundle, samples=tmp_path)
    spoil_the_transcripts(bundle)


def spoil_the_transcripts(bundle: Path) -> None:
    """Other bytes than the manifest was made for are refused before they are parsed."""
    file = bundle / "samples" / "transcripts.json"
    file.write_bytes(file.read_bytes().replace(b"AH", b"EH", 1))
    with (
        open_bundle(bundle) as opened,
        pytest.raises(InputError, match="SHA-256 differs"),
    ):
        opened.samples()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("frames: 100", "frames: 40", "of 40 frames is too short"),
        ("width: 8", "symbols: 20", r"has 20 outputs, but librispeech has 29 symbols; set"),
        ("width: 8", "mels: 20", r"takes inputs of 20x100 .* librispeech has 40x100"),
        ("separable_ctc", "separable_classifier", "cannot write that down; choose one of separab"),
        ("augment: speech_whole", "augment: speech", "is not for recordings that are transcribed"),
    ],
)
def test_recipes_that_do_not_fit(tmp_path: Path, old: str, new: str, says: str) -> None:
    recipe = RECIPE.replace("mels: 40, ", "") if "mels" in new else RECIPE
    with pytest.raises(InputError, match=says):
        carry_out(librispeech(tmp_path), recipe.replace(old, new))
