"""Answers drawn on their samples: who gave them, what is marked, and what happens to what cannot be
drawn."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_fixtures import Page, report_of, write_reports
from PIL import Image
from runner_fixtures import output_fidelity, tiny_files, tiny_manifest, write_folder
from task_fixtures import example

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.fidelity import Fidelity
from edgeticket.device_runner.manifest import Task, write_manifest
from edgeticket.device_runner.manifest.fields import FileEntry
from edgeticket.device_runner.npz import format_npz
from edgeticket.device_runner.outputs import answers
from edgeticket.device_runner.report import PerSample, Report, TaskScores
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.task.boxes import TASK as BOXES
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.page.drawn import boxes, figures, images, masks, points, series
from edgeticket.pipeline.page.drawn.computed import compute
from edgeticket.pipeline.page.drawn.draw import DRAWERS
from edgeticket.pipeline.page.drawn.scene import Answer, Scene
from edgeticket.pipeline.page.render import render
from edgeticket.pipeline.page.sources import gather

COUNT = 8


def scene_of(name: str, *, picture: tuple[int, ...] = (20, 30, 3), seed: int = 1) -> Scene:
    """The first sample of an example, answered in two ways."""
    settings, outputs, targets = example(name, seed)
    rng = np.random.default_rng(seed)
    right = {key: array[:1] for key, array in targets.items()}
    if name == "boxes":
        right = dict(BOXES.take_first(targets, 1))
    if name == "images":  # of two channels, which is no picture
        outputs = [o[:, :1] for o in outputs]
        right = {"image": right["image"][:, :1]}
    moved = tuple(o[0] + rng.normal(0, 0.5, o[0].shape).astype(o.dtype) for o in outputs)
    return Scene(
        index=0,
        inputs=(rng.integers(0, 256, picture).astype(np.uint8),),
        right=right,
        settings=settings,
        labels=("<b>one</b>", "two\u202e", "three"),
        answers=(
            Answer("dense fp32", tuple(o[0] for o in outputs)),
            Answer("ticket int8", moved, "as measured, bit for bit"),
        ),
    )


@pytest.mark.parametrize("name", DRAWERS)
@pytest.mark.parametrize("seed", range(3))
def test_every_task_has_a_panel_for_each_answer_with_words(name: str, seed: int) -> None:
    panels = DRAWERS[name](scene_of(name, seed=seed))
    assert panels
    titles = [panel.title for panel in panels]
    if name not in ("series", "embeddings"):
        assert {"dense fp32", "ticket int8"} <= set(titles)
    for panel in panels:
        assert panel.svg is not None or panel.lines
        if panel.svg is not None:
            page = Page(str(panel.svg).encode())
            (drawing,) = [e for e in page.all("svg") if e.attributes.get("role") == "img"]
            assert drawing.attributes["aria-label"].strip()
            assert "\u202e" not in str(panel.svg)
            assert not page.all("b", "script")


def test_boxes_that_only_one_answer_has_are_marked_by_more_than_colour() -> None:
    scene = scene_of("boxes")
    first, second = (answer.outputs[0].copy() for answer in scene.answers)
    first[:, 4:], second[:, 4:] = 0.0, 0.0
    first[0], second[0] = [2, 2, 20, 20, 0.9, 0, 0], [2, 2, 20, 21, 0.8, 0, 0]
    second[1] = [40, 40, 60, 60, 0, 0.7, 0]
    scene = replace(
        scene, answers=(Answer("fp32", (first,)), Answer("int8", (second,))), right=None
    )
    one, other = boxes.draw(scene)
    assert one.lines == ("1 box",)
    assert other.lines == ("2 boxes, 1 marked ≠",)
    told = [e.text for e in Page(str(other.svg).encode()).all("text")]
    assert told == ["<b>one</b> 0.80", "≠ two\\u202e 0.70"]
    swapped = replace(scene, answers=scene.answers[::-1])
    assert boxes.draw(swapped)[1].lines == ("1 box", "1 of the first answer missing")


def test_labels_of_boxes_at_one_place_do_not_hide_each_other() -> None:
    tags = boxes.Tags((240, 240))
    places = [tags.put(50.0, 100.0, 160.0, "a label") for _ in range(6)]
    tops = sorted(top for _, top, _ in places)
    assert all(b - a >= boxes.LINE_HEIGHT for a, b in itertools.pairwise(tops))


def test_a_picture_is_held_once_for_all_panels_of_a_sample() -> None:
    panels = boxes.draw(scene_of("boxes"))
    drawn = "".join(str(panel.svg) for panel in panels)
    assert drawn.count("data:image") == 1
    assert drawn.count('<use href="#sample-0-picture"') == len(panels) - 1


def shown(uri: str) -> Any:
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def test_classes_of_masks_are_told_apart_without_colour() -> None:
    """Patterns of neighbours differ where all colours are taken away."""
    drawn = []
    for number in range(16):
        codes = masks.patterns(np.full((24, 24), number), -9)
        drawn.append(codes >= masks.STRONG)
    for a in range(8):
        for b in range(a + 1, 8):
            assert not np.array_equal(drawn[a], drawn[b]), (a, b)
    full = [masks.patterns(np.full((24, 24), n), -9).tobytes() for n in range(64)]
    assert len(set(full)) == 64


def test_pixels_that_changed_are_black_and_white() -> None:
    scene = scene_of("masks", picture=(4, 5, 1))
    first = np.zeros((3, 4, 5), np.float32)
    first[0] = 1.0
    second = first.copy()
    second[1, 2, 3] = 5.0
    scene = replace(
        scene, answers=(Answer("fp32", (first,)), Answer("int8", (second,))), right=None
    )
    panels = masks.draw(scene)
    assert panels[1].lines[1] == "5.00 % of pixels otherwise than the first"
    overlay = shown(re.findall(r'href="(data:[^"]*)"', str(panels[1].svg))[-1])
    opaque = overlay[overlay[..., 3] == 255][:, :3]
    assert {tuple(colour) for colour in opaque} == {(0, 0, 0), (255, 255, 255)}
    assert len(opaque) == pytest.approx(overlay.shape[0] * overlay.shape[1] / 20, rel=0.05)
    legend = masks.explain([scene])
    assert legend[0].words == "without a pattern: <b>one</b>"
    assert legend[-1].words.startswith("answered otherwise")


def test_pictures_have_their_distance_and_what_changed() -> None:
    scene = scene_of("images", picture=(9, 10, 1))
    titles = [panel.title for panel in images.draw(scene)]
    assert titles == [
        "given", "right", "dense fp32", "ticket int8", "what changed most, 8 times",
    ]  # fmt: skip
    two = tuple(replace(a, outputs=(np.repeat(a.outputs[0], 2, axis=0),)) for a in scene.answers)
    assert images.draw(replace(scene, answers=two)) == ()


def test_lines_of_a_series_have_unlike_strokes() -> None:
    (panel,) = series.draw(scene_of("series"))
    drawn = re.findall(r'class="(line-\w+)"', str(panel.svg))
    assert drawn == ["line-right", "line-one", "line-two"]
    assert [re.sub("<[^>]*>", "", str(line)).strip().partition(":")[0] for line in panel.lines] == [
        "right", "dense fp32", "ticket int8",
    ]  # fmt: skip


def test_points_and_figures_say_how_far_they_moved() -> None:
    told = "".join(line for panel in points.draw(scene_of("keypoints")) for line in panel.lines)
    assert "px from the first answer's" in told
    told = "".join(line for panel in figures.numbers(scene_of("numbers")) for line in panel.lines)
    assert "off" in told


def write_task_run(folder: Path, *, wrong: Sequence[int] = (3,), broken: bool = False) -> Path:
    """The tiny bundle as one of numbers, measured in truth: its check sums are those of outputs."""
    files = tiny_files(COUNT)
    manifest = tiny_manifest(files, COUNT)
    classes = manifest.artifacts[0].outputs[0].shape[-1]
    del files["samples/labels.npy"]
    files["samples/targets.npz"] = format_npz({"values": np.zeros((COUNT, classes), np.float32)})
    if broken:
        for entry in manifest.artifacts:
            files[entry.file] = b"no model"
    manifest = replace(
        manifest,
        networks={n: replace(one, scores={}) for n, one in manifest.networks.items()},
        task=Task("numbers", {}),
        samples=replace(manifest.samples, targets="samples/targets.npz"),
        files=tuple(
            FileEntry(path, len(data), hashlib.sha256(data).hexdigest())
            for path, data in files.items()
        ),
    )
    data = write_manifest(manifest)
    write_folder(folder / "bundle", files, data)
    digest = hashlib.sha256(data).hexdigest()
    reports = []
    with open_bundle(folder / "bundle") as bundle:
        for runtime, precision in (("ort", "fp32"), ("ort", "int8"), ("tflite", "int8")):
            entry = next(
                a for a in manifest.artifacts if (a.runtime, a.precision) == (runtime, precision)
            )
            sums = [0] * COUNT
            if not broken:
                session = get_runtime(runtime).load(
                    bundle.read(entry.file), threads=1, place=entry.id, cpu_only=True,
                    inputs=[s.name for s in entry.inputs], outputs=[s.name for s in entry.outputs],
                )  # fmt: skip
                rows = answers(
                    session.query, bundle.inputs(), described=manifest.inputs, artifact=entry
                )
                sums = [zlib.crc32(row[0].tobytes()) for row in rows]
            reports.append(_told(runtime, precision, sums, wrong, digest))
    return write_reports(folder, reports)


def _told(
    runtime: str, precision: str, sums: Sequence[int], wrong: Sequence[int], digest: str
) -> Report:
    scores = TaskScores(
        task="numbers", settings={}, count=COUNT, headline="mae",
        metrics={"mae": 0.5, "rmse": 1.0, "r2": 0.5},
        resampled=Unavailable("not drawn"), per_sample=PerSample((0.5,) * COUNT, (1.0,) * COUNT),
        sample_crc32=tuple(sums), outputs_sha256="ab" * 32, samples_sha256="ef" * 32,
    )  # fmt: skip
    report = report_of(runtime, precision, accuracy=scores, digest=digest)
    differing = {"tiny": () if precision == "fp32" else tuple(wrong)}
    near = output_fidelity(34.5, 0.9998, 0.25, 0.75, changed=3, worst_sample=1)
    return replace(report, fidelity=Fidelity("numpy", COUNT, (near,), differing, ()))


def test_what_is_drawn_is_what_was_measured_bit_for_bit(tmp_path: Path) -> None:
    folder = write_task_run(tmp_path / "run")
    page = Page(render(gather([folder])))
    assert [e.text for e in page.all("h3") if e.text.startswith("Sample")] == ["Sample 3"]
    assert "as measured, bit for bit" in page.text
    assert "computed again" not in page.text


def test_what_was_measured_otherwise_is_said(tmp_path: Path) -> None:
    folder = write_task_run(tmp_path / "run")
    for file in (folder / "reports").iterdir():
        if "int8" in file.name:
            text = file.read_text()
            sums = re.search(r'"sample_crc32": \[[^]]*\]', text)
            assert sums is not None
            zeros = f'"sample_crc32": {[1] * COUNT}'
            file.write_text(text.replace(sums.group(), zeros))
    assert "the bits that were measured differ" in Page(render(gather([folder]))).text


def test_where_nothing_changed_there_is_something_to_see(tmp_path: Path) -> None:
    page = Page(render(gather([write_task_run(tmp_path / "run", wrong=())])))
    assert [e.text for e in page.all("h3") if e.text.startswith("Sample")] == [
        "Sample 0", "Sample 1",
    ]  # fmt: skip


def test_files_that_no_runtime_loads_leave_the_page_as_it_was(tmp_path: Path) -> None:
    folder = write_task_run(tmp_path / "run", broken=True)
    assert compute(folder / "bundle", ["tiny-tflite-int8"], [0]) == {}
    page = Page(render(gather([folder])))
    assert "Sample 3" in page.text
    assert "another" in page.text


def test_answers_that_are_not_finite_are_not_drawn() -> None:
    scene = scene_of("series")
    broken = np.full_like(scene.answers[1].outputs[0], np.nan)
    assert series.draw(replace(scene, answers=(Answer("x", (broken,)),))) == ()


def test_a_sample_of_any_shape_has_an_answer(tmp_path: Path) -> None:
    """What is no picture and no curve has the figures alone."""
    del tmp_path
    panels = figures.numbers(replace(scene_of("numbers"), inputs=(npy_free((2, 2, 2, 2)),)))
    assert all(panel.svg is None for panel in panels)


def npy_free(shape: tuple[int, ...]) -> Any:
    return np.zeros(shape, np.float32)
