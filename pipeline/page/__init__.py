"""One page to look at: what was measured, whether to believe it, and what it cost.

    page = render(gather([Path("runs/demo")]))

A page is one HTML file without scripts, that loads nothing. It is made of report files, and where
they lie in the folder of a run, of its bundle, too: names of classes, pictures of samples, what
each pass did.
"""

from edgeticket.pipeline.page.render import is_page, render
from edgeticket.pipeline.page.sources import Measured, Sources, compose, gather, with_bundle

__all__ = ["Measured", "Sources", "compose", "gather", "is_page", "render", "with_bundle"]
