"""Runs that end in zeros: what the table says of them, and the ticket file of a strong one."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.pipeline.cli import main
from edgeticket.pipeline.network.file import load_network
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import read_recipe
from edgeticket.pipeline.run.candidate import Job
from edgeticket.pipeline.run.dataset import load_recipe_data
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.passes import apply_pass
from edgeticket.pipeline.run.pipeline import describe_zeros, run
from edgeticket.pipeline.run.summary import Summary
from edgeticket.pipeline.store import Store
from edgeticket.pipeline.tickets.file import read

COMMON = """
data: {name: digits, train: 400, validation: 100, calibration: 64, test: 100}
bench: {min_seconds: 0, min_queries: 70}
"""
STRONG = (
    COMMON
    + """
name: strong
seed: 5
model: {arch: digits_cnn, args: {width: 8}, init: signed_constant, init_kept: 0.5}
compress:
  - {method: weight_gates, sparsity: 0.8, train: {epochs: 2, batch_size: 50, warmup: 0.0}}
  - {method: ptq}
"""
)
WEAK = (
    COMMON
    + """
name: weak
model: {arch: digits_cnn, args: {width: 8}, init: signed_constant}
train: {epochs: 2, batch_size: 50, lr: 0.05}
compress:
  - {method: magnitude, sparsity: 0.8}
  - {method: ptq}
"""
)


def carry_out(text: str, folder: Path) -> Summary:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return run(
        read_recipe(path),
        recipe_folder=folder,
        out=folder,
        data_folder=folder,
        remeasure=False,
        progress=QUIET,
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def strong(out: Path) -> Summary:
    return carry_out(STRONG, out)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["edgeticket", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_a_strong_ticket_ends_in_a_ticket_file_of_the_same_network(
    strong: Summary, out: Path
) -> None:
    file = out / "strong" / "strong.ticket"
    ticket = read(file)
    assert (ticket.init, ticket.init_kept, ticket.seed) == ("signed_constant", 0.5, 5)
    assert ticket.mask.density == pytest.approx(0.2, abs=0.001)
    [stage] = (f for f in (out / ".stages").glob("weight_gates-*") if f.suffix != ".lock")
    assert ticket.network.digest == load_network(stage).digest
    pruned = strong.pruned
    assert pruned is not None
    assert pruned.ticket_file is not None
    assert pruned.ticket_file.size_bytes == file.stat().st_size
    assert pruned.exact_in_int8 == 1.0
    assert pruned.kept == sum(int(kept.sum()) for kept in ticket.mask.tensors.values())
    with open_bundle(out / "strong" / "bundle") as bundle:
        carried = bundle.manifest.provenance["pruned"]
    assert carried["ticket_file"]["size_bytes"] == file.stat().st_size


def test_the_table_has_zipped_sizes_and_says_what_zeros_bring(strong: Summary, out: Path) -> None:
    text = (out / "strong" / "summary.md").read_text()
    assert "\n| kB zipped |" in text
    assert "80.0% of 24,584 weights are zero" in text
    assert "on these runtimes nothing faster: fp32 with zeros runs at " in text
    assert "strong.ticket holds this network, bit for bit, in" in text
    assert "int8 gives back 100.00% of the weights exactly" in text
    rows = {row.artifact: row for row in strong.rows}
    for runtime in ("onnx", "tflite"):
        # A sign and a place for a fifth of the weights, instead of four bytes for all.
        dense, ticket = rows[f"dense-{runtime}-fp32"], rows[f"ticket-{runtime}-fp32"]
        assert ticket.zipped_bytes < 0.2 * ticket.size_bytes
        assert abs(dense.size_bytes - ticket.size_bytes) < 0.05 * dense.size_bytes
    document = json.loads((out / "strong" / "summary.json").read_text())
    assert document["pruned"]["exact_in_int8"] == 1.0


def test_a_trained_ticket_has_no_ticket_file(strong: Summary, out: Path) -> None:
    (out / "recipe.yaml").write_text(WEAK)
    recipe = read_recipe(out / "recipe.yaml")
    job = Job(recipe, load_recipe_data(recipe, folder=out), Store(out / ".stages"), QUIET, ())
    candidate = dense_network(job)
    for position in range(len(recipe.compress)):
        candidate = apply_pass(job, candidate, position)
    pruned = describe_zeros(job, candidate, out / "weak.ticket")
    assert not (out / "weak.ticket").exists()
    assert pruned is not None
    assert pruned.ticket_file is None
    assert 0.8 < pruned.exact_in_int8 < 0.95  # zeros, and the largest weight of each channel
    text = replace(strong, pruned=pruned).to_markdown()
    assert "80.0% of 24,584 weights are zero" in text
    assert ".ticket" not in text


def test_unpack_and_pack_are_each_other_s_inverse(
    strong: Summary,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original, again = out / "strong" / "strong.ticket", tmp_path / "again.ticket"
    assert call(monkeypatch, "unpack", original, "-o", tmp_path / "network") in (0, None)
    assert "signed_constant from seed 5, 20.0% of its weights kept" in capsys.readouterr().out
    assert {f.name for f in (tmp_path / "network").iterdir()} == {
        "network.json", "weights.safetensors", "mask.safetensors",
    }  # fmt: skip
    drawn = ["--init-kept", "0.5", "--seed", "5"]
    assert call(monkeypatch, "pack", tmp_path / "network", "-o", again, *drawn) in (0, None)
    assert again.read_bytes() == original.read_bytes()
    assert f"{len(again.read_bytes()):,} bytes" in capsys.readouterr().out
    for wrong, part in (
        (["--init-kept", "0.5", "--seed", "6"], "is not what seed 6 draws"),
        (["--init-kept", "0", "--seed", "5"], "--init-kept is a share"),
        (["--init", "he"], "needs weights of init kaiming_normal, uniform, signed_constant"),
        (["--init-kept", "0.5", "--seed", str(2**40)], "seed"),
    ):
        other = tmp_path / "other.ticket"
        assert call(monkeypatch, "pack", tmp_path / "network", "-o", other, *wrong) == 2
        assert part in (told := capsys.readouterr().err), told
        assert told.count("\n") == 1 or "Usage" in told
        assert not other.exists()
