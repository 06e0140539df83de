"""Pictures, drawn with matplotlib: PNG files, and SVG for pages."""
