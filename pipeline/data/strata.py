"""What every split of a data set should have in fair shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeticket.pipeline.data.targets import Targets

Integers = npt.NDArray[np.int64]

NAMED = {"embeddings": "identity", "anomaly": "anomalous"}  # the array that says it
MOST_CLASSES = 65536


def classes_of(targets: Targets) -> Integers | None:
    """A class for each example, [N]; None: nothing is shared out.

    Of pictures with several, such as boxes or masks, it is the one that the fewest pictures have.
    """
    arrays, task = targets.arrays, targets.task
    if NAMED.get(task.name, "") in arrays:
        _, numbers = np.unique(arrays[NAMED[task.name]], return_inverse=True)
        return np.asarray(numbers.reshape(-1), dtype=np.int64)
    if task.name == "boxes":
        return _rarest(arrays["sample"], arrays["label"], targets.count)
    if task.name == "masks":
        mask, ignore = arrays["mask"], task.settings.get("ignore", 255)
        classes = [np.unique(one[one != ignore]) for one in mask]
        samples = np.repeat(np.arange(len(mask)), [len(some) for some in classes])
        return _rarest(samples, np.concatenate([np.zeros(0, np.int64), *classes]), targets.count)
    if task.name == "labels":
        samples, labels = np.nonzero(arrays["labels"] == 1)
        return _rarest(samples, labels, targets.count)
    return None


def _rarest(samples: Integers, classes: npt.NDArray[np.integer], count: int) -> Integers | None:
    """Of what each example has, what the fewest have; one class more for those with nothing."""
    if not len(classes) or classes.min() < 0 or classes.max() >= MOST_CLASSES:
        return None
    pairs = np.unique(np.stack([samples, classes], axis=1).astype(np.int64), axis=0)
    having = np.bincount(pairs[:, 1])
    rarest = np.full(count, len(having), dtype=np.int64)
    # Backwards by rareness: the rarest is written last.
    for sample, which in pairs[np.argsort(-having[pairs[:, 1]], kind="stable")].tolist():
        rarest[sample] = which
    return rarest
