"""The wrapper's ports against AXI slaves and a host that are not ours: cocotbext-axi."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ..rtl.test_axi_cocotb import missing


def results(runner: Any, build: Path, package: Path, folder: Path) -> tuple[int, int, str]:
    """Tests of ``axi_cocotb.py`` that were run on a package, how many failed, and what was said."""
    from cocotb_tools.check_results import get_results

    folder.mkdir()
    with contextlib.suppress(SystemExit):  # the runner's way to say that some failed
        runner.test(
            test_module="tests.package.axi_cocotb", hdl_toplevel="lightmamba",
            build_dir=build, test_dir=folder, log_file=folder / "run.log",
            results_xml=str(folder / "results.xml"),
            extra_env={"LIGHTMAMBA_PACKAGE": str(package)},
        )  # fmt: skip
    count, failed = get_results(folder / "results.xml")
    return count, failed, (folder / "run.log").read_text()[-6000:]


@pytest.mark.slow
def test_tokens_through_axi_ram(packages, tmp_path):
    """Both tests pass; with one wrong address in the map, both fail."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    from cocotb_tools.runner import get_runner

    package = packages["u280"].path
    runner = get_runner("verilator")
    runner.build(
        sources=[package / "rtl/lightmamba.v", package / "rtl/wrapper.v"],
        hdl_toplevel="lightmamba", build_dir=tmp_path / "build",
        build_args=["-Wno-fatal", "-Wno-lint", "-CFLAGS", "-O0", "--output-split", "20000"],
        log_file=tmp_path / "build.log",
    )  # fmt: skip
    count, failed, log = results(runner, tmp_path / "build", package, tmp_path / "right")
    assert (count, failed) == (2, 0), log

    broken = tmp_path / "broken"
    shutil.copytree(package, broken)
    said = json.loads((package / "map.json").read_text())
    for one in said["relocation"]:
        if one["register"] == "gate_params_base":
            one["offset"] += 64
    (broken / "map.json").write_text(json.dumps(said))
    count, failed, log = results(runner, tmp_path / "build", broken, tmp_path / "wrong")
    assert (count, failed) == (2, 2), log
