"""Charts as SVG that stands in the page itself: text stays text, colours follow the theme."""

from edgeticket.pipeline.page.charts.drawing import Chart, draw, new_figure

__all__ = ["Chart", "draw", "new_figure"]
