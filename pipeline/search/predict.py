"""What a cut brings on a device, layer by layer, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.errors import ConversionError
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.search.additive import AdditiveModel, Whole, fitted, measured_steps
from edgeticket.pipeline.search.candidates import Candidates, carried_over
from edgeticket.pipeline.search.frames import Map, frame_steps, is_framed
from edgeticket.pipeline.search.probes import TIMES, ProbeFile, probe_file, step_file
from edgeticket.pipeline.search.probing import Asked, Times, time_files
from edgeticket.pipeline.search.steps import Step, steps_of
from edgeticket.pipeline.search.structure import Structure, uniform
from edgeticket.pipeline.search.widths import WidthCurve, costliest_convolution, width_steps

BEFORE, AFTER = "before", "after"
ANCHORS = (0.75, 0.5, 0.25)  # shares of all groups: whole networks that the model is fitted to


@dataclass(frozen=True)
class LayerTime:
    """One step before and after; None: it is not there.

    channels: of its input and output.
    fitted_share: how much of the probe's time after (or before, where it is gone) was taken off as
        the cost of a file's ends; 0: the step was measured by repeating it.
    """

    name: str
    kind: str
    precision: str
    channels_before: tuple[int, int] | None
    channels_after: tuple[int, int] | None
    before_ns: float | None
    after_ns: float | None
    fitted_share: float


@dataclass(frozen=True)
class RuntimePrediction:
    """Of one runtime and precision."""

    runtime: str
    version: str
    precision: str
    layers: tuple[LayerTime, ...]
    ends_ns: tuple[float, float]  # before, after
    before: Whole
    after: Whole  # it is no part of the fit
    model: AdditiveModel
    widths: WidthCurve | None


@dataclass(frozen=True)
class Prediction:
    """Of one cut on one board.

    missing: runtime and precision -> why there is no prediction.
    """

    network: str
    target: str
    times: Times
    structure: Structure
    widths: Mapping[str, int]  # of groups, before
    predictions: tuple[RuntimePrediction, ...]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """All that is timed for one runtime and precision."""

    runtime: str
    precision: str
    graphs: Mapping[str, Graph]  # whole networks, by name
    steps: Mapping[str, tuple[Step, ...]]  # of each
    curve: Mapping[int, Step]
    curve_of: Step | None
    frames: Mapping[Map, Step]  # by the maps that they are on

    @property
    def title(self) -> str:
        return f"{self.runtime} {self.precision}"

    @property
    def distinct(self) -> dict[str, Step]:
        """All steps, by key."""
        every = [step for steps in self.steps.values() for step in steps]
        several = (*every, *self.curve.values(), *self.frames.values())
        return {step.key: step for step in several}


def predict(
    candidates: Candidates,
    structure: Structure,
    device: Device,
    asked: Asked,
    *,
    runtimes: Sequence[str] = ("ort", "tflite"),
    precisions: Sequence[str] = ("int8", "fp32"),
    with_widths: bool = True,
    progress: Progress = QUIET,
) -> Prediction:
    """Measure the steps of a network and of what a structure leaves of it, and add them up.

    Both are measured as wholes, too: the sum is held against that. The model is fitted to the
    network before, and to uniform cuts of it; never to the one that is predicted.

    Args:
        candidates: the network.
        structure: what stays.
        device: where.
        asked: how probes are measured.
        runtimes, precisions: of which.
        with_widths: also measure how the costliest layer's time goes with its channels.
        progress: shows how far it is.

    Raises:
        DeviceError: the device measures nothing that can be believed.
        InputError: the structure does not fit, or there is no file for any runtime.
    """
    cut = candidates.without(structure.bypass)
    left = carried_over(structure, candidates, cut) if structure.bypass else structure
    cases: list[Case] = []
    missing: dict[str, str] = {}
    for precision in precisions:
        try:
            graphs = {BEFORE: candidates.graph(precision, Structure())}
            graphs[AFTER] = cut.graph(precision, left)
            graphs |= _anchors(candidates, precision)
        except InputError as error:
            missing |= {f"{runtime} {precision}": str(error) for runtime in runtimes}
            continue
        cases += [
            case_of(runtime, precision, graphs, with_widths=with_widths) for runtime in runtimes
        ]
    files = Files(cases)
    with progress.task(f"probes on {device.label}", 1) as advance:
        times = time_files(
            device, files.plan, asked, runtimes=runtimes,
            tell=lambda line: advance(0, line), advance=_shares(advance),
        )  # fmt: skip
    predictions = []
    for case in cases:
        try:
            predictions.append(_prediction(case, files, times))
        except InputError as error:
            missing[case.title] = str(error)
    if not predictions:
        raise InputError("; ".join(dict.fromkeys(missing.values())))
    return Prediction(
        candidates.network.arch, device.target, times, structure, candidates.widths,
        tuple(predictions), missing,
    )  # fmt: skip


def case_of(
    runtime: str, precision: str, graphs: Mapping[str, Graph], *, with_widths: bool = False
) -> Case:
    """Whole networks and their steps."""
    steps = {name: steps_of(graph, runtime=runtime) for name, graph in graphs.items()}
    largest = None
    if with_widths:
        # Work stands for time that is not measured yet.
        work = [(step, float(step.weight_bytes) * _pixels(step)) for step in steps[BEFORE]]
        largest = costliest_convolution(work)
    curve = {} if largest is None else width_steps(largest, runtime=runtime)
    every = {step.key: step for part in steps.values() for step in part}
    frames = frame_steps(every.values(), graphs.values(), runtime=runtime)
    return Case(runtime, precision, graphs, steps, curve, largest, frames)


def _pixels(step: Step) -> int:
    shape = step.graph.values[step.graph.outputs[0]].shape
    count = 1
    for size in shape[2:]:
        count *= size
    return count


def _anchors(candidates: Candidates, precision: str) -> dict[str, Graph]:
    widths = candidates.narrowing(precision).widths
    if not widths:
        return {}
    return {
        f"{share:.0%} of all channels": candidates.graph(precision, uniform(widths, share))
        for share in ANCHORS
    }


class Files:
    """The files of all cases, once the architecture of the machine is known."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        self.whole: dict[tuple[str, str], ProbeFile | str] = {}  # by title and network
        self.step: dict[tuple[str, str, int], ProbeFile | str] = {}  # by runtime, key, times

    def plan(self, architecture: str) -> list[ProbeFile]:
        """Make them: whole networks first, so that what a runtime refuses is known soon."""
        for case in self._cases:
            for name, graph in case.graphs.items():
                try:
                    file = probe_file(graph, case.runtime, architecture=architecture)
                except ConversionError as error:
                    self.whole[case.title, name] = str(error)
                else:
                    self.whole[case.title, name] = file
            for key, step in case.distinct.items():
                for times in (1, TIMES) if step.repeats else (1,):
                    at = case.runtime, key, times
                    if at not in self.step:
                        self.step[at] = step_file(
                            step, case.runtime, architecture=architecture, times=times
                        )
        every: Iterable[ProbeFile | str] = (*self.whole.values(), *self.step.values())
        return [file for file in every if not isinstance(file, str)]

    def whole_ns(self, case: Case, name: str, times: Times) -> int:
        """A network as a whole.

        Raises:
            InputError: there is no file of it, or the runtime refuses it.
        """
        return _time_of(self.whole[case.title, name], times, case.title)

    def model(self, case: Case, times: Times, anchors: Sequence[str]) -> AdditiveModel:
        """The additive model of a case, fitted to some of its networks.

        Raises:
            InputError: a network or a step was not measured.
        """
        once, several = {}, {}
        for key, step in case.distinct.items():
            file = self.step[case.runtime, key, 1]
            once[key] = float(_time_of(file, times, f"{case.title}: {step.name} ({step.kind})"))
            if step.repeats:
                at = self.step[case.runtime, key, TIMES]
                several[key] = float(_time_of(at, times, f"{case.title}: {step.name}"))
        frames = {found: step.key for found, step in case.frames.items()}
        framed = {k for k, s in case.distinct.items() if is_framed(s, runtime=case.runtime)}
        steps, ends = measured_steps(case.distinct, once, several, frames, framed)
        wholes = [
            (name, float(self.whole_ns(case, name, times)), case.graphs[name], case.steps[name])
            for name in anchors
        ]
        return fitted(steps, ends, wholes)


def _time_of(file: ProbeFile | str, times: Times, place: str) -> int:
    if isinstance(file, str):
        raise InputError(f"{place}: {file}")
    time_ns = times.ns(file)
    if time_ns is None:
        reason = times.refused.get(file.sha256, "its runtime is not installed there")
        raise InputError(f"{place}: {reason}")
    return time_ns


def _prediction(case: Case, files: Files, times: Times) -> RuntimePrediction:
    model = files.model(case, times, [name for name in case.graphs if name != AFTER])
    wholes = {
        name: Whole(
            name,
            float(files.whole_ns(case, name, times)),
            model.predict(case.graphs[name], case.steps[name]),
        )
        for name in (BEFORE, AFTER)
    }
    curve = None
    if case.curve_of is not None:
        operator = case.curve_of.graph.operators[0]
        shape = case.curve_of.graph.values[case.curve_of.graph.inputs[0]].shape
        kernel = operator.attributes["kernel_shape"]
        curve = WidthCurve(
            case.curve_of.name, (kernel[0], kernel[1]), (shape[2], shape[3]),
            {width: model.steps[step.key].ns for width, step in case.curve.items()},
        )  # fmt: skip
    return RuntimePrediction(
        runtime=case.runtime,
        version=times.runtimes[case.runtime],
        precision=case.precision,
        layers=_layers(case, model),
        ends_ns=(model.ends.ns(case.graphs[BEFORE]), model.ends.ns(case.graphs[AFTER])),
        before=wholes[BEFORE],
        after=wholes[AFTER],
        model=model,
        widths=curve,
    )


def _layers(case: Case, model: AdditiveModel) -> tuple[LayerTime, ...]:
    after = {step.name: step for step in case.steps[AFTER]}
    before = {step.name: step for step in case.steps[BEFORE]}
    names = dict.fromkeys([*before, *after])
    rows = []
    for name in names:
        old, new = before.get(name), after.get(name)
        shown = new or old
        assert shown is not None
        time = model.steps[shown.key]
        whole = time.ns + time.fitted_ns
        rows.append(
            LayerTime(
                name=name,
                kind=shown.kind,
                precision=shown.precision,
                channels_before=None if old is None else old.channels,
                channels_after=None if new is None else new.channels,
                before_ns=None if old is None else model.step_ns(old),
                after_ns=None if new is None else model.step_ns(new),
                fitted_share=0.0 if time.repeated or not whole else time.fitted_ns / whole,
            )
        )
    return tuple(rows)


def _shares(advance: Callable[[float, str], None]) -> Callable[[int, int], None]:
    shown = 0.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        share = done / total if total else 1.0
        advance(share - shown, f"{done} of {total} files")
        shown = share

    return show
