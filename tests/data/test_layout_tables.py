"""Tables of files, series and recordings: what columns say, and what they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_fixtures import (
    draw_box,
    load,
    save,
    some_boxes,
    whole_task,
    write_csv,
    write_wav,
)

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.data.tensors import Tensors

SMALL = {"resize": [16, 16]}


def parts(data: Dataset) -> tuple[Split, ...]:
    return data.train, data.validation, data.calibration, data.test


def values(data: Dataset, name: str) -> np.ndarray[Any, Any]:
    return np.concatenate([s.targets.arrays[name] for s in parts(data)])


def write_pictures(place: Path, count: int = 12) -> list[list[Any]]:
    """Pictures, and a row for each: name, corners of its box, side, who, odd."""
    rows: list[list[Any]] = []
    for i, (width, height, box) in enumerate(some_boxes(count)):
        save(place / "p" / f"{i}.png", draw_box(width, height, box, seed=i))
        rows.append([f"{i}.png", *box, width, f"who {i % 3}", i % 2])
    return rows


COLUMNS = ["file", "x1", "y1", "x2", "y2", "width", "who", "odd"]


def table(**keys: Any) -> dict[str, Any]:
    return {"table": {"file": "t.csv", "folder": "p", **keys}, **SMALL}


def read(place: Path, name: str, columns: list[str], **settings: Any) -> Dataset:
    task = None if name == "classes" else whole_task(name, **settings)
    return load(place, task, **table(targets=columns))


def test_what_columns_say(tmp_path: Path) -> None:
    rows = write_pictures(tmp_path)
    write_csv(tmp_path / "t.csv", COLUMNS, rows)
    numbers = read(tmp_path, "numbers", ["x1", "width"])
    assert sorted(values(numbers, "values").tolist()) == sorted(
        [float(r[1]), float(r[5])] for r in rows
    )
    assert numbers.train.targets.arrays["values"].shape[1:] == (2,)
    embeddings = read(tmp_path, "embeddings", ["who"])
    assert sorted(values(embeddings, "identity")) == sorted(i % 3 for i in range(12))
    anomaly = read(tmp_path, "anomaly", ["odd"])
    assert values(anomaly, "anomalous").sum() == 6
    # In fair shares.
    assert [int(s.targets.arrays["anomalous"].sum()) for s in parts(anomaly)] == [3, 1, 1, 1]
    classes = read(tmp_path, "classes", ["who"])
    assert classes.labels == ("who 0", "who 1", "who 2")
    assert sorted(np.concatenate([s.labels for s in parts(classes)])) == sorted(
        i % 3 for i in range(12)
    )


def test_a_rebuilt_input_is_a_target(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", COLUMNS, write_pictures(tmp_path))
    data = read(tmp_path, "anomaly", ["odd"], score="error")
    rebuilt = data.test.targets.arrays["input"]
    assert rebuilt.dtype == np.float32
    assert rebuilt.shape == (len(data.test), 3, 16, 16)


def test_points_go_with_their_pictures(tmp_path: Path) -> None:
    """The first corner of what is white; where it is cut away, it cannot be seen."""
    rows = write_pictures(tmp_path)
    rows[4][3] = rows[4][4] = ""  # of this one the second corner cannot be seen
    write_csv(tmp_path / "t.csv", COLUMNS, rows)
    task = whole_task("keypoints")
    columns = ["x1", "y1", "x2", "y2"]
    for changes in (SMALL, {"letterbox": {"size": 24}}):
        data = load(tmp_path, task, **{**table(targets=columns), "resize": None, **changes})
        for split in parts(data):
            arrays = split.targets.arrays
            for picture, points, visible in zip(
                split.inputs, arrays["points"], arrays["visible"], strict=True
            ):
                white = np.argwhere(picture[..., 0] > 127)
                top, left = white.min(axis=0)
                bottom, right = white.max(axis=0) + 1
                assert points[0] == pytest.approx([left, top], abs=1.2)
                if visible[1]:
                    assert points[1] == pytest.approx([right, bottom], abs=1.2)
        assert values(data, "visible").sum() == 23
    data = load(tmp_path, task, **{**table(targets=columns), "resize": 40, "crop": 12})
    points, visible = values(data, "points"), values(data, "visible")
    assert 0 < visible.sum() < 23
    assert ((points >= 0) & (points <= 12)).all()


def test_labels_may_be_unknown(tmp_path: Path) -> None:
    rows = [[*row, 1 - row[-1] if i % 4 else ""] for i, row in enumerate(write_pictures(tmp_path))]
    write_csv(tmp_path / "t.csv", [*COLUMNS, "even"], rows)
    data = read(tmp_path, "labels", ["odd", "even"])
    assert data.labels == ("odd", "even")
    labels = values(data, "labels")
    assert labels.dtype == np.int8
    assert (labels[:, 1] == -1).sum() == 3
    assert set(np.unique(labels)) == {-1, 0, 1}


def test_a_column_says_the_parts(tmp_path: Path) -> None:
    rows = [
        [*row, ("train", "val", "test", "train")[i % 4]]
        for i, row in enumerate(write_pictures(tmp_path))
    ]
    write_csv(tmp_path / "t.csv", [*COLUMNS, "split"], rows)
    keys = table(targets=["x1"], split="split")
    data = load(tmp_path, whole_task("numbers"), **keys)
    assert [len(s) for s in parts(data)] == [4, 2, 2, 3]
    assert sorted(data.test.targets.arrays["values"][:, 0]) == sorted(r[1] for r in rows[2::4])


def refusal(place: Path, task: Task | None, **keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(place, task, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "columns", "cell", "words"),
    [
        ("numbers", ["x1"], (3, 1, "nan"), ["line 5", "'x1'", "'nan'", "leave the row out"]),
        ("numbers", ["x1"], (3, 1, "inf"), ["line 5", "finite"]),
        ("numbers", ["x1"], (3, 1, ""), ["line 5", "empty"]),
        ("numbers", ["x1"], (3, 1, "1_0"), ["line 5", "1_0"]),
        ("numbers", ["x9"], (3, 1, "0"), ["no column 'x9'", "file, x1"]),
        ("numbers", ["x1", "x1"], (3, 1, "0"), ["'x1' twice"]),
        ("labels", ["odd"], (3, 7, "2"), ["line 5", "is 2", "1, 0, or nothing"]),
        ("anomaly", ["odd"], (3, 7, "3"), ["line 5", "is 3"]),
        ("anomaly", ["odd", "x1"], (3, 1, "0"), ["needs one"]),
        ("keypoints", ["x1"], (3, 1, "0"), ["1 columns", "x and y"]),
        ("keypoints", ["x1", "y1"], (3, 1, ""), ["line 5", "one alone is empty"]),
        ("keypoints", ["x1", "y1"], (3, 1, "999"), ["line 5", "outside of its picture"]),
        ("embeddings", ["who"], (3, 0, "../t.csv"), ["line 5", "without .."]),
        ("embeddings", ["who"], (3, 0, "/etc/hostname"), ["line 5", "relative"]),
        ("embeddings", ["who"], (3, 0, "x.png"), ["line 5", "no file x.png"]),
        ("embeddings", ["who"], (3, 0, "2.png"), ["line 5", "2.png is there already"]),
        ("boxes", ["x1"], (3, 1, "0"), ["boxes is not read from columns"]),
        ("images", ["x1"], (3, 1, "0"), ["images is not read from columns"]),
    ],
)  # fmt: skip
def test_cells_that_cannot_be(
    tmp_path: Path, name: str, columns: list[str], cell: tuple[int, int, str], words: list[str]
) -> None:
    rows = write_pictures(tmp_path)
    rows[cell[0]][cell[1]] = cell[2]
    write_csv(tmp_path / "t.csv", COLUMNS, rows)
    task = Task("boxes") if name == "boxes" else whole_task(name)
    sentence = refusal(tmp_path, task, **table(targets=columns))
    assert [word for word in words if word not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows"),
        ("file,x\n", "no rows"),
        ("file,x\n1.png\n", "line 2 has 1 cells"),
        ("file,x\n1.png,1,2\n", "line 2 has 3 cells"),
        ("file,file\n1.png,1\n", "'file' twice"),
        ('file,x\n1.png,"1\n', "line 2"),
        ("file,x\n" + "a" * 200_000 + ",1\n", "line"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    write_pictures(tmp_path)
    (tmp_path / "t.csv").write_text(text)
    assert words in refusal(tmp_path, whole_task("numbers"), **table(targets=["x"]))


def test_points_that_change_places(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", COLUMNS, write_pictures(tmp_path))
    four = {"targets": ["x1", "y1", "x2", "y2"]}
    data = load(tmp_path, whole_task("keypoints"), **table(**four, swap=[[0, 1]]))
    assert data.train.targets.swap == ((0, 1),)
    assert "counted from 0" in refusal(
        tmp_path, whole_task("keypoints"), **table(**four, swap=[[0, 2]])
    )


# Series


def write_steps(place: Path, series: dict[str, int]) -> None:
    """Steps of several series in turns; `a` counts, `b` is ten times that, `odd` is of a series."""
    rows: list[list[Any]] = []
    for step in range(max(series.values())):
        for number, (name, length) in enumerate(series.items()):
            if step < length:
                rows.append([name, step + 1000 * number, 10.0 * step, number % 2])
    write_csv(place / "s.csv", ["of", "a", "b", "odd"], rows)


def windows(**keys: Any) -> dict[str, Any]:
    given = {
        "file": "s.csv",
        "channels": ["a", "b"],
        "series": "of",
        "past": 5,
        "future": 2,
        **keys,
    }
    return {"series": {key: value for key, value in given.items() if value is not None}}


def test_windows_are_of_one_series_and_one_time(tmp_path: Path) -> None:
    write_steps(tmp_path, {"x": 100, "y": 150})
    task = whole_task("series")
    data = load(tmp_path, task, **windows(targets=["a"]), validation=4, calibration=4)
    seen: dict[str, set[float]] = {}
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        (inputs,) = split.inputs.arrays
        future = split.targets.arrays["future"]
        assert future.shape[1:] == (2,)
        steps = np.concatenate([inputs[..., 0], future], axis=1)
        assert (np.diff(steps, axis=1) == 1).all()
        seen[name] = set(steps.ravel().tolist())
        assert np.array_equal(split.targets.arrays["past"], inputs[..., 0])
    assert not seen["test"] & (seen["train"] | seen["validation"])
    assert not seen["train"] & seen["validation"]
    assert len(data.test) == (20 - 7 + 1) + (30 - 7 + 1)
    assert data.input_shape == (2, 5)


def test_columns_are_scaled_while_they_are_read(tmp_path: Path) -> None:
    write_steps(tmp_path, {"x": 100})
    task, sizes = whole_task("series"), {"validation": 4, "calibration": 4}
    plain = load(tmp_path, task, **windows(), **sizes)
    scaled = load(tmp_path, task, **windows(), **sizes, mean=[5.0, 0.0], std=[2.0, 10.0])
    assert scaled.preprocessing == ()
    (before,), (after,) = plain.test.inputs.arrays, scaled.test.inputs.arrays
    assert after == pytest.approx((before - [5, 0]) / [2, 10], abs=1e-5)
    for name in ("future", "past"):
        assert np.array_equal(scaled.test.targets.arrays[name], plain.test.targets.arrays[name])
    assert "2 channels" in refusal(tmp_path, task, **windows(), mean=[1.0], std=[1.0])


def test_what_a_recurrent_network_takes(tmp_path: Path) -> None:
    write_steps(tmp_path, {"x": 100})
    task = whole_task("series")
    first = load(tmp_path, task, **windows(), validation=4, calibration=4)
    time = load(tmp_path, task, **windows(layout="time_first"), validation=4, calibration=4)
    assert first.input_shape == (2, 5)
    assert time.input_shape == (5, 2)
    assert first.test.targets.arrays["future"].shape[1:] == (2, 2)
    assert time.digest != first.digest


def test_whole_series_are_judged(tmp_path: Path) -> None:
    write_steps(tmp_path, {f"s{i}": 8 for i in range(12)})
    keys = {"past": None, "future": None, "targets": ["odd"]}
    data = load(tmp_path, None, **windows(**keys))
    assert data.labels == ("0", "1")
    assert isinstance(data.train.inputs, Tensors)
    assert data.input_shape == (2, 8)
    assert [np.bincount(s.labels).tolist() for s in parts(data)] == [[3, 3], [1, 1], [1, 1], [1, 1]]
    assert len(load(tmp_path, whole_task("anomaly"), **windows(**keys)).test) == 2


def test_lengths_are_refused_or_made_as_said(tmp_path: Path) -> None:
    write_steps(tmp_path, {f"s{i}": 8 + (i == 3) - 2 * (i == 5) for i in range(12)})
    keys = {"past": None, "future": None, "targets": ["odd"]}
    sentence = refusal(tmp_path, None, **windows(**keys))
    assert "'s3' has 9 steps, not 8" in sentence
    assert "lengths: cut" in sentence
    assert "has 9 steps" in refusal(tmp_path, None, **windows(**keys, lengths="pad"))
    data = load(tmp_path, None, **windows(**keys, lengths="cut"))
    stored = np.concatenate([s.inputs.arrays[0] for s in parts(data)])
    ends = stored.reshape(12, -1)[:, -1]
    longer = load(tmp_path, None, **windows(**keys, lengths="pad", length=10))
    assert longer.input_shape == (2, 10)
    assert (ends == 0).sum() == 1
    write_csv(tmp_path / "s.csv", ["of", "a", "b", "odd"], [["x", 1, 2, 0], ["x", 2, 3, 1]])
    assert "one for the whole series" in refusal(tmp_path, None, **windows(**keys))


def test_series_that_cannot_be(tmp_path: Path) -> None:
    task = whole_task("series")
    write_steps(tmp_path, {"x": 100, "short": 20})
    assert "series 'short' has 20 steps" in refusal(tmp_path, task, **windows())
    write_steps(tmp_path, {"x": 100})
    assert "say `task: series`" in refusal(tmp_path, whole_task("numbers"), **windows())
    with pytest.raises(InputError, match="both past and future"):
        load(tmp_path, task, **windows(future=None))
    with pytest.raises(InputError, match="give past and future, to foretell"):
        load(tmp_path, task, **windows(past=None, future=None))
    text = (tmp_path / "s.csv").read_text().replace("x,7,", "x,1e40,")
    (tmp_path / "s.csv").write_text(text)
    assert "float32" in refusal(tmp_path, task, **windows())
    (tmp_path / "s.csv").write_text(text.replace("1e40", "?"))
    assert "line 9, column 'a' is '?'" in refusal(tmp_path, task, **windows())


# Recordings


def write_recordings(place: Path, *, per_class: int = 6) -> None:
    for number, word in enumerate(("no", "yes")):
        for i in range(per_class):
            write_wav(place / "wav" / word / f"{i}.wav", 8000 - 100 * i, hz=300 + 400 * number)


AUDIO = {"recordings": "wav", "audio": {"seconds": 0.5}}


def test_recordings_in_folders(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    data = load(tmp_path, None, **AUDIO)
    assert data.labels == ("no", "yes")
    assert data.train.inputs.dtype == np.int16
    assert data.train.inputs.shape[1:] == (8000,)
    assert data.input_shape == (1, 26, 40)
    assert [np.bincount(s.labels).tolist() for s in parts(data)] == [[3, 3], [1, 1], [1, 1], [1, 1]]
    wave = load(tmp_path, None, recordings="wav", audio={"seconds": 0.5, "features": "waveform"})
    assert wave.input_shape == (1, 8000)
    assert abs(wave.train.inputs.arrays[0]).max() < 0.31
    flat = load(tmp_path, None, recordings="wav", audio={"seconds": 0.5, "features": "log_mel_1d"})
    assert flat.input_shape == (40, 26)


def test_recordings_in_a_table(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    rows = [[f"{w}/{i}.wav", 8000 - 100 * i] for w in ("no", "yes") for i in range(6)]
    write_csv(tmp_path / "t.csv", ["file", "samples"], rows)
    keys = {"table": {"file": "t.csv", "folder": "wav", "targets": ["samples"]}}
    data = load(tmp_path, whole_task("numbers"), **keys, audio={"seconds": 0.5})
    for split in parts(data):
        ends = [np.flatnonzero(row)[-1] + 1 for row in split.inputs]
        assert ends == pytest.approx(split.targets.arrays["values"][:, 0], abs=60)
    points = [[row[0], 1, 1] for row in rows]
    write_csv(tmp_path / "p.csv", ["file", "x", "y"], points)
    assert "keypoints are of pictures" in refusal(
        tmp_path,
        whole_task("keypoints"),
        table={"file": "p.csv", "folder": "wav", "targets": ["x", "y"]},
        audio={"seconds": 0.5},
    )
    assert "names recordings, no pictures" in refusal(
        tmp_path, whole_task("numbers"), **keys, **SMALL
    )


def test_recordings_that_cannot_be(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    file = tmp_path / "wav" / "no" / "3.wav"
    write_wav(file, 9000)
    assert "has 9,000 samples, not 8,000" in refusal(tmp_path, None, **AUDIO)
    cut = {"recordings": "wav", "audio": {"seconds": 0.5, "lengths": "cut"}}
    assert len(load(tmp_path, None, **cut).test) == 2
    equal = {"recordings": "wav", "audio": {"seconds": 0.5, "lengths": "equal"}}
    assert "lengths" in refusal(tmp_path, None, **equal)
    write_wav(file, 8000, rate=8000)
    assert "8000 samples per second, not 16000" in refusal(tmp_path, None, **AUDIO)
    file.write_bytes(b"RIFF")
    assert "no recording" in refusal(tmp_path, None, **AUDIO)
    assert "leave task out" in refusal(tmp_path, whole_task("numbers"), **AUDIO)
