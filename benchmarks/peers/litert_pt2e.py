"""litert-torch with torchao's PT2E quantization: symmetric, static, per channel."""

from __future__ import annotations

from pathlib import Path

import litert_torch
import torch
from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
from litert_torch.quantize.quant_config import QuantConfig
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from work import images, timed, torch_network


def quantize(folder: Path, file: Path) -> None:
    module = torch_network(folder)
    batches = torch.split(torch.from_numpy(images(folder)), 1)
    example = (batches[0],)
    quantizer = PT2EQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    )
    exported = torch.export.export(module, example).module()
    prepared = prepare_pt2e(exported, quantizer)
    for batch in batches:
        prepared(batch)
    made = litert_torch.convert(
        convert_pt2e(prepared, fold_quantize=False),
        example,
        quant_config=QuantConfig(pt2e_quantizer=quantizer),
    )
    made.export(str(file))


if __name__ == "__main__":
    timed(quantize)
