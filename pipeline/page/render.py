"""Sources become one HTML file.

Each value that the template writes goes through `finalize`, which spells out what cannot be seen or
turns the direction of writing, and through autoescape. The page has no script, and its security
policy allows none; the one style sheet is allowed by its digest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgeticket.device_runner import __version__
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.output_folder import write_output
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.file import GENERATOR, is_page
from edgeticket.pipeline.page.palette import DARK, LIGHT, variables
from edgeticket.pipeline.page.sections.answers import (
    LISTED,
    Changes,
    tell_changes,
    tell_confusion,
    tell_outputs,
)
from edgeticket.pipeline.page.sections.comparison import HEADINGS, tell_comparisons
from edgeticket.pipeline.page.sections.layers import tell_layers
from edgeticket.pipeline.page.sections.machine import tell_again, tell_places
from edgeticket.pipeline.page.sections.measurements import draw_times, draw_trades
from edgeticket.pipeline.page.sections.steps import tell_steps
from edgeticket.pipeline.page.sections.table import make_table, tell_metrics
from edgeticket.pipeline.page.sections.verdict import give_verdict
from edgeticket.pipeline.page.sources import Sources
from edgeticket.pipeline.text import plain

_TEMPLATES = Path(__file__).parent / "templates"

# Words that a reader from elsewhere may not know, and what they mean here.
GLOSSARY = {
    "model file": "A network as one file for one runtime: what a device loads.",
    "runtime": "The program that carries out a model file: ONNX Runtime or LiteRT (TFLite).",
    "float32 (fp32)": "Numbers of 32 bits, as networks are trained with.",
    "int8": "Whole numbers of 8 bits, with a scale for each tensor: a quarter of the bytes, and "
    "faster on most processors.",
    "code": "One such whole number, −128 to 127.",
    "dense": "The network as it was trained, before anything was removed.",
    "ticket": "What is left of it after pruning: fewer channels or weights, trained further.",
    "MAC": "Multiply-accumulate: one multiplication and one addition.",
    "p50, p90, p99": "Of all answers, 50, 90 or 99 % took at most so long.",
    "VALID, INVALID": "Whether clock, heat, other programs and the times themselves were steady "
    "enough for the times to be believed.",
    "identical, bit for bit": "Every number of every output is the same on both sides.",
    "SQNR": "Signal to quantisation noise ratio: how much larger the outputs are than what "
    "rounding changed in them. 20 dB is a tenth, 40 dB a hundredth.",
    "SHA-256": "A digest: two files with the same one are the same.",
}


def render(sources: Sources) -> bytes:
    """The page as UTF-8; the same sources give the same bytes."""
    return fill("page.html", _values(sources))


def fill(template: str, values: Mapping[str, Any]) -> bytes:
    """Values of one of the `templates` -> the page as UTF-8.

    Every value but markup of ours is escaped, and what cannot be seen in it is spelled out.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_as_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = _style()
    page = environment.get_template(template).render(
        **values,
        style=Markup(style),
        style_hash=_digest(style),
        generator=GENERATOR,
        version=__version__,
    )
    return page.encode()


def write_page(sources: Sources, file: Path) -> None:
    """Write the page of ``sources``; an older page gives way.

    Raises:
        InputError: another file is there, or it cannot be written.
    """
    write_output(file, render(sources), ours=is_page)


def _values(sources: Sources) -> dict[str, Any]:
    """All that the template speaks of."""
    changes, steps = tell_changes(sources), tell_steps(sources)
    values: dict[str, Any] = {
        "sources": sources,
        "featured": sources.featured,
        "dates": _dates(sources),
        "verdict": give_verdict(sources),
        "table": make_table(sources),
        "metrics": tell_metrics(sources),
        "table_says": _table_says(sources),
        "comparisons": tell_comparisons(sources),
        "comparison_headings": HEADINGS,
        "trades": draw_trades(sources),
        "times": draw_times(sources),
        "changes": changes,
        "changes_say": "" if changes is None else _changes_say(changes),
        "others_say": "" if changes is None else _others_say(changes),
        "confusion": tell_confusion(sources),
        "outputs": tell_outputs(sources),
        "outputs_say": _outputs_say(sources),
        "steps": steps,
        "steps_timed": any(step.time != words.NONE for step in steps),
        "layers": tell_layers(sources),
        "places": tell_places(sources),
        "again": tell_again(sources),
        "glossary": GLOSSARY.items(),
    }
    return {**values, "parts": _parts(values)}


def _parts(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The parts that have content, for the navigation: (name, title)."""
    parts = [
        ("artifacts", "All model files", "table"),
        ("comparison", "Before and after", "comparisons"),
        ("trade", "What accuracy costs", "trades"),
        ("times", "Times", "times"),
        ("changed", "Changed answers", "changes"),
        ("confusion", "Confusions", "confusion"),
        ("outputs", "Outputs", "outputs"),
        ("passes", "Passes", "steps"),
        ("layers", "Layers", "layers"),
        ("machine", "The machine", "places"),
        ("again", "Do it again", "again"),
        ("words", "Words", "glossary"),
    ]
    return [(name, title) for name, title, key in parts if values[key]]


def _dates(sources: Sources) -> str:
    days = sorted({one.report.session.started_utc[:10] for one in sources.measured})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _table_says(sources: Sources) -> str:
    bases = {sources.baseline_of(one) for one in sources.measured} - {None}
    if not bases:
        return "Nothing was measured beside them that they could be held against."
    names = words.listed(sorted({base.name for base in bases if base is not None}))
    return (
        f"Ratios and differences are against {names}, measured in turns with the others on the "
        "same machine, so that both saw the same clock and the same heat."
    )


def _outputs_say(sources: Sources) -> str:
    said = {
        f"{one.report.fidelity.against}, "
        f"the first {words.plural(one.report.fidelity.samples, 'sample')}"
        for one in sources.measured
        if not isinstance(one.report.fidelity, Unavailable)
    }
    return f"Held against: {'; '.join(sorted(said))}." if said else ""


def _changes_say(changes: Changes) -> str:
    """The sentence above the samples that changed."""
    shown = len(changes.samples)
    of = words.plural(changes.count, "sample")
    verb = "has" if changes.total == 1 else "have"
    rest = f" The first {shown} are shown." if 0 < shown < changes.total else ""
    voices = f" {changes.left_out} more ways to answer are not shown." if changes.left_out else ""
    return (
        f"{changes.total:,} of {of} {verb} not the same {changes.noun} everywhere. Those that "
        f"answer all samples alike stand together:{rest}{voices}"
    )


def _others_say(changes: Changes) -> str:
    """Which samples changed, too."""
    listed = ", ".join(map(str, changes.others[:LISTED]))
    more = len(changes.others) - LISTED
    return f"Changed, too: samples {listed}{f' and {more:,} more' if more > 0 else ''}."


def _as_text(value: Any) -> Any:
    """What is no markup of ours is text, in which nothing invisible is left."""
    if isinstance(value, Markup):
        return value
    return plain(value)


def _style() -> str:
    sheet = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return (
        f":root{{color-scheme:light dark;{variables(LIGHT)}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}\n{sheet}"
    )


def _digest(style: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"
