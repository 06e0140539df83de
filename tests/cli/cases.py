"""The command line run in this process, and what it said."""

import json
import shutil
from dataclasses import dataclass
from typing import Any

import pytest

from lightmamba.cli import main
from lightmamba.cli.arguments import VERBS

__all__ = ["Said", "needs_verilator", "say"]

needs_verilator = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
)


@dataclass(frozen=True)
class Said:
    """Exit status, stdout and stderr of one command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout, of a command that went well and had nothing to complain of."""
        assert self.status == 0, self.err
        value = json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert isinstance(value, dict)
        assert self.out.endswith("}\n")
        assert "Traceback" not in self.err
        return value

    @property
    def refusal(self) -> str:
        """The one line on stderr, of a command that refused its input and printed nothing else."""
        assert self.status == 2, f"status {self.status}: {self.out}{self.err}"
        assert self.out == ""
        assert self.err.startswith("lightmamba")
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        return self.err


def say(capsys: pytest.CaptureFixture[str], *arguments: object) -> Said:
    """Run ``lightmamba`` with these arguments, on one thread unless they say otherwise."""
    given = [str(argument) for argument in arguments]
    if given and given[0] in VERBS and "--threads" not in given:
        given += ["--threads", "1"]
    capsys.readouterr()
    try:
        status = main(given)
    except SystemExit as end:  # of argparse
        status = end.code if isinstance(end.code, int) else 1
    out, err = capsys.readouterr()
    return Said(status, out, err)
