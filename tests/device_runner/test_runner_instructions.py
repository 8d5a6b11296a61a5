"""A warning where an int8 file would saturate, and none where it would not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from runner_fixtures import QUICK, tiny_files, tiny_manifest, write_tiny_bundle

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.instructions import warn_inexact
from edgeticket.device_runner.machine import describe_machine
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.unavailable import Unavailable

ARTIFACTS = {artifact.id: artifact for artifact in tiny_manifest(tiny_files()).artifacts}
U8, LITE = ARTIFACTS["tiny-ort-int8"], ARTIFACTS["tiny-tflite-int8"]
PC = replace(describe_machine(), architecture="x86_64", int8_instructions=("avx2",))


def warn(
    *flags: str, entry: Artifact = U8, withheld: tuple[str, ...] = (), alone: bool = False
) -> str | None:
    machine = replace(PC, int8_instructions=flags)
    others = [] if alone else list(ARTIFACTS.values())
    return warn_inexact(entry, others, machine, withheld=withheld)


def test_avx2_alone_is_warned_about_and_a_better_file_named() -> None:
    sentence = warn("avx2")
    assert sentence is not None
    assert sentence.startswith("tiny-ort-int8 may lose accuracy: this CPU has none of avx_vnni")
    assert sentence.endswith("tiny-tflite-int8 is exact here")
    assert "exact here" not in str(warn("avx2", alone=True))


@pytest.mark.parametrize("flag", ["avx_vnni", "avx512_vnni", "amx_int8"])
def test_dot_products_are_exact(flag: str) -> None:
    assert warn("avx2", flag) is None


def test_amx_that_is_withheld_does_not_count() -> None:
    assert warn("avx2", "amx_int8", withheld=("amx",)) is not None
    assert warn("avx2", "avx512_vnni", "amx_int8", withheld=("amx",)) is None


def test_nothing_is_claimed_of_other_files_or_unknown_machines() -> None:
    assert warn("avx2", entry=LITE) is None
    unknown = replace(PC, int8_instructions=Unavailable("no /proc"))
    assert warn_inexact(U8, [], unknown) is None


def test_bench_says_it(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("flags\t\t: fpu avx2\n")
    said: list[str] = []
    (report,) = bench(
        write_tiny_bundle(tmp_path / "b"),
        artifact="tiny-ort-int8",
        plan=QUICK,
        progress=lambda what, share: said.append(what),
        root=tmp_path,
    )
    assert [line for line in said if line.startswith("warning: tiny-ort-int8 may lose")]
    assert report.machine.int8_instructions == ("avx2",)
