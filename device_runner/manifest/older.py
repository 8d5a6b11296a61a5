"""Documents of earlier versions -> the present one, so that old bundles and reports are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OLDEST = 4  # of manifests and of reports that are still read
_UNTOLD = {"unavailable": "the report is of version 5 or older, which does not tell it"}


def manifest_of_today(document: Any) -> Any:
    """A manifest of an earlier version as one of today.

    What is not as its version has it stays, so that the schema of today says so.
    """
    if not isinstance(document, dict):
        return document
    if document.get("schema_version") == 4:
        document = _manifest_of_5(document)
    if document.get("schema_version") == 5:  # whatever it could say is said in the same way
        document = {**document, "schema_version": 6}
    if document.get("schema_version") == 6:  # which promised nothing
        document = {**document, "schema_version": 7, "proof": None}
    return document


def _manifest_of_5(document: Mapping[str, Any]) -> dict[str, Any]:
    """One input, one output, classes or transcripts, as lists of them and a task."""
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
    """A report of an earlier version as one of today; what it did not tell is unavailable."""
    if not isinstance(document, dict):
        return document
    if document.get("schema_version") == 4:
        document = _report_of_5(document)
    if document.get("schema_version") == 5:
        document = {
            **document,
            "schema_version": 6,
            "fidelity": _fidelity_of_today(document.get("fidelity")),
        }
    if document.get("schema_version") == 6:
        missing = {"unavailable": "the report is of version 6 or older, which does not tell it"}
        document = {**document, "schema_version": 7, "sustained": missing}
    if document.get("schema_version") == 7:
        document = {**document, "schema_version": 8}
        accuracy = document.get("accuracy")
        if isinstance(accuracy, dict) and "task" in accuracy:
            missing = {"unavailable": "the report is of version 7 or older, which does not tell it"}
            document["accuracy"] = {**accuracy, "resampled": missing}
    return document


def _report_of_5(document: Mapping[str, Any]) -> dict[str, Any]:
    """Of fidelity version 4 said nothing, of placement shares."""
    missing = {"unavailable": "the report is of version 4, which does not tell it"}
    new = {**document, "schema_version": 5, "fidelity": missing}
    placement = document.get("placement")
    if isinstance(placement, dict) and "unavailable" not in placement:
        new["placement"] = {
            "unavailable": "the report is of version 4, which tells shares and no numbers"
        }
    new["artifact"] = artifact_of_today(document.get("artifact"))
    return new


def _fidelity_of_today(document: Any) -> Any:
    """Version 5 told fewer figures of each output, and did not hold answers against one another."""
    if not isinstance(document, dict) or "outputs" not in document:
        return document
    between = document.get("between")
    if isinstance(between, list):
        between = [_compared(one) for one in between]
    return {**_compared(document), "differing": {}, "between": between}


def _compared(document: Any) -> Any:
    if not isinstance(document, dict) or not isinstance(document.get("outputs"), list):
        return document
    untold = dict.fromkeys(("count", "largest_relative", "largest_step", "low", "high"), _UNTOLD)
    # Outputs and references that are not finite were refused.
    rest = {"reference_not_finite": 0, "not_finite": 0, "notes": []}
    outputs = [
        {**one, **untold, **rest} if isinstance(one, dict) else one for one in document["outputs"]
    ]
    return {**document, "outputs": outputs}
