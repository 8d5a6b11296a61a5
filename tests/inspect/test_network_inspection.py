"""`edgeticket inspect` of networks: the verdict first, an end, whole names at 80 columns."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from edgeticket.models.imported import look_in
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.inspect import network as inspection
from edgeticket.pipeline.inspect.network import Inspection, inspect_network
from edgeticket.pipeline.network.file import new_network
from edgeticket.pipeline.run import checks
from edgeticket.pipeline.run.time_limit import OutOfTime, time_limit

MODULE = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a_convolution_with_a_name_that_is_long = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.a_convolution_with_a_name_that_is_long(x).sort(1).values + x

def make():
    body = [Block() for _ in range(3)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    stem = nn.ModuleDict({"the_stem_of_this_network": nn.Conv2d(3, 8, 3)})
    return nn.Sequential(stem["the_stem_of_this_network"], *body, *head)
"""


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "sorting_nets.py").write_text(MODULE)
    look_in((folder,))
    return inspect_network(new_network("import:sorting_nets:make", {}, seed=0, takes=(3, 16, 16)))


def printed(found: Inspection, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    found.print(console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_the_verdict_is_the_first_line() -> None:
    found = inspect_network(new_network("resnet20", {}, seed=0))
    lines = printed(found)
    assert lines[0] == ("resnet20 becomes int8 on both runtimes, all multiply-accumulates in int8")
    assert found.integers is not None
    assert found.integers.macs == found.integers.int8_macs == found.macs


def test_what_stays_in_float_is_counted() -> None:
    found = inspect_network(new_network("digits_vit", {}, seed=0))
    assert found.integers is not None
    assert 0 < found.integers.int8_macs < found.integers.macs
    assert found.integers.float_layers
    first = " ".join(" ".join(printed(found)[:2]).split())
    assert "% of the multiply-accumulates in int8" in first


def test_what_is_in_the_way_stands_once_and_whole(strange: Inspection) -> None:
    lines = printed(strange)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    text = " ".join(" ".join(lines).split())
    assert lines[0] == "import:sorting_nets:make does not become int8"
    for told in strange.obstacles:
        assert text.count(" ".join(told.split())) == 1
    joined = "".join(line.strip() for line in lines)
    for layer in strange.layers:
        assert layer.name in joined.replace(" ", "") or layer.name in text


def test_channels_that_stay_are_told_with_the_reason() -> None:
    found = inspect_network(new_network("digits_vit", {}, seed=0))
    assert found.passes["channel_magnitude"].possible
    why = {told for staying in found.staying for told in [staying.told]}
    assert len(why) == len(found.staying)
    assert any("LayerNormalization" in told for told in why)
    assert not any("head" in told for told in why)  # those can go
    lines = printed(found)
    first = next(i for i, line in enumerate(lines) if line.strip() == "channels that stay")
    text = " ".join(" ".join(lines[first:]).split())
    assert "is an output of the network" in text


def test_a_check_without_an_end_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*args: object) -> None:
        while True:
            try:
                time.sleep(0)
                sum(range(1000))
            except Exception:  # what a library may do
                continue

    monkeypatch.setattr(checks, "follow_channels", endless)
    monkeypatch.setattr(inspection, "CHECK_LIMIT_S", 0.3)
    found = inspect_network(new_network("digits_cnn", {}, seed=0))
    told = found.passes["channel_magnitude"]
    assert not told.possible
    assert "not at its end after 0.3 s" in told.told
    assert "magnitude, weight_gates" in told.told
    assert found.passes["magnitude"].possible
    assert found.files["tflite-int8"].possible


@pytest.mark.parametrize("error", [IndexError("list index"), ZeroDivisionError(), RecursionError()])
def test_a_check_that_raises_is_one_row(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(checks, "follow_channels", fail)
    found = inspect_network(new_network("digits_cnn", {}, seed=0))
    assert type(error).__name__ in found.passes["channel_magnitude"].told
    assert found.files["tflite-int8"].possible


def test_a_limit_leaves_what_ends_alone() -> None:
    for _ in range(20):
        with time_limit(60):
            assert sum(range(1000)) == 499500
    with pytest.raises(OutOfTime), time_limit(0.05):
        sum(1 for _ in iter(int, 1))
    assert sum(range(1000)) == 499500
    # Work that ends about when its time does: whichever came first, nothing comes later.
    for seconds in (0.04, 0.05, 0.06):
        end = time.thread_time() + 0.05
        try:
            with time_limit(seconds):
                while time.thread_time() < end:
                    pass
        except OutOfTime:
            pass
        for _ in range(1000):
            time.sleep(0)


def test_json_takes_the_place_of_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "i.json"
    file.write_text("my notes")
    for flag in ("--json", "-o", "--out"):
        done = CliRunner().invoke(app, ["inspect", "digits_cnn", flag, str(file)])
        assert "is there already" in str(done.exception)
    assert file.read_text() == "my notes"
    file.unlink()
    assert CliRunner().invoke(app, ["inspect", "digits_cnn", "-o", str(file)]).exit_code == 0
    assert '"integers"' in file.read_text()
