"""What a page is made of: which files are taken, what they are held against, how machines are told
apart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from page_fixtures import diff_document, four_reports, report_of, write_reports, write_run

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.page.sections.steps import tell_steps
from edgeticket.pipeline.page.sources import compose, gather


def test_a_run_brings_its_reports_bundle_and_steps(tmp_path: Path) -> None:
    sources = gather([write_run(tmp_path / "run")])
    assert [one.number for one in sources.measured] == [1, 2, 3, 4]
    assert [one.name for one in sources.measured] == [  # as the bundle has them
        "tiny-ort-fp32", "tiny-ort-int8", "tiny-tflite-fp32", "tiny-tflite-int8"
    ]  # fmt: skip
    assert sources.bundle == tmp_path / "run" / "bundle"
    assert sources.manifest is not None
    assert [step["step"] for step in sources.steps] == ["train", "stochastic_gates", "ptq"]
    assert sources.places == ("Raspberry Pi 5 Model B",)


def test_reports_elsewhere_and_a_zip_of_their_bundle(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    shutil.move(folder / "reports", tmp_path / "pi5")
    archive = shutil.make_archive(str(tmp_path / "b"), "zip", folder / "bundle")
    sources = gather([tmp_path / "pi5", Path(archive)])
    assert len(sources.measured) == 4
    assert sources.manifest is not None


def test_the_same_report_twice_is_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    sources = gather([folder, folder / "reports" / "tiny-ort-int8.json"])
    assert len(sources.measured) == 4


def test_other_files_of_a_folder_are_passed_over_and_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "reports" / "a.json").write_text("{}")
    sources = gather([folder])
    assert len(sources.measured) == 4
    assert len(sources.passed_over) == 1
    assert "a.json" in sources.passed_over[0]


def test_a_diff_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (tmp_path / "x.json").write_text(json.dumps(diff_document()))
    assert gather([folder]).diff is None
    found = gather([folder, tmp_path / "x.json"]).diff
    assert found is not None
    assert found["samples"] == 4


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda folder: folder / "absent.json", "absent.json"),
        (lambda folder: folder, "there is no report in"),
        (lambda folder: folder / "other.json", "other.json"),
    ],
)
def test_what_is_named_must_be_a_report(make: object, part: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    assert callable(make)
    with pytest.raises(InputError, match=part) as caught:
        gather([make(tmp_path)])
    assert "\n" not in str(caught.value)


def test_the_baseline_is_the_same_runtime_on_the_same_machine(tmp_path: Path) -> None:
    for i, board in enumerate(("one", "two")):
        write_reports(tmp_path, four_reports(session=str(i) * 32, board=board), board)
    sources = gather([tmp_path])
    for one in sources.measured:
        base = sources.baseline_of(one)
        assert base is not None
        assert base.report.artifact.precision == "fp32"
        assert base.report.artifact.runtime == one.report.artifact.runtime
        assert base.place == one.place


def test_another_number_of_threads_or_other_samples_are_no_baseline(tmp_path: Path) -> None:
    base, report = report_of(precision="fp32"), report_of()
    other = replace(base, runtime=replace(base.runtime, threads=4))
    elsewhere = replace(base, accuracy=replace(base.accuracy, samples_sha256="00" * 32))
    for unlike in (other, elsewhere):
        sources = compose([(tmp_path / "a.json", unlike), (tmp_path / "b.json", report)])
        int8 = next(one for one in sources.measured if one.is_int8)
        assert sources.baseline_of(int8) is None


def test_machines_of_one_name_are_told_apart_by_folder_or_number(tmp_path: Path) -> None:
    first, second = report_of(session="1" * 32), report_of(session="2" * 32)
    by_folder = compose([(tmp_path / "left/a.json", first), (tmp_path / "right/a.json", second)])
    assert by_folder.places == ("Raspberry Pi 5 Model B (left)", "Raspberry Pi 5 Model B (right)")
    by_number = compose([(tmp_path / "a.json", first), (tmp_path / "b.json", second)])
    assert by_number.places == (
        "Raspberry Pi 5 Model B (session 1)", "Raspberry Pi 5 Model B (session 2)"
    )  # fmt: skip


def test_the_fastest_that_is_meant_for_deployment_comes_first(tmp_path: Path) -> None:
    sources = gather([write_reports(tmp_path, four_reports()) / "reports"])
    assert sources.featured.is_int8
    fast_float = report_of(precision="fp32", time_ns=10)
    sources = compose([(tmp_path / "a.json", fast_float), (tmp_path / "b.json", report_of())])
    assert sources.featured.name == "tiny-tflite-int8"


def test_the_time_of_each_pass_comes_from_the_runs_summary(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    names = ["train", "stochastic_gates", "ptq"]
    seconds = [75.25, 7500, None]
    timed = [{"step": n, "seconds": s} for n, s in zip(names, seconds, strict=True)]
    (folder / "summary.json").write_text(json.dumps({"steps": timed}))
    assert [step.time for step in tell_steps(gather([folder]))] == ["75.2 s", "2 h 05 min", "–"]
    (folder / "summary.json").write_text(json.dumps({"steps": timed[:2]}))  # of another run
    assert {step.time for step in tell_steps(gather([folder]))} == {"–"}
    (folder / "summary.json").write_text("[" * 100_000)
    assert len(gather([folder]).steps) == 3
