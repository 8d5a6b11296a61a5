"""What named layers of a module give, each time that it is called."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from torch import Tensor, fx, nn
from torch.utils.hooks import RemovableHandle

from edgeticket.device_runner.errors import InputError


class Taps:
    """The outputs of ``layers`` of ``module`` in its last call, until it is closed.

    Layers have the names that they have in the dense network, also where ``module`` wraps it, or
    is a flat graph of its steps. There the output of a block is that of its last step.
    """

    def __init__(self, module: nn.Module, layers: Iterable[str], *, owner: str) -> None:
        """``owner`` is what messages call the module.

        Raises:
            InputError: a layer is not there.
        """
        self.owner = owner
        self.outputs: dict[str, Any] = {}
        self.handles: list[RemovableHandle] = []
        for layer in layers:
            place = module.get_submodule(_find(module, layer, owner=owner))
            self.handles.append(place.register_forward_hook(self._keep(layer)))

    def _keep(self, layer: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self.outputs[layer] = output

        return keep

    def read(self) -> dict[str, Tensor]:
        """Layer -> its output [N, channels, ...] in the last call, which is then forgotten.

        Raises:
            InputError: a layer was not called, or gives something else than one tensor.
        """
        outputs, self.outputs = self.outputs, {}
        if len(outputs) < len(self.handles):
            raise InputError(f"distil: {self.owner} did not call all of its layers; name others")
        for layer, output in outputs.items():
            if not isinstance(output, Tensor):
                raise InputError(
                    f"distil: {layer} of {self.owner} gives a {type(output).__name__}, and not a "
                    "tensor; name a layer inside it"
                )
        return outputs

    def close(self) -> None:
        """Leave the module as it was."""
        for handle in self.handles:
            handle.remove()


def _find(module: nn.Module, layer: str, *, owner: str) -> str:
    """The path of ``layer`` below ``module``."""
    if isinstance(module, fx.GraphModule):
        steps = [str(node.target) for node in module.graph.nodes if node.op == "call_module"]
        flat = layer.replace(".", "_")
        inside = [step for step in steps if step == flat or step.startswith(f"{flat}_")]
        if inside:
            return inside[-1]
        known = dict.fromkeys(steps)
    else:
        paths = [name for name, _ in module.named_modules() if name]
        for path in (layer, f"module.{layer}"):  # what wraps a network calls it `module`
            if path in paths:
                return path
        # Blocks with numbers are many and alike.
        known = dict.fromkeys(".".join(_star(p) for p in path.split(".")) for path in paths)
    near = difflib.get_close_matches(layer, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(
        f"distil: {owner} has no layer {layer!r} ({hint}* is a number; known: {', '.join(known)})"
    )


def _star(part: str) -> str:
    return "*" if part.isdecimal() else part
