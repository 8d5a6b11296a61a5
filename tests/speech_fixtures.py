"""A manifest and a report of recordings that are transcribed, without a measurement."""

from __future__ import annotations

from dataclasses import replace

from device_runner.chunks import Chunks
from device_runner.manifest import Manifest, Network, Samples
from device_runner.report import RealTime, Report, Transcription
from device_runner.report.fields import tell_real_time
from runner_fixtures import example_report, tiny_files, tiny_manifest

CHUNKS = Chunks(rate_hz=16000, window_samples=12800, context_samples=1280, stride_samples=640)
SYMBOLS = ("", " ", "A", "B")
SAID, HEARD = ("A B", "AB BA A"), ("A", "AB BA A")


def speech_manifest() -> Manifest:
    """Of the tiny bundle's files, as if they wrote down what is said."""
    manifest = tiny_manifest(tiny_files())
    artifacts = tuple(
        replace(a, output=replace(a.output, shape=(1, 20, len(SYMBOLS)), layout="NWC"))
        for a in manifest.artifacts
    )
    return replace(
        manifest,
        artifacts=artifacts,
        labels=SYMBOLS,
        samples=Samples("samples/inputs.npy", "samples/labels.npy", 2, "speech", "test"),
        networks={"tiny": Network(parameters=1, macs=2, scores={"wer": 0.2, "cer": 0.1})},
        chunks=CHUNKS,
        separator_bias=-0.5,
    )


def speech_report() -> Report:
    """Of one of its artifacts."""
    report = example_report()
    output = speech_manifest().artifacts[3].output
    real_time: RealTime = tell_real_time(
        report.latency, report.preprocessing_ns, step_s=CHUNKS.step_s
    )
    return replace(
        report,
        artifact=replace(report.artifact, output=output),
        real_time=real_time,
        accuracy=Transcription(2, 3.5, "greedy", 0.2, 0.2, HEARD, SAID, "cd" * 32, "ef" * 32),
    )
