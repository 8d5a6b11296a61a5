"""A function of the user's in a comparison, over outputs that lie beside the reports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeticket.device_runner.accuracy import CheckSums, as_judged
from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.npz import parse_npz
from edgeticket.device_runner.report import Report, TaskScores, Unlabelled
from edgeticket.pipeline.compare.result import Comparison
from edgeticket.pipeline.devices.measure import PACKED
from edgeticket.pipeline.devices.own_metric import Metric, judge_file


@dataclass(frozen=True)
class OwnMetric:
    """A function, what the user calls it, and the bundle whose targets it is given."""

    function: Metric
    name: str
    bundle: Bundle

    def add(
        self, comparison: Comparison, before: tuple[Path, Report], after: tuple[Path, Report]
    ) -> Comparison:
        """A comparison -> the same with what the function says of both.

        Raises:
            InputError: as `judge_report`.
        """
        old, new = self.judge_report(*before), self.judge_report(*after)
        values = {f"{key} (own)": (old[key], new[key]) for key in old if key in new}
        return replace(comparison, further={**comparison.further, **values})

    def judge_report(self, file: Path, report: Report) -> dict[str, float]:
        """What the function says of the outputs beside a report, by name.

        Raises:
            InputError: no outputs lie beside it, or those of another run; the report is of another
                bundle; the function raises, or returns something else than finite numbers.
        """
        outputs = file.with_name(f"{report.artifact.id}{PACKED}")
        if report.bundle.digest != self.bundle.digest:
            raise InputError(
                f"{file} is of another bundle than --bundle, {report.bundle.digest[:12]} and not "
                f"{self.bundle.digest[:12]}: give the bundle that was measured"
            )
        if not outputs.is_file():
            raise InputError(
                f"no outputs lie beside {file}, which --metric needs as {outputs.name}: measure "
                "with device-runner bench --outputs-packed and the reports' folder, or with "
                "edgeticket bench --metric"
            )
        if _sha256(outputs, report) != report.accuracy.outputs_sha256:
            raise InputError(
                f"{outputs} holds other outputs than {file} tells of: bring both from one run"
            )
        return judge_file(self.function, self.name, self.bundle, report.artifact.id, outputs)


def _sha256(file: Path, report: Report) -> str:
    """Of outputs, as the report has it."""
    arrays = list(parse_npz(file.read_bytes(), place=str(file)).values())
    sums = CheckSums()
    if isinstance(report.accuracy, TaskScores | Unlabelled):
        for row in zip(*arrays, strict=True):
            sums.add(list(map(np.asarray, row)))
        return sums.sha256
    sums.add([as_judged(arrays[0], report.artifact)])
    return sums.sha256
