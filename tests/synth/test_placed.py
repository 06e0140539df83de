"""What is read from nextpnr's report."""

import json
import sys
from pathlib import Path

import pytest

from lightmamba.arch.amount import Amount
from lightmamba.errors import InputError
from lightmamba.synth.gowin import KINDS
from lightmamba.synth.placed import amount_of, fmax_of, path_of, route
from lightmamba.synth.tools import Tool

# Of a few registers, memories and products: `--report` of nextpnr-himbaechel 0.11.1, less the
# kinds of cells that are not read here.
REPORT = json.loads(Path(__file__).with_name("report-gowin.json").read_text())


def test_cells():
    assert amount_of(REPORT, KINDS, "used") == Amount(lut=378, ff=323, dsp=1, bram18=4)
    assert amount_of(REPORT, KINDS, "available") == Amount(
        lut=138_240, ff=138_240, dsp=298, bram18=340
    )


def test_frequency_and_path_agree():
    path = path_of(REPORT)
    assert fmax_of(REPORT) == pytest.approx(217.91, abs=0.01)
    assert path.ns == pytest.approx(1000 / fmax_of(REPORT), rel=1e-3)
    assert len(path.cells) == 21
    assert path.cells[0] == "clk-to-q 0.23 ns machine.y[0].Q"
    assert path.cells[-1] == "setup 0.04 ns level0[160].D"


def test_a_path_from_a_pin_is_none():
    pin = {"from": "<async>", "to": "posedge clk", "path": [REPORT["critical_paths"][0]["path"][0]]}
    assert path_of({"critical_paths": [pin, *REPORT["critical_paths"]]}) == path_of(REPORT)
    assert path_of({"critical_paths": [pin]}).cells == ()


@pytest.mark.parametrize(
    ("clocks", "said"), [({}, "found none$"), ({"a": {}, "b": {}}, "found a, b$")]
)
def test_one_clock_is_expected(clocks, said):
    with pytest.raises(InputError, match=said):
        fmax_of({"fmax": clocks})


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
