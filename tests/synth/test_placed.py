"""Reading nextpnr's report."""

import json
import sys
from pathlib import Path

import pytest

from lightmamba.arch.amount import Amount
from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.ecp5 import KINDS
from lightmamba.hardware.synth.placed import amount_of, between_of, clocks_of, path_of, route
from lightmamba.hardware.synth.tools import Tool

# `--report` of nextpnr-ecp5 0.7 for a small design, without kinds of cells that it does not use.
REPORT = json.loads(Path(__file__).with_name("report-ecp5.json").read_text())


def test_cells():
    assert amount_of(REPORT, KINDS, "used") == Amount(lut=85, ff=122, dsp=0, bram18=1)
    assert amount_of(REPORT, KINDS, "available") == Amount(
        lut=83_640, ff=83_640, dsp=156, bram18=208
    )


def test_frequency_and_path_agree():
    path = path_of(REPORT)
    (clock,) = clocks_of(REPORT)
    assert clock.fmax_mhz == pytest.approx(136.15, abs=0.01)
    assert path.ns == pytest.approx(1000 / clock.fmax_mhz, rel=1e-3)
    assert len(path.cells) == 5
    assert path.cells[0] == "clk-to-q 5.83 ns machine.units.store.storage.0.0.DOB16"
    assert path.cells[-1] == "setup 0.00 ns level0[10].DI"


def test_a_path_from_a_pin_is_none():
    pin = {"from": "<async>", "to": "posedge clk", "path": [REPORT["critical_paths"][0]["path"][0]]}
    assert path_of({"critical_paths": [pin, *REPORT["critical_paths"]]}) == path_of(REPORT)
    assert path_of({"critical_paths": [pin]}).cells == ()


def test_a_run_that_fails_says_how_far_it_came(tmp_path):
    (tmp_path / "fails.py").write_text(
        "import sys\nopen('nextpnr.log', 'w').write('Info: Routing..\\n 7 arcs remain\\n')\n"
        "sys.exit('ERROR: no way')\n"
    )
    tool = Tool((sys.executable, "fails.py"), "nextpnr 9")
    with pytest.raises(InputError, match=r"ERROR: no way; the last line of its log: 7 arcs remain"):
        route(tool, [], tmp_path, 60.0, goal_mhz=100.0, seed=1)


def test_goal_and_seed_are_given(tmp_path):
    (tmp_path / "works.py").write_text(
        "import json, sys\njson.dump({'given': sys.argv}, open('report.json', 'w'))\n"
    )
    tool = Tool((sys.executable, "works.py"), "nextpnr 9")
    given = route(tool, ["--85k"], tmp_path, 60.0, goal_mhz=62.5, seed=4)["given"]
    assert given[:2] == ["works.py", "--85k"]
    assert given[given.index("--freq") + 1] == "62.5"
    assert given[given.index("--seed") + 1] == "4"


def test_clocks_have_the_names_of_the_design():
    ways = [
        ("posedge $glbnet$pll_out", "posedge $glbnet$pll_out", [9.0]),
        ("<async>", "posedge $glbnet$pll_out", [9.0]),
        ("posedge $glbnet$clk$TRELLIS_IO_IN", "negedge $glbnet$pll_out", [1.5, 0.25]),
    ]
    report = {
        "fmax": {
            "$glbnet$clk$TRELLIS_IO_IN": {"achieved": 71.5, "constraint": 50.0},
            "$glbnet$pll_out": {"achieved": 99.0, "constraint": 100.0},
        },
        "critical_paths": [
            {"from": begin, "to": end, "path": [{"delay": ns} for ns in delays]}
            for begin, end, delays in ways
        ],
    }
    assert [(c.name, c.met) for c in clocks_of(report)] == [("clk", True), ("pll_out", False)]
    assert between_of(report) == {("clk", "pll_out"): 1.75}
