"""Operators of ATen that cannot be converted, and what to do instead."""

from __future__ import annotations

_SORTS = "orders numbers, or takes some by rank: do that behind the network, on its outputs"
_SCATTERS = "writes to places of a tensor: build the tensor with cat and where"
_COUNTS = "makes an output whose size depends on the numbers: mask with where instead"
_RANDOM = "draws random numbers: a network that is deployed must not"
_SPECTRAL = "is a Fourier transform: make it a part of preprocessing, or a matrix product"
_VOLUMES = "works on volumes [1, C, D, H, W]: only 1-D and 2-D can be converted"
_BOXES = "selects boxes: do that behind the network, on its outputs"

REFUSED: dict[str, str] = {
    **dict.fromkeys(("topk", "sort", "argsort", "kthvalue", "median", "mode", "msort"), _SORTS),
    **dict.fromkeys(
        (
            *("index_put", "scatter", "scatter_add", "index_add", "index_fill"),
            *("scatter_reduce", "index_copy", "masked_scatter"),
        ),
        _SCATTERS,
    ),
    **dict.fromkeys(
        ("nonzero", "masked_select", "unique", "_unique2", "unique_consecutive"), _COUNTS
    ),
    **dict.fromkeys(("stft", "istft", "_fft_r2c", "_fft_c2c", "_fft_c2r", "fft_rfft"), _SPECTRAL),
    **dict.fromkeys(
        (
            *("conv3d", "conv_transpose3d", "max_pool3d", "avg_pool3d", "adaptive_avg_pool3d"),
            *("upsample_nearest3d", "upsample_trilinear3d", "max_pool3d_with_indices"),
        ),
        _VOLUMES,
    ),
    **dict.fromkeys(("nms", "roi_align", "roi_pool", "ps_roi_align"), _BOXES),
    "deform_conv2d": "is a deformable convolution, which neither runtime has: use a plain one",
    "grid_sampler": "samples at places that follow from the input: use resize, or a fixed crop",
    "grid_sampler_2d": "samples at places that follow from the input: use resize, or a fixed crop",
    "gather": "takes numbers at places that follow from the input: use where, or a product",
    "max_unpool2d": "puts numbers back to where a pool took them: use resize",
    "prod": "multiplies all numbers of an axis: use exp(sum(log(x))), or products",
    "upsample_bicubic2d": "resizes by bicubic: use bilinear or nearest",
    "_upsample_bicubic2d_aa": "resizes by bicubic: use bilinear or nearest",
    "_upsample_bilinear2d_aa": "smoothes while it resizes (antialias=True): leave that out",
}
RANDOM: dict[str, str] = dict.fromkeys(
    (
        *("bernoulli", "multinomial", "normal", "rand", "rand_like", "randint", "randint_like"),
        *("randn", "randn_like", "randperm", "uniform", "exponential", "poisson"),
    ),
    _RANDOM,
)
