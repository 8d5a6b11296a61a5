"""`edgeticket bundle` leaves bill and card beside any bundle, and replaces nobody else's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import runner_fixtures as tiny
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import edgeticket
from edgeticket.device_runner.bundle import open_bundle


def bundle(folder: Path) -> tuple[bytes, bytes]:
    """Make a bundle of the tiny float32 file -> its bill and its card."""
    (folder / "net.onnx").write_bytes(tiny.onnx_fp32())
    (folder / "x.npy").write_bytes(tiny.npy(tiny.samples(8)[0]))
    edgeticket.bundle(
        folder / "net.onnx", samples=folder / "x.npy", mean=[0], std=[255], out=folder / "it"
    )
    return (folder / "it.bom.cdx.json").read_bytes(), (folder / "it.model-card.md").read_bytes()


def test_it_lies_beside_the_bundle_and_says_what_is_unknown(tmp_path: Path) -> None:
    bill, card = bundle(tmp_path)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode()) is None
    with open_bundle(tmp_path / "it.zip") as zipped:
        assert json.loads(bill)["metadata"]["component"]["version"] == f"sha256:{zipped.digest}"
        names = {c["name"] for c in json.loads(bill)["components"]}
        assert {entry.path for entry in zipped.manifest.files} < names
    assert b"Unknown: the files were made by other tools." in card
    assert bundle(tmp_path) == (bill, card)


@pytest.mark.parametrize("name", ["it.bom.cdx.json", "it.model-card.md"])
def test_what_somebody_wrote_there_stops_it_before_any_work(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(edgeticket.InputError, match=f"{name} is there already"):
        bundle(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / "it").exists()
