"""What a manifest holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.unavailable import Unavailable

CLASSES, TRANSCRIPTS, NOTHING = "classes", "transcripts", "nothing"

T = TypeVar("T")


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle; ``path`` is relative to its top, with forward slashes."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output: real = scale * (code - zero_point).

    Without a scale its numbers are themselves: float32, or integers such as tokens and pixels.
    """

    name: str  # in the model file
    shape: tuple[int, ...]  # with the batch of 1, where it has one
    dtype: str  # a key of device_runner.manifest.checks.DTYPES
    layout: str  # one of device_runner.manifest.checks.LAYOUTS
    scale: float | None
    zero_point: int | None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample: without the batch."""
        return self.shape[1:] if self.has_batch else self.shape

    @property
    def has_batch(self) -> bool:
        """Whether the first axis counts samples."""
        return self.shape[:1] == (1,)


@dataclass(frozen=True)
class Artifact:
    """One model file for one runtime and precision.

    ``inputs`` and ``outputs`` are in the order of the manifest's, whatever order the file has.
    """

    id: str
    file: str
    network: str
    role: str  # baseline, deploy
    runtime: str  # a key of device_runner.runtimes.RUNTIMES
    precision: str  # fp32, int8
    architectures: tuple[str, ...]  # as uname -m says
    exact_with: tuple[str, ...]  # CPU flags, one of which it needs to be exact; none: always is
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def input(self) -> TensorSpec:
        """The only input."""
        return only(self.inputs, f"{self.id}: inputs")

    @property
    def output(self) -> TensorSpec:
        """The only output."""
        return only(self.outputs, f"{self.id}: outputs")


@dataclass(frozen=True)
class InputSpec:
    """One input of the networks, and its samples.

    ``samples`` is .npy as `device_runner.preprocess` takes them, the batch first and channels
    last. ``capture`` leads from a decoded picture to a stored sample, ``preprocessing`` on from
    there.
    """

    name: str
    samples: str
    capture: tuple[Mapping[str, Any], ...] = ()
    preprocessing: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Task:
    """What is asked of the outputs: transcripts, or one of `device_runner.task.TASKS`, with the
    settings that it has there; those left out have their defaults."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """Test examples. ``targets`` are int64 [N] of classes; of recordings that are transcribed as
    `device_runner.recordings` reads them; of other tasks an .npz of the arrays that the task names
    (`device_runner.npz`); None: there are none.

    ``random``: the seed that the inputs were drawn with; None: they are data.
    """

    targets: str | None
    count: int
    dataset: str
    split: str
    random: int | None = None


@dataclass(frozen=True)
class NetworkReferences:
    """The outputs of one network in float32, one .npy for each output, and what computed them."""

    made_by: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class References:
    """Outputs for the first ``count`` queries, as many as ``limit_bytes`` allow.

    Each file is float32 or integers [count, ...], in the order of axes that the networks have
    themselves, channels first.
    """

    count: int
    limit_bytes: int  # of the outputs of one network
    networks: Mapping[str, NetworkReferences]


@dataclass(frozen=True)
class ArtifactProof:
    """What one artifact answers to the first queries of the bundle, and where it has to run.

    ``files``: .npy [queries, ...], one for each output, as `device_runner.outputs.answers` gives
    it: channels first, codes int8. Where the artifact is ``exact`` its answers are these numbers;
    elsewhere they may be off by as much as ``tolerances`` has for each output, in steps where the
    output is codes. ``placement``: providers or delegates, to which all operators have to go;
    none: the runtime's own kernels; Unavailable: nothing is promised.
    """

    exact: bool
    files: tuple[str, ...]
    tolerances: tuple[float, ...]
    made_by: str  # runtime, version and machine
    placement: tuple[str, ...] | Unavailable


@dataclass(frozen=True)
class Proof:
    """What `device-runner prove` holds a device to; by artifact, or why there is nothing."""

    queries: int  # from the first of the bundle's samples
    max_p90_ns: int | None  # that an inference may take; None: nothing is promised
    artifacts: Mapping[str, ArtifactProof | Unavailable]


@dataclass(frozen=True)
class Network:
    """Host metrics of one network; ``scores`` are over the bundle's samples: top1, or wer and cer,
    or the metrics of another task. Empty: it was not scored."""

    parameters: int | Unavailable
    macs: int | Unavailable
    scores: Mapping[str, float | Unavailable]


@dataclass(frozen=True)
class Manifest:
    """The whole document; ``provenance`` is free JSON.

    With the task `transcripts`, samples are recordings that are cut into ``chunks``, and ``labels``
    are the symbols of a CTC network, of which the first is the blank; with `classes`, every sample
    has one of ``labels``; with `nothing` there are none; with other tasks they are names of what
    the outputs tell, as far as there are any. ``separator_bias`` is that of
    `device_runner.ctc.Decoder`.
    """

    schema_version: int
    name: str
    files: tuple[FileEntry, ...]
    artifacts: tuple[Artifact, ...]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]  # what reports call them
    task: Task
    labels: tuple[str, ...]
    samples: Samples
    networks: Mapping[str, Network]
    provenance: Mapping[str, Any]
    references: References | None = None
    proof: Proof | None = None
    chunks: Chunks | None = None  # see above
    separator_bias: float = 0.0

    @property
    def input(self) -> InputSpec:
        """The only input.

        Raises:
            InputError: there are several.
        """
        return only(self.inputs, f"{self.name}: inputs")

    @property
    def preprocessing(self) -> tuple[Mapping[str, Any], ...]:
        """That of the only input."""
        return self.input.preprocessing

    @property
    def capture(self) -> tuple[Mapping[str, Any], ...]:
        """That of the only input."""
        return self.input.capture


def only(values: Sequence[T], place: str) -> T:
    """The single one of ``values``.

    Raises:
        InputError: there are several, or none.
    """
    if len(values) != 1:
        raise InputError(f"{place}: there are {len(values)}, and this works with one alone")
    return values[0]
