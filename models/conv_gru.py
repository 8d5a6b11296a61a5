"""Convolutions over time, then a GRU: for sensors that are sampled at a steady rate."""

from __future__ import annotations

from torch import Tensor, nn


class ConvGru(nn.Module):
    """[N, channels, steps] -> logits [N, num_classes], from the state after the last step.

    Two convolutions see 7 steps and keep every second one; a GRU (Cho et al. 2014) of ``hidden``
    units goes through what they found. Channels of the convolutions can be pruned; hidden units
    stay.
    """

    def __init__(
        self,
        *,
        num_classes: int = 4,
        channels: int = 6,
        steps: int = 25,
        width: int = 24,
        hidden: int = 24,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.features = nn.Sequential(
            nn.Conv1d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(self.features(x).transpose(1, 2))
        logits: Tensor = self.classifier(self.dropout(states[:, -1]))
        return logits
