"""What a run ends with: every artifact against the dense fp32 network."""

from pipeline.summary.row import Row
from pipeline.summary.summarize import summarize
from pipeline.summary.table import Pruned, Summary

__all__ = ["Pruned", "Row", "Summary", "summarize"]
