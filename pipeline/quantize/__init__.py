"""One set of int8 scales for every runtime: fold, calibrate, and imitate in torch.

    folded = fold_bn(network)                    # every step a named module, no BatchNorm
    scales = calibrate(network, images, cfg)     # a frozen value; JSON
    reference = fake_quantized(network, scales)  # what is exported, and what training can use

The scheme: activations per tensor, asymmetric, codes −128..127; weights per output channel,
symmetric, codes −127..127, scale = max|w| / 127 (the TFLite 8-bit quantisation specification).
"""

from pipeline.quantize.calibration import calibrate
from pipeline.quantize.exactness import exact_share
from pipeline.quantize.fake import FakeQuantize, QuantizedLayer, fake_quantized
from pipeline.quantize.fold import fold_bn
from pipeline.quantize.scales import Scales

__all__ = [
    "FakeQuantize",
    "QuantizedLayer",
    "Scales",
    "calibrate",
    "exact_share",
    "fake_quantized",
    "fold_bn",
]
