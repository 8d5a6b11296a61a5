"""Facts as a model card in Markdown, for people: what it is, how good, and what nobody knows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from edgeticket.device_runner.bundle import MANIFEST
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.bill.facts import Facts
from edgeticket.pipeline.bill.licences import UNKNOWN
from edgeticket.pipeline.bill.markdown import escape, table
from edgeticket.pipeline.bill.metrics import Metric

_NOT_MEASURED = "The files were not measured when this was written: `edgeticket bench` does it."
_SEAL = "<!-- written by edgeticket; sha256 of all above this line: {} -->\n"


def to_card(facts: Facts, *, bill: str) -> bytes:
    """Facts -> Markdown, UTF-8. Equal facts give equal bytes.

    Args:
        facts: of one bundle.
        bill: the name of the bill of materials that lies beside the card.
    """
    sections = (
        _what_it_is(facts),
        _trained(facts),
        _measured(facts),
        _limits(facts),
        _verify(facts, bill),
        _licences(facts),
    )
    text = "\n\n".join("\n".join(lines) for lines in sections) + "\n\n"
    return (text + _SEAL.format(hashlib.sha256(text.encode()).hexdigest())).encode()


def is_card(data: bytes) -> bool:
    """Whether ``data`` is a card of ours that nobody changed."""
    text, _, seal = data.rstrip(b"\n").rpartition(b"\n")
    digest = hashlib.sha256(text + b"\n").hexdigest()
    return seal + b"\n" == _SEAL.format(digest).encode()


def _what_it_is(facts: Facts) -> list[str]:
    manifest = facts.manifest
    deployed = [artifact for artifact in manifest.artifacts if artifact.role == "deploy"]
    ends = (deployed or manifest.artifacts)[0]
    rows = [
        ("task", manifest.task.name),
        ("architecture", facts.architecture or UNKNOWN),
        *(("input", f"{one.name}, {one.dtype} {list(one.shape)}") for one in ends.inputs),
        *(("output", f"{one.name}, {one.dtype} {list(one.shape)}") for one in ends.outputs),
    ]
    for name, network in manifest.networks.items():
        counts = f"{_count(network.parameters)} parameters"
        rows.append((f"network {name}", f"{counts}, {_count(network.macs)} multiply-accumulates"))
    rows += [("bundle", f"sha256 {facts.digest}"), ("licence", UNKNOWN)]
    files = (
        (artifact.id, artifact.runtime, artifact.precision, _size(facts, artifact.file))
        for artifact in manifest.artifacts
    )
    return [
        f"# Model card: {escape(manifest.name)}",
        "",
        *table(("", ""), rows),
        "",
        "## Files for runtimes",
        "",
        *table(("artifact", "runtime", "precision", "bytes"), files),
    ]


def _trained(facts: Facts) -> list[str]:
    lines = ["## What it was trained on", ""]
    if facts.data is None:
        return [*lines, "Unknown: the files were made by other tools."]
    rows = [
        ("data set", facts.manifest.samples.dataset),
        ("its sha256, of all that the run saw", facts.data.digest),
        *((f"examples for {name}", f"{count:,}") for name, count in facts.data.counts.items()),
        ("licence", UNKNOWN),
        ("seed", UNKNOWN if facts.seed is None else str(facts.seed)),
        ("recipe, sha256", facts.recipe_sha256 or UNKNOWN),
    ]
    steps = table(("step", "what it left"), ((step.name, step.says) for step in facts.steps))
    return [*lines, *table(("", ""), rows), "", *steps]


def _measured(facts: Facts) -> list[str]:
    samples = facts.manifest.samples
    source = f"{samples.count:,} samples of {escape(samples.dataset)}"
    if samples.random is not None:
        source = f"{samples.count:,} random samples, which are noise (seed {samples.random})"
    machines = f"; measured on {escape(', '.join(facts.machines))}" * bool(facts.machines)
    lines = ["## How good it is", "", f"On {source}, split {escape(samples.split)}{machines}.", ""]
    lines += _by_subject("artifact", facts.metrics) if facts.metrics else [_NOT_MEASURED]
    if facts.torch_metrics:
        lines += ["", *_by_subject("network, float32 in torch", facts.torch_metrics)]
    budgets = [f"- asked: {escape(budget)}" for budget in facts.budgets]
    return [*lines, "", "## Budgets", "", *(budgets or ["None was asked."])]


def _by_subject(head: str, metrics: Sequence[Metric]) -> list[str]:
    """A row for each network or artifact, a column for each figure."""
    names = list(dict.fromkeys(metric.name for metric in metrics))
    values = {(metric.subject, metric.name): metric.value for metric in metrics}
    rows = (
        (subject, *(values.get((subject, name), "–") for name in names))
        for subject in dict.fromkeys(metric.subject for metric in metrics)
    )
    return table((head, *map(escape, names)), rows)


def _limits(facts: Facts) -> list[str]:
    return ["## Limits", "", *(f"- {escape(limit)}" for limit in facts.limits)]


def _verify(facts: Facts, bill: str) -> list[str]:
    return [
        "## How to verify",
        "",
        f"`sha256sum {MANIFEST}` in the bundle gives",
        f"`{facts.digest}`;",
        f"the manifest has the SHA-256 of every other file, and so has {escape(bill)} (CycloneDX",
        "1.6). On a device, `device-runner prove` with the bundle shows that it is whole and",
        "answers as it was tested; `edgeticket verify` says whose it is, where it is signed.",
        "Neither this card nor the bill is part of what is signed.",
    ]


def _licences(facts: Facts) -> list[str]:
    return [
        "## Made with",
        "",
        *table(
            ("package", "version", "licence, as it declares"),
            ((tool.name, tool.version, tool.licence.text) for tool in facts.tools),
        ),
    ]


def _size(facts: Facts, path: str) -> str:
    (size,) = (entry.size_bytes for entry in facts.manifest.files if entry.path == path)
    return f"{size:,}"


def _count(value: int | Unavailable) -> str:
    return f"{UNKNOWN} ({plain(value.reason)})" if isinstance(value, Unavailable) else f"{value:,}"
