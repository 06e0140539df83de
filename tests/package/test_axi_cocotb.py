"""The wrapper's ports against AXI slaves and a host that are not ours: cocotbext-axi."""

import contextlib
from pathlib import Path

import pytest

from ..rtl.test_axi_cocotb import missing

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("board", ["u280", "vck190"])
def test_tokens_through_axi_ram(packages, tmp_path, board):
    """Every test of ``axi_cocotb.py`` passes, and both were run."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    package = packages[board].path
    runner = get_runner("verilator")
    runner.build(
        sources=[package / "rtl/lightmamba.v", package / "rtl/wrapper.v"],
        hdl_toplevel="lightmamba", build_dir=tmp_path / "build",
        build_args=["-Wno-fatal", "-Wno-lint", "-CFLAGS", "-O0", "--output-split", "20000"],
        log_file=tmp_path / "build.log",
    )  # fmt: skip
    with contextlib.suppress(SystemExit):  # the runner's way to say that some failed
        runner.test(
            test_module="tests.package.axi_cocotb", hdl_toplevel="lightmamba",
            build_dir=tmp_path / "build", test_dir=tmp_path, log_file=tmp_path / "run.log",
            extra_env={"LIGHTMAMBA_PACKAGE": str(package)},
        )  # fmt: skip
    (results,) = tmp_path.rglob("*.result.xml")
    log = (tmp_path / "run.log").read_text()
    assert get_results(results) == (2, 0), log[-6000:]
