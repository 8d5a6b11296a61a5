"""Masks, images, keypoints: against torchmetrics, scikit-image and their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from task_fixtures import import_torchmetrics

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task import TASKS
from edgeticket.device_runner.task.images import ImagesSettings, psnr_db, ssim
from edgeticket.device_runner.task.keypoints import KeypointsSettings, decode, highest
from edgeticket.device_runner.task.masks import MasksSettings, bilinear
from edgeticket.device_runner.unavailable import Unavailable

SEEDS = st.integers(0, 2**32 - 1)
MASKS, IMAGES, KEYPOINTS = TASKS["masks"], TASKS["images"], TASKS["keypoints"]


def masks_case(seed: int, absent: bool) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(4, 5, 6, 7)).astype(np.float32)
    if absent:  # a class that neither has, and one that the target alone has
        values[:, 3], values[:, 4] = -9, -9
    mask = rng.choice([0, 1, 2, 4, 255] if absent else [0, 1, 2, 3, 4, 255], (4, 6, 7))
    return values, mask.astype(np.uint8)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, absent=st.booleans())
def test_masks_are_scored_as_torchmetrics_does(seed: int, absent: bool) -> None:
    import torch

    functional = import_torchmetrics().classification
    values, mask = masks_case(seed, absent)
    scored = MASKS.score([values], {"mask": mask}, MasksSettings())
    a, b = torch.from_numpy(values.argmax(axis=1)), torch.from_numpy(mask.astype(np.int64))
    miou = functional.multiclass_jaccard_index(a, b, num_classes=5, ignore_index=255)
    accuracy = functional.multiclass_accuracy(
        a, b, num_classes=5, ignore_index=255, average="micro"
    )
    assert scored["miou"] == pytest.approx(float(miou), abs=1e-6)
    assert scored["pixel_accuracy"] == pytest.approx(float(accuracy), abs=1e-6)


def test_forms_of_masks_say_the_same() -> None:
    values, mask = masks_case(0, absent=False)
    wanted = MASKS.score([values], {"mask": mask}, MasksSettings())
    for form, output in (
        ("channels_last", np.moveaxis(values, 1, 3)),
        ("classes", values.argmax(axis=1)),
        ("classes", values.argmax(axis=1)[..., np.newaxis]),
        ("classes", values.argmax(axis=1).astype(np.float32)),
    ):
        assert MASKS.score([output], {"mask": mask}, MasksSettings(form=form)) == wanted


def test_one_channel_is_a_probability() -> None:
    values = np.array([[[[-1.0, 1.0], [0.0, 3.0]]]])
    mask = np.array([[[0, 1], [1, 1]]])
    scored = MASKS.score([values], {"mask": mask}, MasksSettings(activation="sigmoid"))
    assert scored == {"miou": pytest.approx((1 / 2 + 2 / 3) / 2), "pixel_accuracy": 0.75}


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, factor=st.integers(1, 4))
def test_enlarging_is_torchs(seed: int, factor: int) -> None:
    import torch

    maps = np.random.default_rng(seed).normal(size=(2, 3, 4, 5))
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(maps), scale_factor=factor, mode="bilinear"
    )
    np.testing.assert_allclose(bilinear(maps, factor), wanted.numpy(), atol=1e-12)


def test_masks_of_another_size_and_classes_that_are_not_there() -> None:
    values, mask = masks_case(0, absent=False)
    large = mask.repeat(2, axis=1).repeat(2, axis=2)
    for by in ("nearest", "bilinear"):
        kind = MasksSettings(enlarge=2, by=by)
        assert isinstance(MASKS.score([values], {"mask": large}, kind)["miou"], float)
    same = MASKS.score([values], {"mask": large}, MasksSettings(enlarge=2))
    assert same == MASKS.score([values], {"mask": mask}, MasksSettings())
    for targets, kind, sentence in (
        (large, {}, "gives masks of 7x6 pixels, the targets' are 14x12: set enlarge"),
        (mask + 1, {"ignore": 0}, "has class 5, the output has 5 classes, counted from 0; set"),
        (mask.astype(np.int16) - 1, {}, "the mask of sample 0 has class -1: classes are from 0 on"),
        (mask[0], {}, "'mask' is for 6 samples, there are 4"),
        (mask.astype(np.uint64) + 2**63, {}, r"'mask' has 9\d+, which does not fit 64 bits signed"),
        (mask / 255, {}, "'mask' is float64: it must be of whole numbers"),
    ):
        with pytest.raises(InputError, match=sentence):
            MASKS.score([values], {"mask": targets}, MasksSettings(**kind))
    with pytest.raises(InputError, match="its classes come last, so set form: channels_last"):
        MASKS.score([values.transpose(0, 2, 3, 1)], {"mask": mask}, MasksSettings())
    huge = np.full((1, 2, 2), 10**9)
    with pytest.raises(InputError, match="class 1000000000: classes are from 0 to 65535"):
        MASKS.score([huge], {"mask": huge * 0}, MasksSettings(form="classes"))
    with pytest.raises(InputError, match="by is bilinear, form is classes"):
        MasksSettings(form="classes", by="bilinear", enlarge=2)


def test_masks_in_which_everything_is_ignored() -> None:
    values, mask = masks_case(0, absent=False)
    scored = MASKS.score([values], {"mask": np.full_like(mask, 255)}, MasksSettings())
    assert scored["miou"] == Unavailable("all pixels of all targets are 255, ignored")


def test_masks_agree_by_their_share_of_equal_pixels() -> None:
    a = np.zeros((2, 10, 10), np.int64)
    b = a.copy()
    b[0, 0, 0] = 1
    b[1, 0, :2] = 1
    assert MASKS.agree([a], [b], MasksSettings(form="classes")).tolist() == [True, False]


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    peak=st.sampled_from([1.0, 255.0]),
    window=st.sampled_from(["uniform", "gaussian"]),
    sample=st.booleans(),
    noise=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_pictures_are_scored_as_scikit_image_does(
    seed: int, peak: float, window: str, sample: bool, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, peak, (2, 3, 13, 17))
    b = np.clip(a + rng.normal(0, noise * peak, a.shape), 0, peak)
    kind = ImagesSettings(peak=peak, window=window, sample_covariance=sample)
    scored = IMAGES.score([b], {"image": a}, kind)
    wanted = np.mean([
        skimage.metrics.structural_similarity(
            x, y, data_range=peak, channel_axis=0, gaussian_weights=window == "gaussian",
            use_sample_covariance=sample,
        )
        for x, y in zip(a, b, strict=True)
    ])  # fmt: skip
    assert scored["ssim"] == pytest.approx(wanted, abs=1e-9)
    if noise:
        psnr = [
            skimage.metrics.peak_signal_noise_ratio(x, y, data_range=peak)
            for x, y in zip(a, b, strict=True)
        ]
        assert scored["psnr_db"] == pytest.approx(np.mean(psnr), abs=1e-9)
    else:
        assert scored["psnr_db"] == 100.0


def test_whole_pictures_as_scikit_image_reads_them() -> None:
    from skimage import data

    a = data.camera()[::8, ::8]
    b = np.roll(a, 1, axis=0)
    kind = ImagesSettings(peak=255.0, form="grey")
    scored = IMAGES.score([b[np.newaxis]], {"image": a[np.newaxis]}, kind)
    assert scored["ssim"] == pytest.approx(skimage.metrics.structural_similarity(a, b), abs=1e-9)
    constant = np.full((1, 8, 8), 3.0)
    assert ssim(constant, constant, kind) == pytest.approx(1.0)
    assert psnr_db(constant, constant + 255, 255.0) == 0.0


def test_values_are_clipped_and_edges_left_out_if_that_is_asked_for() -> None:
    a = np.full((1, 10, 10, 1), 0.5)
    b = a.copy()
    b[:, :2] = 1.7
    b[:, 5, 5] = 0.6
    inner = IMAGES.score([b], {"image": a}, ImagesSettings(form="channels_last", border=2))
    assert inner["psnr_db"] == pytest.approx(10 * np.log10(1 / (0.01 / 36)))
    assert inner["ssim"] == Unavailable("pictures of 6x6x1 are smaller than 7x7")
    whole = {"form": "channels_last"}
    clipped, raw = (
        IMAGES.score([b], {"image": a}, ImagesSettings(clip=clip, **whole))["psnr_db"]
        for clip in (True, False)
    )
    assert clipped == pytest.approx(10 * np.log10(1 / ((20 * 0.25 + 0.01) / 100)))
    assert raw < clipped
    for kind, output, sentence in (
        ({"form": "grey"}, b, "targets: 'image' has shape .*: form is grey"),
        ({"border": 5, **whole}, b, "pictures of 10x10x1 have nothing within 5 pixels"),
        (whole, b[:, :9], "output 0 gives pictures of 10x9x1, the targets' are 10x10x1"),
    ):
        with pytest.raises(InputError, match=sentence):
            IMAGES.score([output], {"image": a}, ImagesSettings(**kind))


def test_pictures_agree_by_their_psnr() -> None:
    a = np.full((2, 1, 8, 8), 0.5)
    b = a + np.array([0.009, 0.011]).reshape(2, 1, 1, 1)
    assert IMAGES.agree([a], [b], ImagesSettings()).tolist() == [True, False]


@given(seed=SEEDS, length=st.sampled_from(["box", "pair", "target", "pixels"]))
def test_keypoints_by_their_definition(seed: int, length: str) -> None:
    rng = np.random.default_rng(seed)
    right = rng.uniform(0, 60, (5, 4, 2))
    visible = rng.integers(0, 2, (5, 4))
    visible[0], visible[1] = 0, [1, 0, 0, 0]
    targets = {"points": right, "visible": visible, "length": rng.uniform(20, 40, 5)}
    points = right + rng.normal(0, 8, right.shape)
    threshold = 5.0 if length == "pixels" else 0.2
    kind = KeypointsSettings(length=length, threshold=threshold, pair=(0, 2))
    scored = KEYPOINTS.score([points.reshape(5, 8)], targets, kind)
    hits, distances = [], []
    for i in range(5):
        seen = right[i][visible[i] > 0]
        unit = {
            "box": np.ptp(seen, axis=0).max() if len(seen) else 0.0,
            "pair": np.linalg.norm(right[i, 0] - right[i, 2]),
            "target": targets["length"][i],
            "pixels": 1.0,
        }[length]
        for k in np.flatnonzero(visible[i]):
            distances.append(np.linalg.norm(points[i, k] - right[i, k]))
            if unit > 0:
                hits.append(distances[-1] <= threshold * unit)
    wanted = np.mean(hits) if hits else None
    if wanted is None:
        assert isinstance(scored["pck"], Unavailable)
    else:
        assert scored["pck"] == pytest.approx(wanted)
    assert scored["distance_px"] == pytest.approx(np.mean(distances))
    assert scored["rmse_px"] == pytest.approx(np.sqrt(np.mean(np.square(distances))))


def test_points_that_are_not_visible_may_be_anything() -> None:
    right = np.array([[[0.0, 0.0], [10.0, 0.0], [np.nan, np.nan]]])
    targets = {"points": right, "visible": np.array([[1, 1, 0]])}
    points = np.array([[[0.0, 1.0], [10.0, 3.0], [5.0, 5.0]]])
    scored = KEYPOINTS.score([points], targets, KeypointsSettings())
    assert (scored["pck"], scored["distance_px"]) == (0.5, 2.0)


def test_no_point_is_visible() -> None:
    right = np.zeros((2, 3, 2))
    targets = {"points": right, "visible": np.zeros((2, 3))}
    scored = KEYPOINTS.score([right], targets, KeypointsSettings())
    assert set(scored.values()) == {Unavailable("no point of any sample is visible")}
    one = KEYPOINTS.score([right], {"points": right}, KeypointsSettings())
    assert one["distance_px"] == 0.0
    assert one["pck"] == Unavailable(
        "no sample has two visible points apart, so there is no length"
    )


@given(seed=SEEDS, refine=st.booleans())
def test_heat_maps_are_decoded_by_their_highest_cell(seed: int, refine: bool) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.integers(-9, 9, (2, 3, 5, 6)).astype(np.int8)  # ties; int8 would overflow
    where = highest(maps, refine=refine)
    for i in range(2):
        for k in range(3):
            cells = maps[i, k].astype(int)
            y, x = divmod(int(np.argmax(cells)), 6)
            dx = dy = 0.0
            if refine and 0 < x < 5:
                dx = 0.25 * np.sign(cells[y, x + 1] - cells[y, x - 1])
            if refine and 0 < y < 4:
                dy = 0.25 * np.sign(cells[y + 1, x] - cells[y - 1, x])
            assert where[i, k].tolist() == [x + dx, y + dy]


def test_heat_maps_become_pixels() -> None:
    maps = np.zeros((1, 2, 4, 8))
    maps[0, 0, 1, 6], maps[0, 1, 3, 0] = 1, 1
    kind = KeypointsSettings(form="heatmaps_first", factor=(4.0, 4.0), offset=(0.5, 0.5))
    assert decode(maps, kind).tolist() == [[[26.0, 6.0], [2.0, 14.0]]]
    last = KeypointsSettings(form="heatmaps_last", factor=(4.0, 4.0), offset=(0.5, 0.5))
    assert decode(np.moveaxis(maps, 1, 3), last).tolist() == decode(maps, kind).tolist()
    for form, output, sentence in (
        ("points", maps, "for heat maps set form"),
        ("points", np.zeros((1, 5)), r"points are \[N, points, 2\] or \[N, 2 points\]"),
        ("heatmaps_first", np.zeros((1, 4)), "heat maps are"),
    ):
        with pytest.raises(InputError, match=sentence):
            decode(output, KeypointsSettings(form=form))


def test_keypoints_that_cannot_be() -> None:
    points = np.zeros((2, 3, 2))
    for targets, kind, sentence in (
        ({"points": points[..., :1]}, {}, r"'points' has shape \[2, 3, 1\]: give x and y"),
        ({"points": points, "visible": np.ones((2, 2))}, {}, r"'visible' has shape \[2, 2\]"),
        ({"points": points}, {"length": "pair", "pair": (0, 3)}, r"pair is \[0, 3\], .* 3 points"),
        ({"points": points}, {"length": "target"}, "no 'length': give a length in pixels"),
        ({"points": points, "length": np.zeros(2)}, {"length": "target"}, "a number above 0"),
        ({"points": np.zeros((2, 4, 2))}, {}, "gives 3 points for a sample, the targets have 4"),
    ):
        with pytest.raises(InputError, match=sentence):
            KEYPOINTS.score([points], targets, KeypointsSettings(**kind))


def test_keypoints_agree_if_no_point_moves_far() -> None:
    a = np.zeros((2, 3, 2))
    b = a.copy()
    b[0, 1], b[1, 2] = [1.2, 1.6], [1.3, 1.6]
    assert KEYPOINTS.agree([a], [b], KeypointsSettings()).tolist() == [True, False]
