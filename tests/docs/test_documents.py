"""Documents lead where they say: links, anchors, paths, and sentences that the program prints."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)[^)]*\)")
# Documents name files as they are seen from the top, or from pipeline/.
FILE = re.compile(r"`((?:[a-z_]+/)+[a-z_]*(?:\.(?:py|yaml|json|md))?)`")
STARTS = ("pipeline/", "device_runner/", "models/", "tests/", "docs/", "benchmarks/", "docker/")
MADE_BY_RUNS = ("runs/", "reports/", "photos/", "device-reports/", "reference/")
PROGRAM = ("pipeline", "device_runner", "models", "edgeticket/__init__.py", "edgeticket/api")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """As GitHub and Python-Markdown make them of headings."""
    slugs: list[str] = []
    for heading in re.findall(r"^#+ +(.*?) *$", prose(page), re.MULTILINE):
        text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        slugs.append(slug if slug not in slugs else f"{slug}-{slugs.count(slug)}")
    return frozenset(slugs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):  # another site, or mail
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        fine = target.exists() and target.is_relative_to(ROOT)
        if fine and anchor and target.suffix == ".md":
            fine = anchor in anchors(target)
        if not fine:
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    if page.name in ("CHANGELOG.md", "decisions.md"):  # these tell of what was
        return
    missing = [
        path
        for path in FILE.findall(prose(page))
        if path.startswith(STARTS) and not path.startswith(MADE_BY_RUNS)
        if not (ROOT / path).exists()
    ]
    assert missing == []


def test_architecture_names_rooms_that_are_there() -> None:
    """There the paths begin inside of pipeline/ or device_runner/."""
    rooms = ("pipeline", "device_runner", "models", "edgeticket", "pipeline/quantize")
    rooms = (*rooms, "pipeline/convert", "pipeline/devices", "pipeline/run")
    places = [ROOT, *(ROOT / room for room in rooms)]
    text = prose(ROOT / "docs" / "architecture.md")
    drawn = (ROOT / "docs" / "architecture.svg").read_text()
    picture = " ".join(re.findall(r">([^<>]+)<", drawn))
    named = re.findall(r"`([a-z_/]+(?:/|\.py))`", text)
    named += re.findall(r"\b([a-z_]+/|[a-z_]+\.py)", picture)
    assert len(named) > 40
    assert [n for n in named if not any((place / n).exists() for place in places)] == []


@functools.cache
def texts_of_the_program() -> tuple[str, ...]:
    """Every text in the sources; what is filled in is NUL."""
    found: list[str] = []
    for place in PROGRAM:
        path = ROOT / place
        for file in [path] if path.is_file() else path.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else "\0" for v in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return tuple(found)


def quoted() -> Iterator[str]:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for quote in re.findall(r"^>(?: .*)(?:\n> .*)*", text, re.MULTILINE):
        yield " ".join(line.removeprefix(">").strip() for line in quote.splitlines())


@pytest.mark.parametrize("sentence", list(quoted()))
def test_a_sentence_that_is_explained_is_one_of_the_program(sentence: str) -> None:
    """… stands for what the program fills in, or for nothing at either end."""
    pieces = [re.escape(piece) for piece in sentence.strip("…").split("…")]
    pattern = re.compile(".*?".join(pieces), re.DOTALL)
    assert len(sentence.replace("…", "")) > 12
    assert any(pattern.search(text) for text in texts_of_the_program()), sentence


@pytest.mark.slow
def test_the_tutorial_can_be_carried_out() -> None:

    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/tutorial_outputs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra `docs`")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "api" / "index.html").read_text()
    assert "Carry out a recipe" in page
    assert "max_drop_points" in page


def test_the_architecture_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {file.parent for end in ("py", "yaml") for file in ROOT.glob(f"pipeline/*/*.{end}")}
    unnamed = {room.name for room in rooms if f"`{room.name}/`" not in page}
    assert not unnamed
