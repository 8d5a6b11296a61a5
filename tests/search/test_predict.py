"""A prediction on this machine, from the probes to the table and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.probes.report import ProbeReport
from edgeticket.device_runner.strict_json import format_json
from edgeticket.device_runner.validity import Finding, Validity
from edgeticket.pipeline.errors import DeviceError
from edgeticket.pipeline.search import probing
from edgeticket.pipeline.search.kept import Board, KeptTimes
from edgeticket.pipeline.search.predict import Prediction
from edgeticket.pipeline.search.structure import read_structure
from edgeticket.pipeline.search.table import prediction_json, print_prediction
from edgeticket.pipeline.text import open_console

VALID = Validity("VALID", (), (), {})
BUSY = Validity("INVALID", (Finding("waiting", "it waited", "stop others"),), (), {})


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[ProbeReport]:
    """Reports of sessions as they come; all are called VALID: this machine may be busy."""
    seen: list[ProbeReport] = []

    def parse(data: bytes, *, place: str) -> ProbeReport:
        report = dataclasses.replace(PARSE(data, place=place), validity=VALID)
        seen.append(report)
        return report

    monkeypatch.setattr(probing, "parse_probes", parse)
    return seen


PARSE = probing.parse_probes


def predict(tmp_path: Path, **options: Any) -> Prediction:
    return edgeticket.predict(
        "ds_cnn", on=f"local:{tmp_path / 'device'}", times=tmp_path / "times", **options
    )


def test_what_a_cut_brings_and_what_is_known_of_it_the_second_time(
    tmp_path: Path, sessions: list[ProbeReport]
) -> None:
    first = predict(tmp_path, keep=0.5, precisions=["int8"])
    assert {(one.runtime, one.precision) for one in first.predictions} == {
        ("ort", "int8"), ("tflite", "int8"),
    }  # fmt: skip
    assert first.missing == {}
    assert first.times.known == 0
    for one in first.predictions:
        assert one.after.predicted_ns < one.before.predicted_ns
        ends = sum(layer.after_ns or 0 for layer in one.layers) + one.ends_ns[1]
        assert ends == pytest.approx(one.after.predicted_ns)  # all parts are shown
        assert one.widths is not None
    count = len(sessions)

    again = predict(tmp_path, keep=0.5, precisions=["int8"])
    assert (again.times.measured, again.times.known) == (0, first.times.measured)
    assert len(sessions) == count + 1  # the reference probes alone
    assert [one.after for one in again.predictions] == [one.after for one in first.predictions]

    file = tmp_path / "cut.json"
    file.write_bytes(format_json(prediction_json(first)))
    assert read_structure(file).keep == dict(first.structure.keep)
    other = predict(tmp_path, structure=file, precisions=["int8"])
    assert other.times.measured == 0
    console = open_console(record=True, width=140)
    print_prediction(other, console)
    shown = console.export_text()
    for words in ("before", "after", "faster", "what a width costs", "off on whole networks"):
        assert words in shown


def test_what_is_invalid_is_not_kept_and_refused_unless_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(data: bytes, *, place: str) -> ProbeReport:
        return dataclasses.replace(PARSE(data, place=place), validity=BUSY)

    monkeypatch.setattr(probing, "parse_probes", parse)
    with pytest.raises(DeviceError, match="3 sessions were INVALID"):
        predict(tmp_path, keep=0.5, precisions=["int8"], runtimes=["tflite"])
    found = predict(
        tmp_path, keep=0.5, precisions=["int8"], runtimes=["tflite"], allow_invalid=True
    )
    assert list(found.times.doubts.values()) == ["it waited: stop others"]
    assert prediction_json(found)["statistic"] == "min"
    assert not list((tmp_path / "times").glob("*"))


def test_times_hold_for_a_board_at_its_pace(tmp_path: Path, sessions: list[ProbeReport]) -> None:
    predict(tmp_path, precisions=["int8"], runtimes=["tflite"])
    report = sessions[-1]
    board = Board.of(report)
    (file,) = (tmp_path / "times").iterdir()
    pace = json.loads(file.read_text().splitlines()[-1])["pace"]
    probe = report.probes[0]
    package, version = probe.runtime.package, str(probe.runtime.version)

    def kept(board: Board, factor: float) -> KeptTimes:
        slower = {key: round(time * factor) for key, time in pace.items()}
        return KeptTimes(tmp_path / "times", board, slower)

    assert kept(board, 1.0).find(probe.sha256, package, version) is not None
    assert kept(board, 1.0).find(probe.sha256, package, "0.0") is None
    slow = kept(board, 1.3)
    assert slow.find(probe.sha256, package, version) is None
    assert slow.passed_over > 0
    tuned = Board({**board.facts, "governor": {"0": "powersave"}})
    assert kept(tuned, 1.0).find(probe.sha256, package, version) is None
    # A line that a crash cut short costs that line.
    file.write_bytes(file.read_bytes() + b'{"format": 1, "boa')
    again = kept(board, 1.0)
    assert again.find(probe.sha256, package, version) is not None
    again.add(report)
    assert kept(board, 1.0).find(probe.sha256, package, version) is not None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep": 0.5, "structure": "cut.json"}, "one"),
        ({"runtimes": ["torch"]}, "unknown runtime"),
        ({"precisions": ["int3"]}, "unknown precision"),
        ({"structure": "nowhere.json"}, "nowhere.json"),
        ({"keep": 2.0}, "above 0"),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        predict(tmp_path, **options)
