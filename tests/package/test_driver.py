"""The driver of a package on a small board: it needs none of the server's packages."""

import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIRED = (
    resources.files("lightmamba.device.package") / "boards/common/driver--requirements.txt.j2"
)

SCRIPT = """
import sys
for name in {blocked}:
    sys.modules[name] = None
import lightmamba.device.boards.selftest, lightmamba.device.boards.uio, lightmamba.device.boards.xrt
from lightmamba.cli import main
raise SystemExit(main(["generate", "bundled", "--prompt", "It was", "--max-tokens", "2"]))
"""


def names(lines):
    return {
        line.partition(">=")[0].partition(";")[0] for line in lines if line[:1] not in ("#", "")
    }


def test_the_driver_runs_with_its_own_requirements():
    own = names(REQUIRED.read_text().splitlines())
    every = names(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    assert own < every
    others = sorted(name.replace("-", "_") for name in every - own)
    assert {"fastapi", "uvicorn"} <= set(others)
    command = [sys.executable, "-c", SCRIPT.format(blocked=others)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_versions_are_those_of_the_project():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for line in REQUIRED.read_text().splitlines():
        assert line.startswith("#") or line in listed
