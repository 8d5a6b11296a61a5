"""What holds for every task: batches change no number, NaN is said, settings come back."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_fixtures import example, page_rows

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.schema import check_schema
from edgeticket.device_runner.strict_json import format_json, parse_json, to_json
from edgeticket.device_runner.task import TASKS, get_task, kind
from edgeticket.device_runner.task.kind import HIGHER, LOWER, Metric
from edgeticket.device_runner.unavailable import Unavailable

PAGE = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")
SEEDS = st.integers(0, 2**32 - 1)
every_task = pytest.mark.parametrize("name", TASKS)


@every_task
def test_a_task_names_its_metrics_and_one_of_them_first(name: str) -> None:
    task, (task_settings, outputs, targets) = TASKS[name], example(name, 0)
    metrics = task.metrics(task_settings)
    names = [metric.name for metric in metrics]
    assert task.name == name
    assert list(task.score(outputs, targets, task_settings)) == names
    assert task.headline in (names or [None])
    assert {metric.direction for metric in metrics} <= {HIGHER, LOWER}


@every_task
def test_the_page_says_of_a_task_what_the_code_says(name: str) -> None:
    part = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    for row in page_rows(name):
        assert row in part


@pytest.mark.parametrize("document", re.findall(r"```json\n(.*?)```", PAGE, re.S))
def test_settings_on_the_page_are_settings(document: str) -> None:
    TASKS["boxes"].settings.from_json(parse_json(document.encode(), place="docs/tasks.md"))


@every_task
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, count=st.integers(1, 9))
def test_batches_change_no_number(name: str, seed: int, count: int) -> None:
    task, (task_settings, outputs, targets) = TASKS[name], example(name, seed, count)
    whole = task.score(outputs, targets, task_settings)
    tally = task.tally(targets, task_settings, count)
    cuts = sorted(np.random.default_rng(seed).integers(0, count + 1, 3).tolist())
    for start, stop in zip([0, *cuts], [*cuts, count], strict=True):
        tally.add([output[start:stop] for output in outputs])
    assert tally.metrics() == whole


@every_task
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_an_answer_agrees_with_itself_and_with_nothing_that_is_not_finite(
    name: str, seed: int
) -> None:
    task, (task_settings, outputs, _) = TASKS[name], example(name, seed)
    assert task.agree(outputs, outputs, task_settings).all()
    broken = [output.copy() for output in outputs]
    broken[0].reshape(6, -1)[2, -1] = [np.nan, np.inf, -np.inf][seed % 3]
    for pair in ((outputs, broken), (broken, outputs), (broken, broken)):
        assert task.agree(*pair, task_settings).tolist() == [True, True, False, True, True, True]


@every_task
def test_other_answers_do_not_agree(name: str) -> None:
    task, (task_settings, outputs, _) = TASKS[name], example(name, 1, 20)
    others = example(name, 2, 20)[1]
    assert task.agree(outputs, others, task_settings).mean() < 0.5


@every_task
def test_what_is_not_finite_is_said(name: str) -> None:
    task, (task_settings, outputs, targets) = TASKS[name], example(name, 0)
    outputs[0].reshape(6, -1)[4, 0] = np.nan
    for value in task.score(outputs, targets, task_settings).values():
        assert value == Unavailable("output 0 is not finite for sample 4")


@every_task
def test_no_samples(name: str) -> None:
    task, (task_settings, outputs, targets) = TASKS[name], example(name, 0, 0)
    for value in task.score(outputs, targets, task_settings).values():
        assert value == Unavailable("there are no samples")
    assert task.agree(outputs, outputs, task_settings).shape == (0,)


@pytest.mark.parametrize("name", sorted(TASKS.keys() - {"nothing"}))
def test_an_output_that_is_not_there(name: str) -> None:
    task, (task_settings, _, targets) = TASKS[name], example(name, 0)
    with pytest.raises(InputError, match=r"reads output 0, the network has 0"):
        task.tally(targets, task_settings, 6).add([])


@pytest.mark.parametrize("name", sorted(TASKS.keys() - {"nothing"}))
def test_targets_that_are_missing_or_for_other_samples(name: str) -> None:
    task, (task_settings, outputs, targets) = TASKS[name], example(name, 0)
    with pytest.raises(InputError, match="targets hold nothing, but no "):
        task.score(outputs, {}, task_settings)
    if name == "boxes":
        targets["sample"][3] = 6
        sentence = "box 3 is of sample 6, there are 6, counted from 0"
    else:
        targets = {key: array[:5] for key, array in targets.items()}
        sentence = "is for 5 samples, there are 6"
    with pytest.raises(InputError, match=sentence):
        task.score(outputs, targets, task_settings)


@every_task
def test_pieces_bound_the_memory_and_change_no_number(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, (task_settings, outputs, targets) = TASKS[name], example(name, 5)
    others = example(name, 6)[1]
    score = task.score(outputs, targets, task_settings)
    same = task.agree(outputs, others, task_settings)
    monkeypatch.setattr(kind, "PIECE_BYTES", 1)
    assert task.score(outputs, targets, task_settings) == score
    assert task.agree(outputs, others, task_settings).tolist() == same.tolist()


@every_task
def test_targets_of_another_task(name: str) -> None:
    task, (task_settings, outputs, targets) = TASKS[name], example(name, 0)
    with pytest.raises(InputError, match=rf"^targets hold 'lable', which {name} does not know; kn"):
        task.score(outputs, {**targets, "lable": np.zeros(6)}, task_settings)


@every_task
def test_outputs_of_another_network(name: str) -> None:
    task, (task_settings, outputs, _) = TASKS[name], example(name, 0)
    with pytest.raises(InputError, match="outputs cannot be compared: give those of one network"):
        task.agree(outputs, [*outputs, outputs[0]], task_settings)
    shorter = [output[:, :-1] for output in outputs]
    with pytest.raises(InputError, match="cannot be compared: both must be of one network"):
        task.agree(outputs, shorter, task_settings)


@pytest.mark.parametrize("dtype", ["O", "U3", "c8"])
def test_targets_that_are_no_numbers(dtype: str) -> None:
    task, (task_settings, outputs, targets) = TASKS["numbers"], example("numbers", 0)
    with pytest.raises(InputError, match=r"'values' is .*: it must be of real numbers"):
        task.score(outputs, {"values": targets["values"].astype(dtype)}, task_settings)


def test_fewer_or_more_outputs_than_targets() -> None:
    task, (task_settings, outputs, targets) = TASKS["numbers"], example("numbers", 0)
    tally = task.tally(targets, task_settings, 6)
    tally.add([outputs[0][:4]])
    assert tally.metrics()["mae"] == Unavailable("outputs for 4 of 6 samples only")
    with pytest.raises(InputError, match="outputs for sample 6 and beyond"):
        task.tally(targets, task_settings, 6).add([outputs[0].repeat(2, axis=0)])


@every_task
def test_settings_come_back_from_json(name: str) -> None:
    of_task, (task_settings, _, _) = TASKS[name].settings, example(name, 0)
    data = format_json(to_json(task_settings))
    assert of_task.from_json(parse_json(data, place="test")) == task_settings
    assert format_json(to_json(of_task.from_json(parse_json(data, place="test")))) == data
    check_schema(of_task.schema())


@every_task
def test_every_field_of_settings_is_checked(name: str) -> None:
    of_task, document = TASKS[name].settings, to_json(example(name, 0)[0])
    for field in dataclasses.fields(of_task):
        for wrong in ({"no": "such"}, "no such word", float("nan")):
            with pytest.raises(InputError, match=rf"^here(: | at /){field.name}"):
                of_task.from_json({**document, field.name: wrong}, place="here")
        with pytest.raises(InputError, match=rf"{field.name}"):
            dataclasses.replace(example(name, 0)[0], **{field.name: "no such word"})
    with pytest.raises(InputError, match=r"^here at /: unknown key 'no_such' \(known: "):
        of_task.from_json({**document, "no_such": 1}, place="here")
    with pytest.raises(InputError, match=r"^here at /: found a list, allowed: object"):
        of_task.from_json([], place="here")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 300), st.floats(), st.text(max_size=3),
              st.sampled_from(["kind", "direct", "anchors", "centres", "none", "sigmoid"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["kind", "count", "outputs", "strides"]), inner),
    ),
    max_leaves=6,
)  # fmt: skip


@every_task
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_json_is_settings_or_a_sentence(name: str, data: st.DataObject) -> None:
    of_task, document = TASKS[name].settings, to_json(example(name, 0)[0])
    field = data.draw(st.sampled_from([f.name for f in dataclasses.fields(of_task)]))
    sentence = ""
    try:
        read = of_task.from_json({**document, field: data.draw(JSON)}, place="here")
        assert of_task.from_json(to_json(read)) == read
    except InputError as error:
        sentence = str(error)
    assert sentence == "" or sentence.startswith("here")


def test_an_unknown_task_names_the_near_one() -> None:
    assert get_task("boxes") is TASKS["boxes"]
    with pytest.raises(
        InputError, match=r"^task: there is no task 'box'; did you mean boxes\? known"
    ):
        get_task("box")


def test_directions() -> None:
    up, down = (Metric("m", d, "", "") for d in (HIGHER, LOWER))
    assert up.better(2.0, 1.0)
    assert down.better(1.0, 2.0)
    assert not up.better(1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "document", "shape"),
    [
        ("keypoints", {"form": "points"}, (4, 2)),
        ("keypoints", {"form": "points"}, (8,)),
        ("keypoints", {"form": "heatmaps_first"}, (2, 4, 5)),
        ("keypoints", {"form": "heatmaps_last", "refine": True}, (4, 5, 2)),
        ("masks", {"form": "channels_last"}, (4, 5, 3)),
        ("masks", {"form": "channels_first", "enlarge": 2, "by": "bilinear"}, (3, 4, 5)),
        ("masks", {"form": "classes"}, (4, 5)),
        ("images", {"form": "grey"}, (9, 9)),
        ("images", {"form": "channels_last"}, (9, 9, 3)),
    ],
)
def test_outputs_of_every_form_are_read_before_there_are_any(
    name: str, document: dict[str, object], shape: tuple[int, ...]
) -> None:
    TASKS[name].check_outputs([shape], TASKS[name].settings.from_json(document))


def test_an_array_that_is_misnamed_is_told_its_name() -> None:
    for task, names, sentence in (
        ("masks", ["masks"], r"'masks', which masks .* known: mask: call it 'mask', or leave"),
        ("masks", ["segmentation"], "call it 'mask', or leave it out"),
        ("masks", ["mask", "masks"], "known: mask: leave it out"),
        ("boxes", ["boxes"], "known: .*: call it 'box', or leave it out"),
    ):
        arrays = {name: np.zeros((1, 2, 2), np.int64) for name in names}
        settings_of = example(task, 0)[0]
        with pytest.raises(InputError, match=sentence):
            TASKS[task].check(arrays, settings_of, 1)
