"""Many reports of the same artifacts on the same boards, over time: what changed, and a gate.

gather([Path("reports")])                 # -> History
judge_new(history, new_reports)           # -> verdicts that know the noise between runs
"""

from edgeticket.pipeline.history.gate import HistoryGate, judge_new
from edgeticket.pipeline.history.series import History, Run, Series, gather

__all__ = ["History", "HistoryGate", "Run", "Series", "gather", "judge_new"]
