"""One self-contained page for a build or a shape."""

from lightmamba.study.report.contents import Made, Report, Subject
from lightmamba.study.report.page import missing, render
from lightmamba.study.report.paper import paper

__all__ = ["Made", "Report", "Subject", "missing", "paper", "render"]
