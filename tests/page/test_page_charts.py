"""Charts show what they are given, and stand in a page without disturbing it."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from page_fixtures import report_of

from edgeticket.pipeline.page.charts.front import Point, draw_front, front_of
from edgeticket.pipeline.page.charts.latency import draw_course, draw_histogram, draw_ranges
from edgeticket.pipeline.page.charts.latency import range_of as make_range
from edgeticket.pipeline.page.palette import LIGHT

PAIRS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12)
POINTS = PAIRS.map(
    lambda pairs: [Point(i, str(i), "k", False, c, s) for i, (c, s) in enumerate(pairs)]
)


@given(POINTS, st.booleans())
def test_the_front_is_those_that_no_other_beats(points: list[Point], lower: bool) -> None:
    def beats(a: Point, b: Point) -> bool:
        score = a.score <= b.score if lower else a.score >= b.score
        return a.cost <= b.cost and score and (a.cost, a.score) != (b.cost, b.score)

    front = front_of(points, lower_is_better=lower)
    told = {(p.cost, p.score) for p in front}
    unbeaten = {(b.cost, b.score) for b in points if not any(beats(a, b) for a in points)}
    assert told == unbeaten
    assert [p.cost for p in front] == sorted(p.cost for p in front)


def test_colours_are_the_pages_variables_and_names_have_a_prefix() -> None:
    chart = draw_histogram(report_of(), name="mine", title="a <b> & c")
    text = str(chart.svg)
    root = ElementTree.fromstring(text)
    assert 'fill="var(--accent)"' in text
    for element in root.iter():
        assert element.get("id", "mine").startswith("mine")
        assert "style" not in element.attrib
        for key in ("fill", "stroke"):
            assert element.get(key) not in LIGHT.values()
            assert element.get(key) in (None, "none") or element.get(key, "").startswith("var(--")
    assert root[0].text == "a <b> & c"


def test_text_stays_text() -> None:
    chart = draw_ranges([make_range("1  näme $x$", report_of(), strong=True)], name="r", title="t")
    texts = [e.text for e in ElementTree.fromstring(str(chart.svg)).iter() if e.tag == "text"]
    assert "1 näme $x$" in [" ".join((text or "").split()) for text in texts]


def test_a_histogram_says_what_it_leaves_out() -> None:
    report = report_of(queries=1000)
    times = np.array(report.latency.samples_ns)
    times[::100] *= 1000  # ten queries that were interrupted
    slow = report_of(queries=1000)
    object.__setattr__(slow.latency, "samples_ns", tuple(map(int, times)))
    chart = draw_histogram(slow, name="h", title="t")
    assert "10 of 1,000 queries took longer" in chart.caption


def test_times_that_are_all_the_same_can_be_drawn() -> None:
    report = report_of(queries=100)
    object.__setattr__(report.latency, "samples_ns", (1000,) * 100)
    assert "<path" in str(draw_histogram(report, name="h", title="t").svg)
    assert "<path" in str(draw_course(report, name="c", title="t").svg)
    one = make_range("x", report, strong=False)
    assert (one.lowest, one.p99) == (0.001, 0.001)
    draw_ranges([one], name="r", title="t")


def test_one_point_is_its_own_front() -> None:
    point = Point(1, "only", "fp32", False, 2.0, 90.0)
    chart = draw_front(
        [point], name="f", title="t", cost="ms", score="%", lower_is_better=False, caption=""
    )
    assert "No other beats: 1 (only)" in str(chart.svg)
