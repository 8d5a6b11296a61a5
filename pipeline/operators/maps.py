"""Maps that become larger or smaller: resizing, and channels that become positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import Array, Operator
from edgeticket.pipeline.operators import passing, passing_axes
from edgeticket.pipeline.operators.axes import as_shape
from edgeticket.pipeline.operators.kind import Attributes, Kind, Reader, Role, Shape

B = schema.BuiltinOperator

# --- reading


def resize(draft: Draft, source: str, sizes: Sequence[int], *, mode: str, coordinates: str) -> str:
    """Resize height and width, or width alone, to ``sizes``; see ONNX's Resize.

    Args:
        mode: nearest or linear.
        coordinates: half_pixel, align_corners or asymmetric.
    """
    shape = draft.shape(source)
    if tuple(shape[2:]) == tuple(sizes):
        return source
    kind = "ResizeNearest" if mode == "nearest" else "ResizeLinear"
    if len(sizes) == 1:  # a map of height 1 for the while
        tall = [*shape[:2], 1, shape[2]]
        source = as_shape(draft, source, tuple(tall), suffix="map")
        found = draft.add(
            kind, source, suffix="resized", sizes=[1, *sizes], coordinates=coordinates
        )
        return as_shape(draft, found, (*shape[:2], *sizes))
    return draft.add(kind, source, sizes=[int(n) for n in sizes], coordinates=coordinates)


def depth_to_space(draft: Draft, source: str, block: int, *, mode: str) -> str:
    """Channels become positions: DCR as TFLite has it, CRD as PyTorch's PixelShuffle."""
    if draft.rank(source) != 4 or draft.shape(source)[1] % block**2:
        raise draft.refuse(f"makes {block}x{block} positions of {draft.shape(source)[1]} channels")
    return draft.add("DepthToSpace", source, blocksize=block, mode=mode)


def _aten_upsample(mode: str) -> Reader:
    def read(
        draft: Draft,
        input: str = "",
        output_size: Any = None,
        align_corners: bool = False,
        scale_factors: Any = None,
        **more: Any,
    ) -> str:
        source = input or more["self"]
        sizes = output_size
        if sizes is None:
            shape = draft.shape(source)[2:]
            sizes = [math.floor(n * f) for n, f in zip(shape, scale_factors, strict=True)]
            if any(not nearby(*three) for three in zip(sizes, shape, scale_factors, strict=True)):
                raise draft.refuse(
                    f"resizes {list(shape)} by {scale_factors}, which is no whole size: name the "
                    "size, or set recompute_scale_factor"
                )
        coordinates = "align_corners" if align_corners else "half_pixel"
        if mode == "nearest":
            coordinates = "asymmetric"
        return resize(draft, source, sizes, mode=mode, coordinates=coordinates)

    return read


def _aten_nearest_exact(
    draft: Draft, input: str = "", output_size: Any = None, scale_factors: Any = None, **more: Any
) -> str:
    source = input or more["self"]
    shape = draft.shape(source)[2:]
    sizes = output_size or [math.floor(n * f) for n, f in zip(shape, scale_factors, strict=True)]
    if any(size % n for size, n in zip(sizes, shape, strict=True)):
        raise draft.refuse("is nearest-exact by a factor that is no whole number: use nearest")
    return resize(draft, source, sizes, mode="nearest", coordinates="asymmetric")


def _aten_unshuffle(draft: Draft, self: str, downscale_factor: int) -> str:
    """[N, C, H·r, W·r] -> [N, C·r², H, W] as six axes."""
    batch, channels, height, width = draft.shape(self)
    r = int(downscale_factor)
    parts = [batch, channels, height // r, r, width // r, r]
    wide = as_shape(draft, self, tuple(parts), suffix="parts")
    order = [0, 1, 3, 5, 2, 4]
    turned = draft.add("Transpose", wide, suffix="turned", perm=order)
    flat = [batch, channels * r * r, height // r, width // r]
    return as_shape(draft, turned, tuple(flat))


def _onnx_resize(
    draft: Draft,
    x: str,
    roi: str = "",
    scales: str = "",
    sizes: str = "",
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    antialias: int = 0,
    axes: Any = None,
    keep_aspect_ratio_policy: str = "stretch",
    exclude_outside: int = 0,
    cubic_coeff_a: float = -0.75,  # of modes that cannot be written
    extrapolation_value: float = 0.0,  # likewise
) -> str:
    shape = draft.shape(x)
    if keep_aspect_ratio_policy != "stretch" or exclude_outside:
        raise draft.refuse(
            f"keeps its aspect ({keep_aspect_ratio_policy}), or leaves out what lies outside: "
            "export it with the sizes that it makes"
        )
    along = list(range(len(shape))) if axes is None else [axis % len(shape) for axis in axes]
    wanted = list(shape)
    if sizes:
        for axis, n in zip(along, np.ravel(draft.array(sizes, "its sizes")), strict=True):
            wanted[axis] = int(n)
    else:
        for axis, f in zip(along, np.ravel(draft.array(scales, "its scales")), strict=True):
            wanted[axis] = math.floor(shape[axis] * float(f))
            if wanted[axis] != shape[axis] * float(f) and not nearby(wanted[axis], shape[axis], f):
                raise draft.refuse(f"makes {shape[axis]} to a size by {f:g}: name the size instead")
    if wanted[:2] != list(shape[:2]) or len(shape) not in (3, 4) or antialias:
        raise draft.refuse("resizes channels, or smoothes: resize height and width only")
    coordinates = coordinate_transformation_mode
    if coordinates == "pytorch_half_pixel":
        coordinates = "half_pixel"
    if mode == "nearest":
        pairs = zip(wanted[2:], shape[2:], strict=True)
        if not all(_is_floor(n, s, coordinates, nearest_mode) for n, s in pairs):
            raise draft.refuse(
                f"takes the nearest number by {coordinates}, {nearest_mode}: use asymmetric, floor"
            )
        coordinates = "asymmetric"
    if mode not in ("nearest", "linear") or coordinates not in (
        "half_pixel",
        "align_corners",
        "asymmetric",
    ):
        raise draft.refuse(f"resizes by {mode}, {coordinates}: nearest or linear can be written")
    return resize(draft, x, wanted[2:], mode=mode, coordinates=coordinates)


def nearby(size: int, before: int, factor: float) -> bool:
    """Whether a factor in float32 is the ratio of the sizes."""
    return math.isclose(size / before, float(factor), rel_tol=1e-6)


def _is_floor(size: int, before: int, coordinates: str, rounding: str) -> bool:
    """Whether each place takes the number at ⌊place · before / size⌋, as both runtimes do."""
    places = np.arange(size, dtype=np.float64)
    factor = size / before
    exact: Array
    if coordinates == "asymmetric":
        exact = places / factor
    elif coordinates == "half_pixel":
        exact = (places + 0.5) / factor - 0.5
    else:
        return False
    round_to: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    }
    taken = np.clip(round_to[rounding](exact), 0, before - 1)
    return bool((taken == places * before // size).all())


def _onnx_upsample(draft: Draft, x: str, scales: str, *, mode: str = "nearest") -> str:
    return _onnx_resize(
        draft,
        x,
        "",
        scales,
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


# --- meaning


def _resized_shape(attributes: Attributes, shape: Shape) -> Shape:
    return (*shape[:2], *attributes["sizes"])


def _nearest_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    return torch.nn.functional.interpolate(x, tuple(attributes["sizes"]), mode="nearest")


def _linear_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    coordinates = attributes["coordinates"]
    if coordinates == "asymmetric":
        for axis, size in zip((2, 3), attributes["sizes"], strict=True):
            x = _linear_from_zero(torch, x, axis, size)
        return x
    return torch.nn.functional.interpolate(
        x,
        tuple(attributes["sizes"]),
        mode="bilinear",
        align_corners=coordinates == "align_corners",
    )


def _linear_from_zero(torch: Any, x: Any, axis: int, size: int) -> Any:
    """One axis, position i of n at i · s / n."""
    before = x.shape[axis]
    places = torch.arange(size, dtype=x.dtype) * (before / size)
    low = places.floor().long().clamp(max=before - 1)
    high = (low + 1).clamp(max=before - 1)
    share = (places - low).reshape(-1, *[1] * (3 - axis))
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share


def _spaced_shape(attributes: Attributes, shape: Shape) -> Shape:
    b = attributes["blocksize"]
    return (shape[0], shape[1] // b**2, shape[2] * b, shape[3] * b)


def _spaced_meaning(torch: Any, attributes: Attributes, x: Any) -> Any:
    b = attributes["blocksize"]
    if attributes["mode"] == "CRD":
        return torch.pixel_shuffle(x, b)
    n, c, h, w = x.shape
    parts = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // b**2, h * b, w * b)


# --- TFLite


def resize_nearest(draft: TfliteDraft, operator: Operator) -> None:
    """RESIZE_NEAREST_NEIGHBOR."""
    options = schema.ResizeNearestNeighborOptionsT()
    _resize(draft, operator, B.RESIZE_NEAREST_NEIGHBOR, options)


def resize_linear(draft: TfliteDraft, operator: Operator) -> None:
    """RESIZE_BILINEAR."""
    options = schema.ResizeBilinearOptionsT()
    options.alignCorners = operator.attributes["coordinates"] == "align_corners"
    options.halfPixelCenters = operator.attributes["coordinates"] == "half_pixel"
    _resize(draft, operator, B.RESIZE_BILINEAR, options)


def _resize(draft: TfliteDraft, operator: Operator, code: int, options: Any) -> None:
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    sizes = draft.constant(
        f"{operator.name}.sizes", np.array(operator.attributes["sizes"], np.int32)
    )
    version = draft.version(operator, int8=2)
    draft.append(code, [source, sizes], output, options, version=version)


def write_depth_to_space(draft: TfliteDraft, operator: Operator) -> None:
    """DEPTH_TO_SPACE, behind a GATHER of the channels in its order where they are in PyTorch's."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    block = operator.attributes["blocksize"]
    channels = draft.shape(source)[3]
    if operator.attributes["mode"] == "CRD" and channels > block**2:
        order = np.arange(channels).reshape(-1, block**2).T.reshape(-1)
        turned = draft.like(source, f"{operator.name}.channels", draft.shape(source))
        options = schema.GatherOptionsT()
        options.axis = 3
        inputs = [source, draft.constant(f"{operator.name}.order", order.astype(np.int32))]
        version = draft.version(operator, int8=2)
        draft.append(B.GATHER, inputs, turned, options, version=version)
        source = turned
    options = schema.DepthToSpaceOptionsT()
    options.blockSize = block
    draft.append(B.DEPTH_TO_SPACE, [source], output, options, version=1)


# --- ONNX


def write_resize(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Resize."""
    nearest = operator.kind == "ResizeNearest"
    attributes = {
        "mode": "nearest" if nearest else "linear",
        "coordinate_transformation_mode": operator.attributes["coordinates"],
    } | ({"nearest_mode": "floor"} if nearest else {})
    sizes = draft.integers(draft.graph.values[operator.output].shape)
    draft.node("Resize", [inputs[0], "", "", sizes], output, attributes)


ATEN: dict[str, Reader] = {
    "_upsample_nearest_exact2d": _aten_nearest_exact,
    "pixel_shuffle": lambda draft, self, upscale_factor: depth_to_space(
        draft, self, upscale_factor, mode="CRD"
    ),
    "pixel_unshuffle": _aten_unshuffle,
    "upsample_bilinear2d": _aten_upsample("linear"),
    "upsample_linear1d": _aten_upsample("linear"),
    "upsample_nearest1d": _aten_upsample("nearest"),
    "upsample_nearest2d": _aten_upsample("nearest"),
}
ONNX: dict[str, Reader] = {
    "DepthToSpace": lambda draft, x, *, blocksize, mode="DCR": depth_to_space(
        draft, x, blocksize, mode=mode
    ),
    "Resize": _onnx_resize,
    "Upsample": _onnx_upsample,
}
KINDS: dict[str, Kind] = {
    "DepthToSpace": Kind(
        write_depth_to_space,
        _spaced_meaning,
        _spaced_shape,
        Role.SAME,
        channels=passing_axes.shuffled,
        conditions="PixelShuffle likewise",
    ),
    "ResizeLinear": Kind(
        resize_linear,
        _linear_meaning,
        _resized_shape,
        onnx=write_resize,
        channels=passing.windowed,
        conditions="bilinear; half pixel, aligned corners, asymmetric",
    ),
    "ResizeNearest": Kind(
        resize_nearest,
        _nearest_meaning,
        _resized_shape,
        Role.SAME,
        write_resize,
        channels=passing.windowed,
        conditions="asymmetric, rounded down",
    ),
}
