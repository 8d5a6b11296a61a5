"""Targets follow their examples."""

from __future__ import annotations

import numpy as np

from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.targets import Targets


def boxes() -> Targets:
    return Targets(
        Task("boxes", {"input": [8, 8]}),
        {
            "sample": np.array([2, 0, 2, 0]),
            "label": np.array([10, 11, 12, 13]),
            "size": np.array([[1, 1], [2, 2], [3, 3]]),
        },
        3,
    )


def test_arrays_are_taken_by_example() -> None:
    taken = Targets(Task("numbers"), {"values": np.arange(6).reshape(3, 2)}, 3).take(
        np.array([2, 0])
    )
    assert len(taken) == 2
    assert taken.arrays["values"].tolist() == [[4, 5], [0, 1]]


def test_rows_follow_their_example_and_are_numbered_anew() -> None:
    taken = boxes().take(np.array([2, 1, 0]))
    assert taken.arrays["sample"].tolist() == [0, 0, 2, 2]
    assert taken.arrays["label"].tolist() == [10, 12, 11, 13]
    assert taken.arrays["size"].tolist() == [[3, 3], [2, 2], [1, 1]]


def test_an_example_can_be_taken_twice_and_all_can_be_left() -> None:
    assert boxes().take(np.array([0, 0])).arrays["label"].tolist() == [11, 13, 11, 13]
    assert boxes().take(np.zeros(0, np.int64)).arrays["label"].tolist() == []


def test_the_digest_depends_on_task_settings_and_numbers() -> None:
    one = boxes()
    settings = Targets(Task("boxes", {"input": [8, 9]}), one.arrays, 3)
    moved = Targets(one.task, {**one.arrays, "label": one.arrays["label"] + 1}, 3)
    assert len({one.digest, settings.digest, moved.digest}) == 3
    assert one.digest == boxes().digest
