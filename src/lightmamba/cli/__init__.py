"""The command line: one verb per file, each imported only when it is called."""

from lightmamba.cli.main import main

__all__ = ["main"]
