"""A gate's cases as Markdown, for a comment on a change, and as JUnit XML, for a CI server.

Names come from reports, which anyone may have written: whatever could be read as markup is escaped.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from edgeticket.device_runner.plain_text import plain
from edgeticket.pipeline.compare.gate import (
    HEADINGS,
    TEXTS,
    Gate,
    tell_case,
)

# What XML 1.0 cannot hold in any notation (W3C XML 1.0, production 2).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKUP = re.compile(r"([\\`*_\[\]|~#<>&@!]|(?<=[a-z]):(?=//)|(?<=www)\.)", re.IGNORECASE)
_LIST = re.compile(r"^(\d{0,9})([-+=.)])")  # at its beginning: a list in the list, or a heading
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


def to_markdown(gate: Gate) -> str:
    """A table with one row a case, and below it what is wrong."""
    rule = "|".join("---" if heading in TEXTS else "--:" for heading in HEADINGS)
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{rule}|"]
    lines += [f"| {' | '.join(map(_plain, tell_case(case)))} |" for case in gate.cases]
    wrongs = [
        f"- {_plain(case.path)}: {_plain(sentence)}"
        for case in gate.cases
        for sentence in case.wrongs
    ]
    notes = [
        f"- {_plain(case.path)}: note: {_plain(sentence)}"
        for case in gate.cases
        for sentence in case.notes
    ]
    below = [*(wrongs or ["All limits are kept."]), *(["", *notes] if notes else [])]
    return "\n".join([*lines, "", *below]) + "\n"


def to_junit(gate: Gate) -> bytes:
    """One test case a report: a broken limit is a failure, what cannot be compared an error."""
    outcomes = [case.outcome for case in gate.cases]
    suite = ElementTree.Element(
        "testsuite",
        name="edgeticket compare",
        tests=str(len(outcomes)),
        failures=str(outcomes.count("limit broken")),
        errors=str(outcomes.count("not comparable")),
        skipped="0",
        time="0",
    )
    for case in gate.cases:
        classname = "unknown" if case.comparison is None else case.comparison.after
        test = ElementTree.SubElement(
            suite, "testcase", classname=_xml(classname), name=_xml(case.path), time="0"
        )
        for sentence in case.wrongs:
            kind = "error" if case.comparison is None else "failure"
            wrong = ElementTree.SubElement(test, kind, message=_xml(sentence), type=case.outcome)
            wrong.text = _xml(sentence)
        said = ElementTree.SubElement(test, "system-out")
        facts = [*map(": ".join, zip(HEADINGS, tell_case(case), strict=True))]
        said.text = _xml("\n".join([*facts, *(f"note: {note}" for note in case.notes)]))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    data: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def is_markdown(data: bytes) -> bool:
    """Whether ``data`` is what `to_markdown` wrote, so that a newer one may take its place."""
    return data.startswith(f"| {HEADINGS[0]} | {HEADINGS[1]} |".encode())


def is_junit(data: bytes) -> bool:
    """Whether ``data`` is what `to_junit` wrote."""
    return b'<testsuite name="edgeticket compare"' in data[:400]


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _plain(text: str) -> str:
    line = plain(_BREAKS.sub(" ", text)).strip()
    return _LIST.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", line))
