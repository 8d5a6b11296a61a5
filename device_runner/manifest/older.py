"""Documents of earlier versions -> the present one, so that old bundles and reports are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OLDEST = 4  # of manifests and of reports that are still read


def manifest_of_today(document: Any) -> Any:
    """A manifest of version 4 (one input, one output, classes or transcripts) as version 5.

    What is not as version 4 has it stays, so that the schema of version 5 says so.
    """
    if not isinstance(document, dict) or document.get("schema_version") != OLDEST:
        return document
    new = {**document, "schema_version": 5}
    samples = document.get("samples")
    if isinstance(samples, dict) and {"inputs", "labels"} <= set(samples):
        rest = {key: value for key, value in samples.items() if key not in ("inputs", "labels")}
        new["inputs"] = [
            {
                "name": "input",
                "samples": samples["inputs"],
                "capture": new.pop("capture", None),
                "preprocessing": new.pop("preprocessing", None),
            }
        ]
        new["samples"] = {"targets": samples["labels"], "random": None, **rest}
    new["outputs"] = ["output"]
    chunks = document.get("chunks")
    new["task"] = {"name": "classes" if chunks is None else "transcripts", "settings": {}}
    new["references"] = None
    artifacts = document.get("artifacts")
    if isinstance(artifacts, list):
        new["artifacts"] = [artifact_of_today(entry) for entry in artifacts]
    return new


def artifact_of_today(document: Any) -> Any:
    """An artifact with one input and one output, as one with lists of them."""
    if not isinstance(document, Mapping) or not {"input", "output"} <= set(document):
        return document
    rest = {key: value for key, value in document.items() if key not in ("input", "output")}
    return {**rest, "inputs": [document["input"]], "outputs": [document["output"]]}


def report_of_today(document: Any) -> Any:
    """A report of version 4 as version 5: of fidelity it said nothing, of placement shares."""
    if not isinstance(document, dict) or document.get("schema_version") != OLDEST:
        return document
    missing = {"unavailable": "the report is of version 4, which does not tell it"}
    new = {**document, "schema_version": 5, "fidelity": missing}
    placement = document.get("placement")
    if isinstance(placement, dict) and "unavailable" not in placement:
        new["placement"] = {
            "unavailable": "the report is of version 4, which tells shares and no numbers"
        }
    new["artifact"] = artifact_of_today(document.get("artifact"))
    return new
