"""Pages in a real browser: nothing in the console, nothing asked of the network, and axe-core finds
nothing. Runs where Chromium is; axe where AXE_JS names its axe.min.js (npm install axe-core)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from page_fixtures import Page, four_reports, write_reports, write_run

from edgeticket.pipeline.page.render import render
from edgeticket.pipeline.page.sources import gather

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("AXE_JS")
HOSTILE = '<script>document.title="pwned"</script>"><img src=x onerror=\'document.title="pwned"\'>'

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


def load(file: Path, *, dark: bool = False) -> tuple[str, str]:
    """A page -> the document that the browser makes of it, and what it says."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--enable-logging=stderr", "--virtual-time-budget=20000"),
            f"--user-data-dir={file.parent / 'profile'}",
            *(["--force-dark-mode"] if dark else []),
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, done.stderr


@pytest.fixture(params=["run", "fleet", "hostile"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "run":
        sources = gather([write_run(tmp_path / "run")])
    elif request.param == "hostile":
        labels = [HOSTILE + str(i) for i in range(7)]
        sources = gather([write_run(tmp_path / "run", labels=labels, board=HOSTILE)])
    else:
        for i, board in enumerate(("Pi 4", "Pi 5", "Orin")):
            write_reports(tmp_path / "fleet", four_reports(session=str(i) * 32, board=board), board)
        sources = gather([tmp_path / "fleet"])
    file = tmp_path / "page.html"
    file.write_bytes(render(sources))
    return file


def test_it_opens_without_a_word_and_asks_for_nothing(page: Path) -> None:
    dom, said = load(page)
    assert not re.findall(r".*CONSOLE.*", said)
    assert "pwned" not in re.findall(r"<title>[^<]*", dom)[0]
    before, after = (Page(text.encode()) for text in (page.read_text(), dom))
    assert [e.tag for e in after.all("img")] == [e.tag for e in before.all("img")]
    assert after.all("script") == []
    assert after.all("h1")[0].text == "tiny"


def test_a_script_would_not_run(page: Path) -> None:
    """The page's policy forbids it: the console says so."""
    text = page.read_text().replace("</main>", "<script>document.title='ran'</script></main>")
    page.write_text(text)
    dom, said = load(page)
    assert "<title>ran" not in dom
    assert "Content Security Policy" in said


@pytest.mark.skipif(AXE is None, reason="AXE_JS names no axe.min.js")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(page: Path, dark: bool) -> None:
    assert AXE is not None
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    text = text.replace("<details>", "<details open>")
    script = (
        f"<script>{Path(AXE).read_text().replace('</script>', '')}</script>"
        "<script>axe.run(document).then(r => { const e = document.createElement('pre');"
        "e.id = 'found'; e.textContent = JSON.stringify(r.violations.map(v => [v.id, v.impact,"
        "v.nodes.map(n => n.html)])); document.body.append(e); })</script>"
    )
    page.write_text(text.replace("</body>", f"{script}</body>"))
    dom, _ = load(page, dark=dark)
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None
    assert json.loads(found.group(1)) == []
