"""The site takes in two pages that lie beside docs/, and mends the links between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
TAKEN = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those of docs/."""
    for name, uri in TAKEN.items():
        if uri != "index.md":
            text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
            files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links out of docs/ lead to where the site has the page."""
    for name, uri in TAKEN.items():
        markdown = markdown.replace(f"](../{name}", f"]({uri}").replace(f"]({name}", f"]({uri}")
    return markdown
