"""What a search leaves out: points, targets, and what there was no time for."""

from __future__ import annotations

import io
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from search_fixtures import FakeTimes

from edgeticket.device_runner.manifest import Artifact, TensorSpec
from edgeticket.device_runner.validity import INVALID, VALID
from edgeticket.models.network import Network
from edgeticket.pipeline.devices.fleet import make_device
from edgeticket.pipeline.errors import DeviceError
from edgeticket.pipeline.progress import QUIET, Bars
from edgeticket.pipeline.search import boards, points
from edgeticket.pipeline.search.boards import Boards, Proposal, Whole
from edgeticket.pipeline.search.candidates import Candidates
from edgeticket.pipeline.search.choice import Losses
from edgeticket.pipeline.search.deadline import Deadline, OutOfTimeError
from edgeticket.pipeline.search.finishing import believed
from edgeticket.pipeline.search.front import Point, PointOnTarget
from edgeticket.pipeline.search.front_file import schema
from edgeticket.pipeline.search.halving import Entrant, _in_turns
from edgeticket.pipeline.search.points import TRIES
from edgeticket.pipeline.search.prices import PriceList, levels_of
from edgeticket.pipeline.search.probes import ProbeFile, bundles_of
from edgeticket.pipeline.search.probing import Asked, Times
from edgeticket.pipeline.search.proposals import unbeaten
from edgeticket.pipeline.search.structure import Structure

DOCS = Path(__file__).parents[2] / "docs"
LOCAL, FAR = make_device("local"), make_device("ssh://b@far")
STRICT, LENIENT = Asked(Path()), Asked(Path(), allow_invalid=True)


def on(valid: bool, ms: float = 1.0) -> PointOnTarget:
    return PointOnTarget("a", "ort", ms, 10, None, valid, () if valid else ("it was hot",))


def point(name: str, local: bool, far: bool | None = None) -> Point:
    measured = {"local": on(local)}
    if far is not None:
        measured["far"] = on(far, 2.0)
    return Point(name, Structure(), "int8", "even", 1, 0.5, 1.0, measured)


def test_points_and_targets_that_stay_invalid_are_left_out_with_the_reason() -> None:
    several = [point("a", True, True), point("b", False, True)]
    finished = believed(several, [LOCAL, FAR], {}, STRICT)
    assert [one.name for one in finished.points] == ["a"]
    assert finished.unfinished == {"b": "on local INVALID 3 times: it was hot"}
    assert believed(several, [LOCAL, FAR], {}, LENIENT).points == tuple(several)

    finished = believed([point("a", True, False)], [LOCAL, FAR], {}, STRICT)
    assert finished.left_out == {FAR.target: "every measurement was INVALID 3 times: it was hot"}
    assert finished.points[0].p90_ms == 1.0  # what the other took does not count
    with pytest.raises(DeviceError, match=r"believed.*it was hot.*--allow-invalid"):
        believed([point("a", False)], [LOCAL], {}, STRICT)


@pytest.mark.parametrize(
    ("verdicts", "sessions", "last"),
    [
        ([INVALID, INVALID, VALID, VALID], 3, VALID),
        ([INVALID] * 9, TRIES, INVALID),
        ([VALID], 1, VALID),
    ],
)
def test_a_board_that_is_not_valid_measures_a_point_again(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verdicts: list[str],
    sessions: int,
    last: str,
) -> None:
    left = iter(verdicts)
    begun: list[Path] = []

    def stub(bundle: Path, *_: object, **__: object) -> list[SimpleNamespace]:
        begun.append(bundle)
        report = SimpleNamespace(validity=SimpleNamespace(verdict=next(left)))
        return [SimpleNamespace(failure=None, reports=[report])]

    monkeypatch.setattr(points, "measure_together", stub)
    (report,) = points._measure(tmp_path, FAR, STRICT, Deadline.after(None))
    assert (len(begun), report.validity.verdict) == (sessions, last)
    begun.clear()
    left = iter([INVALID])
    points._measure(tmp_path, FAR, STRICT, Deadline(-math.inf))  # no time for another
    left = iter([INVALID])
    points._measure(tmp_path, FAR, LENIENT, Deadline.after(None))
    assert len(begun) == 2


def test_a_board_that_goes_away_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = SimpleNamespace(failure="the link broke", reports=[])
    monkeypatch.setattr(points, "measure_together", lambda *_, **__: [gone])
    with pytest.raises(DeviceError, match=r"ssh://b@far: the link broke"):
        points._measure(tmp_path, FAR, STRICT, Deadline.after(None))


def test_of_a_target_that_failed_later_nothing_counts() -> None:
    several = [point("a", True, True), point("b", True)]
    finished = believed(several, [LOCAL, FAR], {FAR.target: "gone"}, STRICT)
    assert [set(one.measured) for one in finished.points] == [{"local"}, {"local"}]


def test_a_target_that_fails_after_probing_costs_the_search_that_target_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeTimes({LOCAL.target: 2.0, FAR.target: 9.0})
    monkeypatch.setattr(boards, "time_files", fake)
    candidates = Candidates.of(Network.fresh("digits_cnn", {"width": 8}, seed=0))
    lists = [PriceList(candidates, "ort", "int8", levels_of(candidates.widths, quantum=8))]
    search = Boards([], {}, candidates, STRICT, ["ort"], Deadline.after(None), QUIET)
    for device in (LOCAL, FAR):
        search.targets.append(search.probe(device, lists))
    fake.broken = (FAR.target,)
    (whole,) = search.measured([Proposal(Structure(), "int8", 0, "even")])
    assert set(whole.wholes) == {"local"}
    assert "it was hot" in search.left_out[FAR.target]
    fake.broken = (LOCAL.target,)
    with pytest.raises(DeviceError, match="no target can be measured"):
        search.measured([Proposal(Structure(), "int8", 0, "even")])
    search = replace(search, deadline=Deadline(-math.inf), targets=[], left_out={})
    with pytest.raises(OutOfTimeError, match="the same command goes on"):
        search.probe(LOCAL, lists)


def proposal(slot: int, width: int, ms: float, size: int, opinion: str = "even") -> Proposal:
    whole = {"local": Whole("ort", ms, ms, size)}
    return Proposal(Structure({"a": width}), "int8", slot, opinion, whole)


def test_nothing_is_trained_that_another_beats_by_the_same_opinion() -> None:
    losses = Losses({"a": {8: 1.0, 16: 0.5}}, {})
    best, slower = proposal(0, 16, 1, 10), proposal(0, 16, 2, 10)
    other = replace(slower, opinion="magnitude")
    lossy = proposal(0, 8, 0.5, 5)
    several = [best, slower, other, lossy]
    assert unbeaten(several, {"even": losses, "magnitude": losses}) == [best, other, lossy]


def test_what_is_hardly_faster_and_loses_more_is_not_trained() -> None:
    losses = Losses({"a": {8: 1.0, 16: 0.5}}, {})
    best = proposal(0, 16, 1.0, 100)
    hardly, faster, smaller = (
        proposal(0, 8, ms, size) for ms, size in ((0.97, 97), (0.9, 100), (1.0, 90))
    )
    assert unbeaten([hardly, best], {"even": losses}) == [best]
    assert unbeaten([faster, best], {"even": losses}) == [faster, best]
    assert unbeaten([best, smaller], {"even": losses}) == [best, smaller]


def test_a_bundle_of_probes_has_so_many_files_and_bytes() -> None:
    spec = TensorSpec("x", (1,), "float32", "N", None, None)

    def file(name: str, size_bytes: int, inputs: int = 1) -> ProbeFile:
        ends = (spec,) * inputs
        artifact = Artifact(
            name, f"{name}.onnx", "n", "deploy", "ort", "fp32", (), (), ends, (spec,)
        )
        return ProbeFile(artifact, bytes(size_bytes))

    several = [file("a", 4), file("b", 4), file("c", 9), file("d", 1), file("e", 1), file("f", 1)]
    parts = bundles_of([*several, file("g", 1, inputs=2), file("a", 4)], most=2, most_bytes=8)
    assert [[one.artifact.id for one in part] for part in parts] == [
        ["a", "b"], ["c"], ["d", "e"], ["f"], ["g"],
    ]  # fmt: skip
    assert bundles_of([], most=2, most_bytes=8) == []


def test_the_same_doubt_of_several_sessions_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTimes({LOCAL.target: 2.0})
    number = itertools.count()

    def doubtful(*arguments: Any, **options: Any) -> Times:
        doubts = {"waiting": f"it waited {next(number)} s"}
        return replace(fake(*arguments, **options), doubts=doubts)

    monkeypatch.setattr(boards, "time_files", doubtful)
    candidates = Candidates.of(Network.fresh("digits_cnn", {"width": 8}, seed=0))
    lists = [PriceList(candidates, "ort", "int8", levels_of(candidates.widths, quantum=8))]
    search = Boards([], {}, candidates, LENIENT, ["ort"], Deadline.after(None), QUIET)
    search.targets.append(search.probe(LOCAL, lists))
    search.measured([Proposal(Structure(), "int8", 0, "even")])
    assert search.targets[0].times.doubts == {"waiting": "it waited 0 s"}


def test_wherever_the_time_ends_each_slot_has_had_its_turn() -> None:
    several = [Entrant(proposal(slot, 8, 1, 1)) for slot in (0, 0, 0, 1, 1, 2)]
    assert [one.proposal.slot for one in _in_turns(several)] == [0, 1, 2, 0, 1, 0]
    deadline = Deadline(200.0, 100.0)
    assert deadline.training_until(40.0, 0.5) == 70.0
    assert deadline.training_until(120.0, 0.5) == 120.0


def test_the_schema_in_the_documents_is_that_of_the_file() -> None:
    assert json.loads((DOCS / "front.schema.json").read_text()) == schema()


def test_a_share_of_one_is_no_count() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    with Bars(console, every_s=0).task("probes", 1) as advance:
        advance(0.37, "96 of 260 files")
    assert isinstance(console.file, io.StringIO)
    line = console.file.getvalue()
    assert line.startswith("  probes: 37%, about ")
    assert line.endswith("left: 96 of 260 files\n")
