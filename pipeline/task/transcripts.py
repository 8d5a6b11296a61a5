"""The task of transcribing what is said, with a CTC network (Graves et al. 2006); see
`pipeline.task.kind`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.chunks import plan_pieces
from edgeticket.device_runner.ctc import BLANK, Decoder, find_separator
from edgeticket.device_runner.recordings import Transcripts, transcribe
from edgeticket.device_runner.task.kind import LOWER, Metric
from edgeticket.device_runner.transcripts import character_error_rate, word_error_rate
from edgeticket.pipeline.data import Recordings, Split
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task.kind import Kept, Loss, MakeTargets, Task

BIASES = tuple(step / 2 for step in range(-6, 5))  # of the separator, that are tried, in nats
GROUP = 8  # batches whose recordings are put in order of length

METRICS = (
    Metric("wer", LOWER, "share", "words that are wrong, missing or too many, by those said"),
    Metric("cer", LOWER, "share", "the same of letters"),
)


class Targets(NamedTuple):
    """What is to be written for a batch."""

    symbols: Tensor  # int64 [all symbols], end to end
    counts: Tensor  # int64 [N], how many of them belong to each recording
    shares: Tensor  # float32 [N], how much of the padded recording is not padding, 0..1


def loss(cfg: TrainConfig, split: Split) -> Loss:
    """CTC: −log of the probability of all ways to write the text, per symbol of it."""
    return _loss


def _loss(outputs: Tensor, targets: Targets) -> Tensor:
    """Logits [N, symbols, frames]. A text that does not fit into its frames counts nothing."""
    frames = (targets.shares * outputs.shape[2]).ceil().long()
    return F.ctc_loss(
        outputs.float().log_softmax(1).permute(2, 0, 1),
        targets.symbols,
        frames.clamp(1, outputs.shape[2]),
        targets.counts,
        blank=BLANK,
        zero_infinity=True,
    )


def arrange(order: Tensor, split: Split, batch_size: int) -> Tensor:
    """Recordings of like length come into one batch, so that little of it is padding.

    What falls into one group of ``GROUP`` batches, and the order of the batches in it, is as random
    as ``order``.
    """
    assert isinstance(split.inputs, Recordings)
    lengths = torch.from_numpy(split.inputs.lengths)
    arranged = []
    for group in torch.split(order, GROUP * batch_size):
        parts = torch.split(group[lengths[group].argsort(stable=True)], batch_size)
        # The lowest index decides, which is as random as the members are.
        ranks = torch.stack([part.min() for part in parts])
        full = [part for part in parts if len(part) == batch_size]
        rest = [part for part in parts if len(part) < batch_size]
        arranged += [full[i] for i in ranks[: len(full)].argsort().tolist()] + rest
    return torch.cat(arranged)


def targets(split: Split, device: torch.device) -> MakeTargets:
    """Symbols end to end, and how many belong to each recording; the batch says the shares."""
    assert split.spoken is not None
    number = {symbol: i for i, symbol in enumerate(split.spoken.symbols)}
    texts = [torch.tensor([number[symbol] for symbol in text]) for text in split.spoken.texts]

    def some(order: Tensor) -> tuple[Tensor, Tensor]:
        written = [texts[i] for i in order.tolist()]
        counts = torch.tensor([len(text) for text in written])
        return torch.cat(written).to(device), counts.to(device)

    return some


def monitor(outputs: Tensor, targets: Targets) -> dict[str, float]:
    """Nothing: decoding every batch would take longer than it is worth."""
    return {}


def predict(outputs: npt.NDArray[Any], split: Split) -> npt.NDArray[Any]:
    """Logits of all queries [queries, symbols, frames] -> texts [N], greedily decoded."""
    assert isinstance(split.inputs, Recordings)
    assert split.spoken is not None
    assert split.spoken.chunks is not None
    lengths, chunks = split.inputs.lengths.tolist(), split.spoken.chunks
    transcripts = Transcripts(
        split.spoken.texts, sum(lengths) / chunks.rate_hz, plan_pieces(lengths, chunks)
    )
    answers = outputs.swapaxes(1, 2)
    symbols = split.spoken.symbols
    decoder = Decoder(separator=find_separator(symbols), separator_bias=split.spoken.separator_bias)
    texts = transcribe(answers, transcripts, symbols=symbols, decoder=decoder)
    return np.array(texts, dtype=np.object_)


def score(predictions: npt.NDArray[Any], split: Split) -> dict[str, float]:
    """Word and character error rates."""
    assert split.spoken is not None
    references, hypotheses = split.spoken.texts, predictions.tolist()
    return {
        "wer": word_error_rate(references, hypotheses),
        "cer": character_error_rate(references, hypotheses),
    }


def choose_separator_bias(outputs: npt.NDArray[Any], split: Split) -> float:
    """Outputs for ``split``, as `predict` takes them -> the bias with the fewest word errors there,
    of equal ones the smallest."""
    assert split.spoken is not None
    references = split.spoken.texts

    def errors(bias: float) -> float:
        hypotheses = predict(outputs, split.with_separator_bias(bias)).tolist()
        return word_error_rate(references, hypotheses)

    return min(sorted(BIASES, key=abs), key=errors)


TASK = Task(
    headline=METRICS[0],
    metrics=METRICS,
    loss=loss,
    targets=targets,
    monitor=monitor,
    judge=lambda split: Kept(split, predict, score),
    agree=None,
    arrange=arrange,
)
