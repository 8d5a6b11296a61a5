"""Pages of searches and experiments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from listing_fixtures import line_document, write_lines, write_search
from page_fixtures import Page

import edgeticket


def page_of(folder: Path, out: Path) -> Page:
    return Page(edgeticket.report(folder, out=out).read_bytes())


def test_a_search_says_what_was_found_and_what_was_cut(tmp_path: Path) -> None:
    page = page_of(write_search(tmp_path / "search"), tmp_path / "page.html")
    assert "Yes: tiny-1, with the shortest p90." in page.text
    assert "80.00 % on validation, p90 0.550 ms" in page.text
    assert "3.00× as fast as the dense network, 10.00 points lower on validation." in page.text
    assert "Yes: all 3 measurements are VALID." in page.text
    assert "ssh://dead was left out: no route" in page.text
    cut = next(t for t in page.all("table") if "Channels" in t.children[0].text)
    assert "features.0864" in cut.text.replace(" ", "").replace("\n", "")
    assert len(page.all("desc")) == 2


def test_times_that_cannot_be_believed_win_nothing(tmp_path: Path) -> None:
    page = page_of(write_search(tmp_path / "search", valid=False), tmp_path / "page.html")
    assert "No: 3 of 3 measurements are INVALID." in page.text
    assert "By times that cannot be believed." in page.text
    assert "\u202e" not in page.text


def test_a_search_without_a_fitting_point_names_the_nearest(tmp_path: Path) -> None:
    page = page_of(write_search(tmp_path / "search", chosen=False), tmp_path / "page.html")
    assert "No. Nearest is tiny-1: p90 above 0.1 ms." in page.text


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 9}', '{"format": 1, "name": 3}'])
def test_what_is_no_front_ends_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "front.json").write_text(text)
    with pytest.raises(edgeticket.InputError, match=r"front\.json"):
        edgeticket.report(tmp_path, out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_an_experiment_says_which_did_best_and_on_how_many_seeds(tmp_path: Path) -> None:
    page = page_of(write_lines(tmp_path / "lines"), tmp_path / "page.html")
    assert "rewinding at 50 % sparse: 94.10 ± 0.10." in page.text
    assert "None else within ±, over 3 seeds." in page.text
    assert "90.10 ± 0.10 (3)" in page.text
    one = page_of(write_lines(tmp_path / "one", seeds=1), tmp_path / "one.html")
    assert "One seed each: a difference may be chance." in one.text


def test_near_variants_are_told_as_chance(tmp_path: Path) -> None:
    lines = [line_document(v, 0.5, s, 0.9 + 0.01 * s) for v in ("a", "b") for s in range(3)]
    (tmp_path / "grid.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = page_of(tmp_path, tmp_path / "page.html")
    assert "1 other variant of the same sparsity within ±: chance may decide." in page.text


def test_names_of_variants_are_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\u202e$x$"
    page = page_of(write_lines(tmp_path / "lines", other=hostile), tmp_path / "page.html")
    assert not page.all("script")
    assert "<script>alert(1)</script>\\u202e$x$" in page.text
    assert "\u202e" not in page.text


def test_lines_of_several_files_are_one_page(tmp_path: Path) -> None:
    write_lines(tmp_path / "a")
    page = Page(
        edgeticket.report([tmp_path / "a" / "grid.jsonl"], out=tmp_path / "p.html").read_bytes()
    )
    assert page.all("h1")[0].text == "grid"


def test_damaged_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "grid.jsonl").write_text("{}\n")
    with pytest.raises(edgeticket.InputError, match="line 1"):
        edgeticket.report(tmp_path, out=tmp_path / "page.html")
