"""A runtime that is broken costs itself alone, however it is broken; the other one is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import runner_fixtures as tiny

from edgeticket.device_runner.report import read_report
from edgeticket.device_runner.runtimes import RUNTIMES, trial

CRASHES = {
    "SIGILL": ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "illegal instruction"),
    "abort": ("import os, sys; print('cpuinfo is lost', file=sys.stderr); os.abort()",
              "dies of SIGABRT: cpuinfo is lost"),
    "RuntimeError": ("raise RuntimeError('[/no] way\\x1b[2J')", "RuntimeError: [/no] way"),
    "SystemError": ("raise SystemError('an error return')", "SystemError: an"),
    "SystemExit": ("raise SystemExit('no licence')", "SystemExit: no licence"),
    "exits": ("import os; os._exit(0)", "ends the process with 0"),
    "empty": ("", "AttributeError: module"),
    "prints and fails": ("print('null'); print('[]'); raise ValueError(3)", "ValueError: 3"),
    "no text": ("import os; os.write(2, b'\\xff\\n'); os.abort()", "SIGABRT: \ufffd"),
}  # fmt: skip
MODULES = {"ort": ["onnxruntime"], "tflite": ["ai_edge_litert"]}
OTHER = {"ort": "tflite", "tflite": "ort"}
QUICK = ["--min-seconds", "0", "--min-queries", "64", "--warmup-seconds", "0",
         "--energy-seconds", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "b")


def breaks(folder: Path, runtime: str, code: str) -> Path:
    """A folder in which a package of that runtime runs ``code`` when it is imported."""
    for module in MODULES[runtime]:
        (folder / module).mkdir(parents=True)
        (folder / module / "__init__.py").write_text(code)
        (folder / module / "interpreter.py").touch()
    return folder


def runner(first: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command where ``first`` is looked in for packages before all else."""
    return subprocess.run(
        [sys.executable, "-m", "edgeticket.device_runner", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(first)}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("broken", MODULES)
@pytest.mark.parametrize("crash", CRASHES)
def test_info_says_why(tmp_path: Path, crash: str, broken: str) -> None:
    code, reason = CRASHES[crash]
    done = runner(breaks(tmp_path, broken, code), "info", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["runtimes"]
    assert reason in found[broken]["unavailable"]
    assert "pip install" in found[broken]["unavailable"]
    assert found[broken]["unavailable"].isprintable()
    assert "version" in found[OTHER[broken]]


@pytest.mark.parametrize(("broken", "crash"), [("ort", "SIGILL"), ("tflite", "abort")])
def test_the_other_runtime_is_measured(
    tmp_path: Path, bundle: Path, broken: str, crash: str
) -> None:
    code, reason = CRASHES[crash]
    first, out = breaks(tmp_path / "first", broken, code), tmp_path / "out"
    done = runner(first, "bench", bundle, "-o", out, *QUICK)
    assert done.returncode == 0, done.stderr
    assert {read_report(path).artifact.runtime for path in out.iterdir()} == {OTHER[broken]}
    assert done.stderr.count(f"skipping tiny-{broken}-int8: ") == 1
    assert reason in done.stderr
    done = runner(first, "check", bundle)
    assert (done.returncode, reason in done.stdout) == (0, True)
    asked = [["bench", bundle, "-o", tmp_path / "no", "--runtime", broken]]
    asked += [["bench", bundle, "-o", tmp_path / "no", "--artifact", f"tiny-{broken}-int8"]]
    asked += [["tap", bundle, "-o", tmp_path / "t.npz", "--artifact", f"tiny-{broken}-int8"]]
    for arguments in asked:
        done = runner(first, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert reason in done.stderr


def test_a_runtime_that_prints_works(tmp_path: Path, bundle: Path) -> None:
    """To standard output, from Python and from C, when it is imported and when it answers."""
    code = (
        "import importlib, os, sys; print('null'); os.write(1, b'Welcome\\n'); "
        f"sys.path.remove({str(tmp_path / 'first')!r}); del sys.modules['onnxruntime']; "
        "sys.modules['onnxruntime'] = importlib.import_module('onnxruntime')"
    )
    first, out = breaks(tmp_path / "first", "ort", code), tmp_path / "out"
    done = runner(first, "bench", bundle, "--artifact", "tiny-ort-int8", "-o", out, *QUICK)
    assert done.returncode == 0, done.stderr
    (path,) = out.iterdir()
    assert isinstance(read_report(path).cold.load_ns, int)


def test_a_runtime_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(tmp_path, "ort", "import time; time.sleep(600)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(trial, "LIMIT_S", 2.0)
    trial.why_not.cache_clear()
    try:
        assert "no answer to a model of one operator for 2 s" in str(
            trial.why_not("ort", "onnxruntime")
        )
    finally:
        trial.why_not.cache_clear()


def test_the_next_provider_is_taken_when_one_crashes(tmp_path: Path, bundle: Path) -> None:
    """LiteRT dies, and tflite-runtime, here the same module by another name, works."""
    first, out = breaks(tmp_path / "first", "tflite", CRASHES["SIGILL"][0]), tmp_path / "out"
    import ai_edge_litert

    (first / "tflite_runtime").symlink_to(Path(ai_edge_litert.__path__[0]))
    (first / "ai_edge_litert" / "interpreter.py").write_text("")
    done = runner(first, "bench", bundle, "--artifact", "tiny-tflite-int8", "-o", out, *QUICK)
    assert done.returncode in (0, 2), done.stderr
    # The stand-in imports the broken package: what counts is that it is asked, and said so.
    assert "ai-edge-litert: it dies of SIGILL" in done.stderr
    assert "tflite-runtime: " in done.stderr


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_working_runtime_is_asked_once(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.why_not.cache_clear()
    RUNTIMES[runtime].choose()
    monkeypatch.setattr(trial, "run_child", None)
    RUNTIMES[runtime].choose()


def test_a_folder_with_modules_of_the_users_is_not_looked_into(
    tmp_path: Path, bundle: Path
) -> None:
    """A file that lies there never runs, whatever it is called."""
    for name in ("onnxruntime", "json", "base64", "numpy", "ai_edge_litert"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    command = Path(sys.executable).with_name("device-runner")
    done = subprocess.run(
        [str(command), "bench", str(bundle), "--precision", "int8", *QUICK],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("2 reports in reports\n")  # the folder that is taken without -o
    assert len(list((tmp_path / "reports").iterdir())) == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_tflite_runtime_beside_numpy_2(tmp_path: Path, bundle: Path) -> None:
    """Its import works, and its first model ends in SystemError."""
    if sys.version_info[:2] > (3, 11):
        pytest.skip("no tflite-runtime for this Python")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    root = Path(__file__).parents[2]
    subprocess.run([*install, str(root), "tflite-runtime==2.14.0", "numpy>=2"], check=True)
    command = str(python.with_name("device-runner"))
    for words, status in ((["info"], 0), (["check", bundle], 0), (["bench", bundle], 2)):
        done = subprocess.run(
            [command, *map(str, words)], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        assert "pip install 'numpy<2'" in done.stdout + done.stderr
