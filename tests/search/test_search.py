"""A search from the probes to the front, on times that depend on weights alone."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fixtures import FakeTimes

import edgeticket
from edgeticket.device_runner.task import Metric
from edgeticket.device_runner.task.kind import HIGHER
from edgeticket.models.network import Network
from edgeticket.pipeline.devices.fleet import make_device
from edgeticket.pipeline.errors import DeviceError
from edgeticket.pipeline.search import boards
from edgeticket.pipeline.search import proposals as proposing
from edgeticket.pipeline.search.boards import Proposal, Whole
from edgeticket.pipeline.search.candidates import Candidates
from edgeticket.pipeline.search.choice import Losses, choose
from edgeticket.pipeline.search.front import Bounds, Front, Point, PointOnTarget, Score, front_of
from edgeticket.pipeline.search.front_file import FrontFile, front_json, to_markdown
from edgeticket.pipeline.search.halving import Entrant, rungs_of, survivors
from edgeticket.pipeline.search.prices import PriceList, Prices, covering, levels_of
from edgeticket.pipeline.search.probing import Asked
from edgeticket.pipeline.search.structure import Structure

TOP1 = Metric("top1", HIGHER, "share", "right ones")
RECIPE = """\
name: tiny
data: {name: digits, train: 200, validation: 100, calibration: 60, test: 50}
model: {arch: digits_cnn, args: {width: 4}}
train: {epochs: 1, batch_size: 50, lr: 0.1}
compress:
  - method: finetune
    train: {epochs: 3, batch_size: 50, lr: 0.05}
  - method: ptq
bench: {min_seconds: 0, min_queries: 64}
"""


@pytest.fixture(scope="module")
def resnet() -> Candidates:
    return Candidates.of(Network.fresh("resnet20", {"width": 8}, seed=0))


def even(candidates: Candidates, blocks: dict[str, float]) -> Losses:
    levels = levels_of(candidates.widths, quantum=4)
    return Losses(
        {name: {w: math.log(widths[-1] / w) for w in widths} for name, widths in levels.items()},
        blocks,
    )


def priced(candidates: Candidates, slowness: float = 5.0) -> Prices:
    levels = levels_of(candidates.widths, quantum=4)
    one = PriceList(candidates, "ort", "int8", levels)
    fake = FakeTimes({"local": slowness})
    files = boards.Files([one.case])
    times = fake(make_device("local"), files.plan, Asked(Path()), runtimes=["ort"])
    return one.prices(files, times)


_SMALL = Candidates.of(Network.fresh("digits_cnn", {"width": 8}, seed=0))
PRICED = priced(_SMALL), _SMALL


@given(st.lists(st.lists(st.sampled_from([8, 16, 24]), min_size=2, max_size=2), max_size=6))
def test_structures_that_cover_have_every_combination(pairs: list[list[int]]) -> None:
    levels = {"a": (8, 16, 24), "b": (8, 16, 24), "c": (8, 16, 24)}
    groups = itertools.cycle([("a", "b"), ("b", "c"), ("a", "c")])
    wanted = [dict(zip(g, pair, strict=True)) for g, pair in zip(groups, pairs, strict=False)]
    structures = covering(wanted, levels)
    assert all(any(one.items() <= keep.items() for keep in structures) for one in wanted)
    assert len(structures) <= len(wanted)


def test_the_choice_is_the_best_of_all_by_brute_force() -> None:
    prices, candidates = PRICED
    losses = even(candidates, {})
    every = [
        Structure(dict(zip(prices.levels, widths, strict=True)))
        for widths in itertools.product(*prices.levels.values())
    ]
    costs = {id(one): (prices.ns(one), losses.of(one)) for one in every}
    least, most = min(ns for ns, _ in costs.values()), max(ns for ns, _ in costs.values())
    for share in (0.9, 0.5, 0.2):
        limit = least + share * (most - least)
        chosen = choose([prices], losses, time_ns=[limit])
        assert chosen is not None
        assert prices.ns(chosen) <= limit * 1.0001
        best = min(loss for ns, loss in costs.values() if ns <= limit)
        assert losses.of(chosen) <= best * 1.002
    assert choose([prices], losses, time_ns=[0.9 * least]) is None


def test_a_block_that_costs_little_is_bypassed_and_the_slowest_target_decides(
    resnet: Candidates,
) -> None:
    quick, slow = priced(resnet, 2.0), priced(resnet, 6.0)
    blocks = {"layer2.1": 0.01, "layer3.2": 5.0}
    losses = even(resnet, blocks)
    most = 0.8 * slow.ns(Structure())
    chosen = choose([quick, slow], losses, time_ns=[most, most])
    assert chosen is not None
    assert chosen.bypass == {"layer2.1"}
    assert slow.ns(chosen) <= most * 1.0001
    alone = choose([quick], losses, time_ns=[most])
    assert alone is not None
    assert losses.of(alone) < losses.of(chosen)
    assert choose([quick], losses, time_ns=[0.01 * most]) is None


@settings(deadline=None, max_examples=5)
@given(st.data())
def test_the_sum_of_a_table_is_what_the_whole_takes(data: st.DataObject) -> None:
    prices, candidates = PRICED
    keep = {
        name: data.draw(st.sampled_from(widths), label=name)
        for name, widths in prices.levels.items()
    }
    fake = FakeTimes({"local": 5.0})
    wholes = boards.Wholes({(0, "ort"): candidates.graph("int8", Structure(keep))})
    times = fake(make_device("local"), wholes.plan, Asked(Path()), runtimes=["ort"])
    measured = times.ns(wholes.files[0, "ort"])
    assert prices.ns(Structure(keep)) == pytest.approx(measured, rel=0.02)


def proposal(slot: int, ms: float, size: int) -> Proposal:
    return Proposal(Structure(), "int8", slot, "even", {"x": Whole("ort", ms, ms, size)})


def test_half_of_a_slot_stays_and_none_that_another_beats_in_everything() -> None:
    entrants = [
        Entrant(proposal(0, 4, 40), 1, 0.90),
        Entrant(proposal(0, 4, 40), 1, 0.80),
        Entrant(proposal(1, 2, 20), 1, 0.95),  # beats all of the first slot
        Entrant(proposal(1, 2, 10), 1, 0.70),
        Entrant(proposal(2, 1, 5), 1, 0.60),
    ]
    kept = survivors(entrants, TOP1)
    assert [one.score for one in kept] == [0.95, 0.60]
    assert [sum(rungs_of(n)) for n in (1, 2, 3, 10, 15)] == [1, 2, 3, 10, 15]


def point(name: str, score: float, ms: float, size: int) -> Point:
    measured = PointOnTarget("a", "ort", ms, size, score, True, ())
    return Point(name, Structure(), "int8", "even", 3, score, ms, {"local": measured})


def front(bounds: Bounds) -> Front:
    return front_of(
        [point("big", 0.95, 4, 400), point("small", 0.93, 1, 100), point("bad", 0.92, 2, 100)],
        dense=Score(TOP1, 0.95), dense_ms=5, bounds=bounds, name="t", targets=["local"],
        left_out={}, doubts=[],
    )  # fmt: skip


def test_bounds_choose_a_point_or_name_the_nearest() -> None:
    judged = front(Bounds(max_drop_points=0.5))
    assert (judged.chosen, [p.on_front for p in judged.points]) == ("big", [True, True, False])
    assert front(Bounds(max_drop_points=2.5)).chosen == "small"
    assert front(Bounds(max_drop_relative=0.03, minimise="drop")).chosen == "big"
    none = front(Bounds(max_drop_points=0.5, max_p90_ms=2))
    assert none.chosen is None
    assert none.nearest == "big"
    assert "p90 is 4.000 ms, allowed 2" in to_markdown(none)
    FrontFile.model_validate_json(json.dumps(front_json(none)))


def killed(*args: Any, **keys: Any) -> None:
    raise KeyboardInterrupt


def search(tmp_path: Path, **options: Any) -> Front:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    keys = {"on": "local", "runtimes": ["ort"], "allow_invalid": True, **options}
    return edgeticket.search(
        tmp_path / "tiny.yaml", out=tmp_path / "out", times=tmp_path / "times", quantum=4, **keys
    )


def test_a_search_leaves_bundles_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeTimes({"local": 5.0, "ssh://b@absent": 9.0}, broken=["ssh://b@absent"])
    monkeypatch.setattr(boards, "time_files", fake)
    monkeypatch.setattr(proposing, "SLOTS", 2)
    monkeypatch.setattr(proposing, "ROUNDS", 1)
    on = ["local", "ssh://b@absent"]

    with monkeypatch.context() as at_the_end:
        at_the_end.setattr("edgeticket.pipeline.search.finishing.finish", killed)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path, on=on)
    asked = fake.asked_files
    trained = sorted((tmp_path / "out" / ".stages").glob("finetune-*"))
    judged = search(tmp_path, on=on, max_drop=90)
    assert fake.asked_files == asked  # neither probes nor candidates a second time
    assert sorted((tmp_path / "out" / ".stages").glob("finetune-*")) == trained
    assert judged.left_out == {"ssh://b@absent": "3 sessions were INVALID (it was hot)"}
    assert judged.chosen is not None
    folder = tmp_path / "out" / "tiny-search"
    document = FrontFile.model_validate_json((folder / "front.json").read_bytes())
    for entry in document.points:
        assert (folder / entry.name / "bundle" / "manifest.json").is_file()
        assert entry.epochs == 3
    assert (folder / "summary.md").is_file()
    assert (folder / "front.svg").read_bytes().startswith(b"<?xml")


def test_no_target_and_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTimes({"local": 5.0}, broken=["local"])
    monkeypatch.setattr(boards, "time_files", fake)
    with pytest.raises(DeviceError, match="no target can be measured: local"):
        search(tmp_path)
    with pytest.raises(edgeticket.InputError, match="seconds 0"):
        search(tmp_path, seconds=0)
    with pytest.raises(edgeticket.InputError, match="unknown aim"):
        search(tmp_path, minimise="size")
    fake.broken = ()
    monkeypatch.setattr(proposing, "SLOTS", 2)
    monkeypatch.setattr(proposing, "ROUNDS", 1)
    with pytest.raises(edgeticket.InputError, match="time was over while the dense network"):
        search(tmp_path, seconds=0.001)
    with monkeypatch.context() as before_training:
        before_training.setattr("edgeticket.pipeline.search.search.halve", killed)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path)
    judged = search(tmp_path, seconds=0.001)  # what to train is known
    assert [point.epochs for point in judged.points] == [1]  # the first rung of the first alone


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        (
            {"max_p90_ms": 1e-6},
            r"within 1e-06 ms: the narrowest takes 0\.0\d+ ms and \S+ kB in int8;",
        ),
        ({"max_kb": 0.01}, r"within 0\.01 kB: the narrowest takes"),
    ],
)
def test_what_no_structure_reaches_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounds: dict[str, float], sentence: str
) -> None:
    monkeypatch.setattr(boards, "time_files", FakeTimes({"local": 5.0}))
    monkeypatch.setattr("edgeticket.pipeline.search.search.halve", killed)
    with pytest.raises(edgeticket.InputError, match=sentence):
        search(tmp_path, **bounds)


@pytest.mark.slow
def test_a_search_on_this_machine(tmp_path: Path) -> None:
    judged = search(tmp_path, max_p90_ms=50, runtimes=["tflite"])
    assert judged.chosen is not None
    assert all(p.p90_ms < 50 for p in judged.points)
