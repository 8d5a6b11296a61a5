"""Charts as SVG that stands in the page itself: text stays text, colours follow the theme."""
