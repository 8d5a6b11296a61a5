"""A bundle's bill of materials and model card: whole, valid, repeatable; foreign text is text."""

from __future__ import annotations

import hashlib
import html
import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import page_fixtures as pages
import pytest
import runner_fixtures as tiny
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Network, Samples, write_manifest
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.bill import BILL, CARD, DataFacts, check_bill, gather_facts, write_bill
from edgeticket.pipeline.bill.licences import UNKNOWN, look_up
from edgeticket.pipeline.bill.markdown import escape

HOSTILE = (
    "<script>a()</script> [x](https://a.b) `c` | \x1b[31m \u202ered\n# d ![e](f) a@b.c www.g.h"
)
DATA = DataFacts("ab" * 32, {"train": 600, "validation": 200, "calibration": 64, "test": 40})
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


def made(folder: Path, name: str = "tiny", reports: bool = True, **changes: Any) -> Path:
    """A folder with a bundle of this name, and its bill and card."""
    files = tiny.tiny_files()
    manifest = tiny.tiny_manifest(files)
    provenance = {
        "recipe": {**pages.RECIPE, "seed": 7, "model": {"arch": "digits_cnn", "args": {"n": 4}}},
        "steps": pages.STEPS,
        "tools": {"onnxruntime": "0.0.1", "torch": "2", "edgeticket": "0.1.0"},
    }
    provenance |= changes.pop("provenance", {})
    manifest = replace(manifest, name=name, provenance=provenance, **changes)
    bundle = tiny.write_folder(folder / "bundle", files, write_manifest(manifest))
    measured = [of_bundle(report, bundle) for report in pages.four_reports()] if reports else []
    facts = gather_facts(bundle, data=DATA, reports=measured)
    write_bill(facts, folder / BILL, folder / CARD)
    return folder


def of_bundle(report: Report, bundle: Path) -> Report:
    with open_bundle(bundle) as opened:
        return replace(
            report,
            bundle=replace(report.bundle, digest=opened.digest),
            artifact=replace(report.artifact, **_identity(opened.manifest, report)),
        )


def _identity(manifest: Any, report: Report) -> dict[str, Any]:
    ids = [artifact.id for artifact in manifest.artifacts]
    name = report.artifact.id
    return {"id": name if name in ids else ids[0]}


def bill_of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / BILL).read_bytes())
    return document


def assert_valid(folder: Path) -> None:
    text = (folder / BILL).read_text(encoding="ascii")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_every_file_of_the_bundle_is_listed_with_its_hash(tmp_path: Path) -> None:
    folder = made(tmp_path)
    assert_valid(folder)
    components = bill_of(folder)["components"]
    listed = {c["name"]: c["hashes"] for c in components if c["bom-ref"].startswith("file:")}
    top = folder / "bundle"
    assert listed == {
        file.relative_to(top).as_posix(): [
            {"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}
        ]
        for file in top.rglob("*")
        if file.is_file()
    }


def test_references_within_the_bill_lead_somewhere(tmp_path: Path) -> None:
    bill = bill_of(made(tmp_path))
    references = [c["bom-ref"] for c in [bill["metadata"]["component"], *bill["components"]]]
    assert len(set(references)) == len(references)
    for edge in bill["dependencies"]:
        assert {edge["ref"], *edge["dependsOn"]} <= set(references)
    assert any(edge["dependsOn"] == ["tool:onnxruntime"] for edge in bill["dependencies"])


def test_model_data_and_training_are_named(tmp_path: Path) -> None:
    folder = made(tmp_path)
    bill, card = bill_of(folder), (folder / CARD).read_text()
    model = bill["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    parameters = model["modelCard"]["modelParameters"]
    assert parameters["modelArchitecture"] == "digits_cnn (n=4)"
    (data,) = (c for c in bill["components"] if c["bom-ref"] == parameters["datasets"][0]["ref"])
    with open_bundle(folder / "bundle") as bundle:
        digest, recipe = bundle.digest, bundle.manifest.provenance["recipe"]
    canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":")).encode()
    training = pairs(model["modelCard"])
    wanted = {
        "edgeticket:seed": "7",
        "edgeticket:bundle:sha256": digest,
        "edgeticket:recipe:sha256": hashlib.sha256(canonical).hexdigest(),
        "edgeticket:step:1": "stochastic_gates: 400 parameters, 20,000 multiply-accumulates, "
        "top1 on validation 0.97",
    }
    assert wanted.items() <= training.items()
    assert pairs(data)["edgeticket:data:sha256"] == DATA.digest
    assert pairs(data)["edgeticket:split:train"] == "600"
    for text in (digest, wanted["edgeticket:recipe:sha256"], DATA.digest, "latency: nine of ten"):
        assert text in card
    values = [m["value"] for m in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]]
    assert len(values) > 4
    assert all(f"| {escape(value)} |" in card for value in values)


def pairs(component: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in component["properties"]}


def test_equal_facts_are_equal_bytes_and_other_facts_another_serial_number(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    for name in (BILL, CARD):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    other = made(tmp_path / "c", name="other")
    assert bill_of(other)["serialNumber"] != bill_of(first)["serialNumber"]


def test_unknown_is_said_to_be_unknown(tmp_path: Path) -> None:
    nothing = Network(Unavailable("a branch"), Unavailable("a branch"), {})
    folder = made(tmp_path, reports=False, networks={"tiny": nothing})
    assert_valid(folder)
    bill, card = bill_of(folder), (folder / CARD).read_text()
    unknown = [{"license": {"name": UNKNOWN}}]
    assert bill["metadata"]["component"]["licenses"] == unknown
    by_name = {c["name"]: c for c in bill["components"]}
    assert by_name["onnxruntime"]["licenses"] == unknown  # not the version that is installed
    assert by_name["edgeticket"]["licenses"][0]["expression"] == "Apache-2.0"
    assert "quantitativeAnalysis" not in bill["metadata"]["component"]["modelCard"]
    assert "unknown (a branch) parameters" in card
    assert "were not measured" in card


def test_reports_of_another_bundle_are_passed_over(tmp_path: Path) -> None:
    bundle = tiny.write_tiny_bundle(tmp_path)
    assert gather_facts(bundle, reports=pages.four_reports()).metrics == ()


def test_hostile_names_are_text(tmp_path: Path) -> None:
    network = Network(Unavailable(HOSTILE), 1, {"top1": 0.5})
    folder = made(
        tmp_path,
        networks={"tiny": network, HOSTILE: network},
        samples=Samples("samples/labels.npy", 40, HOSTILE, "test"),
        provenance={
            "recipe": {
                "model": {"arch": HOSTILE},
                "compress": [{"method": HOSTILE, "budget": {HOSTILE: 1}}],
            },
            "steps": [{"step": HOSTILE, f"validation_{HOSTILE}": 1.0}, HOSTILE, None],
            "tools": {HOSTILE: HOSTILE},
        },
    )
    assert_valid(folder)
    (data,) = (c for c in bill_of(folder)["components"] if c["bom-ref"] == "data")
    assert data["name"].startswith("<script>a()")
    raw = (folder / CARD).read_text()
    assert [c for c in raw if not c.isprintable() and c != "\n"] == []
    page = MARKDOWN.render(raw)
    shown = html.escape(plain(HOSTILE))
    assert page.count(shown) >= 8  # data set twice, network, budget, step, tool and its version
    for tag in ("<script", "<a ", "<img", "<em>", "<code>c"):
        assert tag not in page
    assert page.count("<h1>") == 1
    assert "www." not in raw  # which GitHub makes addresses of, as it does of these
    assert "https://" not in raw


@pytest.mark.parametrize("provenance", [{}, {"recipe": 3, "steps": 3, "tools": []}])
def test_provenance_may_be_any_json(provenance: dict[str, Any], tmp_path: Path) -> None:
    nothing = {"recipe": None, "steps": None, "tools": None}
    assert_valid(made(tmp_path, provenance={**nothing, **provenance}))


@given(st.text())
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    shown = MARKDOWN.render(f"so: {escape(text)}.")
    wanted = f"so: {plain(text).strip()}."
    assert html.unescape(shown) == f"<p>{wanted}</p>\n"


def test_what_somebody_edited_is_not_replaced(tmp_path: Path) -> None:
    folder = made(tmp_path)
    check_bill(folder / BILL, folder / CARD)
    for name in (BILL, CARD):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(before.replace(b"tiny", b"mine", 1))
        with pytest.raises(InputError, match=f"{name} is there already"):
            check_bill(folder / BILL, folder / CARD)
        (folder / name).write_bytes(before)


def test_a_licence_is_what_the_installed_package_declares() -> None:
    licence = look_up("numpy", importlib.metadata.version("numpy")).licence
    assert licence.is_expression
    assert "BSD-3-Clause" in licence.text
    assert look_up("numpy", "0.0").licence.text == UNKNOWN
    assert look_up("no-such-package-at-all", "1").licence.text == UNKNOWN
