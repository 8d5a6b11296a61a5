"""What a run ends with: every artifact against the dense fp32 network."""

from edgeticket.pipeline.run.summary.row import Row
from edgeticket.pipeline.run.summary.summarize import summarize
from edgeticket.pipeline.run.summary.table import Pruned, Summary

__all__ = ["Pruned", "Row", "Summary", "summarize"]
