"""The colours of a page can be read in both themes (WCAG 2.2, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

import edgeticket.pipeline.page.palette as palette
from edgeticket.pipeline.page.palette import DARK, LIGHT, LINES, SURFACES, TEXTS, TINTS, contrast

SHEET = (Path(palette.__file__).parent / "templates/page.css").read_text()


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_stands_out_by_4_5_and_lines_by_3(theme: Mapping[str, str]) -> None:
    for text, surface in itertools.product(TEXTS, SURFACES):
        assert contrast(theme[text], theme[surface]) >= 4.5, (text, surface)
    for line in LINES:
        assert contrast(theme[line], theme["paper"]) >= 3, line
    for tint in TINTS:
        assert contrast(theme["ink"], theme[tint]) >= 4.5, tint


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=0.001)  # its known example
    assert contrast("#123456", "#123456") == 1


def test_themes_have_the_same_names_and_the_sheet_no_colours_of_its_own() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert set(re.findall(r"var\(--([\w-]+)\)", SHEET)) <= LIGHT.keys()
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", SHEET)
    assert len(set(LIGHT.values())) == len(LIGHT)  # charts are drawn in them, and told by them


def test_zeros_of_a_matrix_and_muted_text_stand_on_plain_paper() -> None:
    """Only ink stands on tints: `.zero` cells have none."""
    assert "td.zero{color:var(--muted)}" in SHEET
