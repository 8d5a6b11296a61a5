"""A finished ONNX file as a network: what `model: {onnx: FILE}` starts from.

`source` makes one graph of fixed sizes and known operators of the many ways to write a file;
`operators` turns each node into a step of a program (`models.program`), and weights into tensors of
its modules. So everything behind works on it as on any network.
"""

from edgeticket.pipeline.onnx_import.network import model_args, network_of_onnx, read_onnx_network
from edgeticket.pipeline.onnx_import.source import is_quantized

__all__ = ["is_quantized", "model_args", "network_of_onnx", "read_onnx_network"]
