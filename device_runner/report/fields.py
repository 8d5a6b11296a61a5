"""What a report holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Union

from edgeticket.device_runner.cooldown import Cooldown
from edgeticket.device_runner.energy import Energy
from edgeticket.device_runner.fidelity import Fidelity, tell_sqnr
from edgeticket.device_runner.latency import Latency
from edgeticket.device_runner.machine import Machine
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.placement import Placement
from edgeticket.device_runner.readings import Readings
from edgeticket.device_runner.scenarios import Deadlines, Throughput
from edgeticket.device_runner.sustained import Sustained
from edgeticket.device_runner.task import Metric, read_settings
from edgeticket.device_runner.task.kind import LOWER
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import Validity
from edgeticket.device_runner.watch import During
from edgeticket.device_runner.windows import Windows


@dataclass(frozen=True)
class SessionIdentity:
    """One run of the instrument; artifacts of one session were measured interleaved."""

    id: str
    started_utc: str  # 2026-01-31T12:00:00Z
    artifacts: tuple[str, ...]
    command: tuple[str, ...]
    cores: tuple[int, ...]  # that the measurement was kept on
    cooldown: Cooldown | Unavailable


@dataclass(frozen=True)
class BundleIdentity:
    """``digest``: SHA-256 of manifest.json, and through it of every file of the bundle."""

    name: str
    digest: str


@dataclass(frozen=True)
class MeasuredArtifact(Artifact):
    """The manifest's entry with the model file's own identity."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class RuntimeIdentity:
    """What executed the model."""

    name: str
    package: str
    version: str | Unavailable
    threads: int
    delegates: tuple[str, ...] | Unavailable
    withheld: tuple[str, ...]  # instruction sets kept from it: amx


@dataclass(frozen=True)
class PreprocessingTime:
    """From one stored sample to one prepared input, in nanoseconds; not part of a query."""

    count: int
    p50: int | Unavailable
    p90: int | Unavailable


@dataclass(frozen=True)
class ColdStart:
    """First use in a fresh process; the import of the runtime is not part of ``load_ns``."""

    load_ns: int | Unavailable
    first_inference_ns: int | Unavailable
    peak_rss_bytes: int | Unavailable


@dataclass(frozen=True)
class Accuracy:
    """All samples through the artifact; shares 0..1, class index per sample."""

    count: int
    top1: float
    top5: float | Unavailable
    predictions: tuple[int, ...]
    labels: tuple[int, ...]
    outputs_sha256: str
    samples_sha256: str  # reports that share it were measured on the same samples

    measure: ClassVar[str] = "top-1"
    lower_is_better: ClassVar[bool] = False

    @property
    def score(self) -> float:
        """By ``measure``."""
        return self.top1

    @property
    def answers(self) -> tuple[int, ...]:
        """Of the artifact, per sample."""
        return self.predictions

    @property
    def truth(self) -> tuple[int, ...]:
        """The right answers."""
        return self.labels


@dataclass(frozen=True)
class Transcription:
    """All recordings through the artifact, what was heard and what was said."""

    count: int
    seconds: float  # that they last together
    decoder: str  # greedy, beam N
    wer: float
    cer: float
    heard: tuple[str, ...]
    said: tuple[str, ...]
    outputs_sha256: str
    samples_sha256: str

    measure: ClassVar[str] = "WER"
    lower_is_better: ClassVar[bool] = True

    @property
    def score(self) -> float:
        """By ``measure``."""
        return self.wer

    @property
    def answers(self) -> tuple[str, ...]:
        """Of the artifact, per recording."""
        return self.heard

    @property
    def truth(self) -> tuple[str, ...]:
        """The right answers."""
        return self.said


@dataclass(frozen=True)
class Unlabelled:
    """All samples through the artifact, of which nothing is asked: an answer is a check sum."""

    count: int
    random: int | None  # the seed of inputs that are noise; None: they are data
    sample_crc32: tuple[int, ...]  # of all outputs for a sample; equal where they are, bit for bit
    outputs_sha256: str
    samples_sha256: str

    measure: ClassVar[str] = "SQNR"
    lower_is_better: ClassVar[bool] = False

    @property
    def answers(self) -> tuple[int, ...]:
        """Of the artifact, per sample."""
        return self.sample_crc32


@dataclass(frozen=True)
class PerSample:
    """What each sample brings to a metric: the sum of ``values`` by that of ``weights``."""

    values: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class TaskScores:
    """All samples through the artifact, and the metrics of a task of `device_runner.task`.

    An answer is a check sum here, as outputs such as masks are too large for a report; which
    answers are the same as the network's own by the task, the report's fidelity says.
    """

    task: str
    settings: Mapping[str, Any]  # as the manifest has them
    count: int
    headline: str  # the metric that stands for all
    metrics: Mapping[str, float | Unavailable]
    per_sample: PerSample | Unavailable  # of the headline
    # The headline of each draw of samples with replacement; draws are those of all such reports.
    resampled: tuple[float, ...] | Unavailable
    sample_crc32: tuple[int, ...]  # of all outputs for a sample; equal where they are, bit for bit
    outputs_sha256: str
    samples_sha256: str

    @property
    def measure(self) -> str:
        """The headline, as tables call it."""
        return self.headline

    @property
    def described(self) -> Metric:
        """What the headline means: its direction and its unit."""
        task, settings = read_settings(self.task, self.settings, place="task")
        return task.metric(self.headline, settings)

    @property
    def lower_is_better(self) -> bool:
        """Of the headline."""
        return self.described.direction == LOWER

    @property
    def score(self) -> float | Unavailable:
        """By ``measure``."""
        return self.metrics[self.headline]

    @property
    def answers(self) -> tuple[int, ...]:
        """Of the artifact, per sample."""
        return self.sample_crc32


Judged = Union[Accuracy, Transcription, TaskScores, Unlabelled]
"""What all samples through an artifact tell, by what is asked of them."""


@dataclass(frozen=True)
class RealTime:
    """How the time for a query stands to the seconds of speech that it brings."""

    step_s: float
    factor: float | Unavailable


@dataclass(frozen=True)
class Report:
    """One artifact, one session, one machine."""

    schema_version: int
    session: SessionIdentity
    bundle: BundleIdentity
    artifact: MeasuredArtifact
    runtime: RuntimeIdentity
    placement: Placement | Unavailable
    validity: Validity
    latency: Latency
    windows: Windows
    throughput: Throughput
    deadlines: Deadlines | Unavailable
    sustained: Sustained | Unavailable
    energy: Energy | Unavailable
    preprocessing_ns: PreprocessingTime
    real_time: RealTime | Unavailable
    cold: ColdStart
    accuracy: Judged
    fidelity: Fidelity | Unavailable
    machine: Machine
    before: Readings
    during: During
    after: Readings
    versions: Mapping[str, str]


def tell_score(report: Report) -> str:
    """How good it is, by its measure, in a cell of a table."""
    accuracy = report.accuracy
    if isinstance(accuracy, Unlabelled):
        return tell_sqnr(report.fidelity)
    if isinstance(accuracy, TaskScores):
        return accuracy.described.tell(accuracy.score)
    return f"{accuracy.score:.2%}"


def tell_real_time(latency: Latency, preparation: PreprocessingTime, *, step_s: float) -> RealTime:
    """Medians of features and of a query together, per second of speech that the query brings."""
    times = preparation.p50, latency.p50_ns
    for time in times:
        if isinstance(time, Unavailable):
            return RealTime(step_s, time)
    return RealTime(step_s, sum(t for t in times if isinstance(t, int)) / 1e9 / step_s)
