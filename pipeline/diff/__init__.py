"""Layer by layer: how far is each runtime from the reference, and which layer parts from it?

    diff(bundle, taps=[...], references=...)    # -> Diff

Two views of every layer. *Running*: this layer's output against the reference's, with everything
that earlier layers brought along. *Own*: against what the reference's layer gives for the inputs
that the runtime itself had; the layer that errs shows here, and those behind it do not.
"""

from edgeticket.pipeline.diff.compare_taps import compare_taps
from edgeticket.pipeline.diff.result import ArtifactDiff, Bounds, Diff, Layer, Pair

__all__ = ["ArtifactDiff", "Bounds", "Diff", "Layer", "Pair", "compare_taps"]
