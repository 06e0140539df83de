"""One self-contained page for a build or a shape."""

from lightmamba.report.contents import Made, Report, Subject
from lightmamba.report.page import missing, render
from lightmamba.report.paper import paper

__all__ = ["Made", "Report", "Subject", "missing", "paper", "render"]
