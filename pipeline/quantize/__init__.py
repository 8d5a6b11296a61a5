"""One set of int8 scales for every runtime: fold, calibrate, imitate in torch, train.

    folded = fold_bn(network, (3, 32, 32))       # every step a named module, no BatchNorm
    scales = calibrate(folded, images, cfg)      # a frozen value; JSON
    reference = fake_quantized(folded, scales)   # what is exported

`quantize` is all that a `ptq` pass does: it may also move weights and biases. `written_back` puts
them back into the network. `pipeline.quantize.qat` has the modules that quantisation-aware training
trains.

The scheme: activations per tensor, asymmetric, codes −128..127; weights per output channel,
symmetric, codes −127..127 (the TFLite 8-bit quantisation specification).
"""

from edgeticket.pipeline.quantize.calibration import calibrate
from edgeticket.pipeline.quantize.diagnostics import diagnose
from edgeticket.pipeline.quantize.exactness import exact_share
from edgeticket.pipeline.quantize.fake import FakeQuantize, QuantizedLayer, fake_quantized
from edgeticket.pipeline.quantize.fold import fold_bn
from edgeticket.pipeline.quantize.ptq import Quantized, quantize
from edgeticket.pipeline.quantize.scales import Scales
from edgeticket.pipeline.quantize.write_back import written_back

__all__ = [
    "FakeQuantize",
    "Quantized",
    "QuantizedLayer",
    "Scales",
    "calibrate",
    "diagnose",
    "exact_share",
    "fake_quantized",
    "fold_bn",
    "quantize",
    "written_back",
]
