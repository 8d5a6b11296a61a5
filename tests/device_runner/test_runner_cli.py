"""device-runner as a person at a terminal meets it; and the floor of Python 3.9."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import runner_fixtures as tiny
from process_fixtures import running

from edgeticket import device_runner
from edgeticket.device_runner.cli import main
from edgeticket.device_runner.report import read_report

QUICK = ["--min-seconds", "0", "--min-queries", "20", "--warmup-seconds", "0"]
SOURCES = sorted(Path(device_runner.__file__).parent.rglob("*.py"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "b")


def test_one_artifact_to_one_file(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "r.json"
    choice = ["--runtime", "tflite", "--precision", "int8"]
    assert main(["bench", str(bundle), *choice, *QUICK, "-o", str(output)]) == 0
    assert read_report(output).artifact.id == "tiny-tflite-int8"
    assert os.listdir(output.parent) == ["r.json"]
    shown = capsys.readouterr()
    assert "tiny-tflite-int8" in shown.out
    assert f"1 report in {output}" in shown.out
    assert shown.err.split("\n")[:3] == ["cold starts", "timing queries", "accuracy"]


def test_all_artifacts_to_a_folder(bundle: Path, tmp_path: Path) -> None:
    command = ["bench", str(bundle), *QUICK, "-o", str(tmp_path / "out")]
    assert main([*command, "--outputs", str(tmp_path / "raw"), "--samples", "5"]) == 0
    ids = [entry.id for entry in tiny.tiny_manifest(tiny.tiny_files()).artifacts]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(f"{name}.json" for name in ids)
    assert sorted(os.listdir(tmp_path / "raw")) == sorted(f"{name}.npy" for name in ids)
    found = read_report(tmp_path / "out" / f"{ids[0]}.json")
    assert found.accuracy.count == 5


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(word) for word in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"device-runner: error: [^\n]+\n", shown.err)
    return shown.err


def test_several_artifacts_do_not_fit_one_file(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = refused(capsys, "bench", bundle, "--runtime", "ort", "-o", tmp_path / "r.json")
    assert "2 artifacts are selected" in sentence
    assert "(tiny-ort-fp32, tiny-ort-int8)" in sentence
    assert os.listdir(tmp_path) == []


def test_artifacts_by_name(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["tiny-ort-fp32", "tiny-tflite-int8"]
    flags = [word for name in names for word in ("--artifact", name)]
    quick = ["--min-seconds", "0", "--min-queries", "11", "--warmup-seconds", "0"]
    assert main(["bench", str(bundle), *flags, *quick, "-o", str(tmp_path / "r")]) == 0
    assert sorted(os.listdir(tmp_path / "r")) == [f"{name}.json" for name in names]
    capsys.readouterr()
    sentence = refused(capsys, "bench", bundle, *flags, *flags[:2], "-o", tmp_path / "s")
    assert "'tiny-ort-fp32' is asked for twice" in sentence


def test_what_cannot_be_used_is_one_line(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    cases = {
        "does not exist": ("bench", tmp_path / "no", "-o", tmp_path),
        "no artifact 'x' in the bundle": ("bench", bundle, "--artifact", "x", "-o", tmp_path),
        "unknown runtime 'cuda' (known: ort, tflite)": (
            "bench",
            bundle,
            "--runtime",
            "cuda",
            "-o",
            tmp_path / "r.json",
        ),
        "no artifact of the bundle is int4": (
            "bench",
            bundle,
            "--precision",
            "int4",
            "-o",
            tmp_path,
        ),
        "cannot create the folder": ("bench", bundle, "-o", tmp_path / "file" / "below"),
        "File exists": ("bench", bundle, "-o", tmp_path / "file"),
        "no usable zip": ("check", tmp_path / "file"),
    }
    for sentence, arguments in cases.items():
        assert sentence in refused(capsys, *arguments)


def test_a_folder_that_cannot_be_written_to_is_told_before_measuring(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    # One line on standard error: measuring would have told its progress there.
    assert "permission denied" in refused(capsys, "bench", bundle, "-o", tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bench"],
        ["bench", "x", "-o", "y", "--threads", "0"],
        ["bench", "x", "-o", "y", "--threads", "two"],
        ["bench", "x", "-o", "y", "--min-seconds", "-1"],
        ["bench", "x", "-o", "y", "--min-seconds", "nan"],
        ["bench", "x", "-o", "y", "--min-queries", "1.5"],
        ["dance"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["bench", "--help"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        shown = capsys.readouterr().out
        assert "example:" in shown
        assert "device-runner bench digits.zip" in shown
        assert max(map(len, shown.splitlines())) <= 100
    assert "first N samples" in shown


def test_check_lists_and_vouches(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert "tiny is whole: 8 files verified, 40 samples of noise test, 7 classes" in shown
    assert re.search(r"tiny-ort-int8 +ort +int8 +int8 1x3x2x2 ", shown)


def test_info_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    words = capsys.readouterr().out
    assert re.search(r"ort +package onnxruntime, version \d", words)
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runtimes"]["tflite"]["package"] == "ai-edge-litert"
    assert found["machine"]["cores"] >= 1
    assert set(found["now"]) >= {"governor", "temperature_c", "throttling"}


def test_info_without_a_runtime(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["info"]) == 0
    assert "pip install onnxruntime" in capsys.readouterr().out


def start(*arguments: object) -> AbstractContextManager[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edgeticket.device_runner", *map(str, arguments)]
    return running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1)


def test_an_interrupt_exits_with_130_and_leaves_no_report(bundle: Path, tmp_path: Path) -> None:
    options = ["--artifact", "tiny-ort-fp32", "--min-seconds", "60"]
    with start("bench", bundle, *options, "-o", tmp_path / "r.json") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("timing"):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "device-runner: interrupted\n"
    assert os.listdir(tmp_path) == []


def test_a_reader_that_leaves_is_no_error() -> None:
    with start("info") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 0


def test_the_module_and_the_version() -> None:
    with start("--version") as process:
        output, _ = process.communicate(timeout=30)
    assert output == f"device-runner {device_runner.__version__}\n"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_runner_is_python_3_9(source: Path) -> None:
    """Parses as 3.9, and evaluates nothing that is newer."""
    tree = ast.parse(source.read_text(encoding="utf-8"), feature_version=(3, 9))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert any(node.module == "__future__" for node in imports) or len(tree.body) <= 2
    for node in ast.walk(tree):
        assert type(node).__name__ not in ("Match", "TryStar", "TypeAlias")
        if isinstance(node, ast.Call):
            keywords = {keyword.arg for keyword in node.keywords}
            if isinstance(node.func, ast.Name) and node.func.id == "zip":
                assert "strict" not in keywords
            if isinstance(node.func, ast.Name) and node.func.id == "dataclass":
                assert not keywords & {"slots", "kw_only"}
    # `int | None` is an error on 3.9 wherever it is evaluated, that is, outside annotations.
    quiet = {
        id(part)
        for node in ast.walk(tree)
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if annotation is not None
        for part in ast.walk(annotation)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and id(node) not in quiet:
            assert not {ast.unparse(node.left), ast.unparse(node.right)} & {
                *("None", "int", "str", "float", "bool", "bytes", "Unavailable"),
            }
