"""Kinds of layers that passes work on, over pictures and over sequences."""

from __future__ import annotations

from torch import nn

Convolution = nn.Conv1d | nn.Conv2d
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
Recurrent = nn.RNNBase | nn.RNNCellBase
