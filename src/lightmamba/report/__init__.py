"""One self-contained page for a build or a shape."""
