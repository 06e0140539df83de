"""Build the simulators that the quick tests share, on all processors, before the tests begin.

    python -m tests.simulators

A test that built one would keep one worker for a minute, and others would wait for it.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import tests.conftest
from lightmamba.device.sim.device import machine_simulator
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.soc.sdram import SdramController
from lightmamba.numerics.model_formats import Formats
from tests.sim import copier, machines
from tests.support import mixed, sdram

__all__ = ["BUILDERS", "main"]


def four_tokens() -> None:
    """Several tokens in a pass."""
    machine_simulator(machines.HARDWARE, jobs=1)


def three_kinds() -> None:
    """Mamba2, attention and MLP layers."""
    machine_simulator(mixed.hardware(), jobs=1)


def experts() -> None:
    """Mamba2, attention and layers of experts."""
    machine_simulator(mixed.with_experts(), jobs=1)


def one_token() -> None:
    """The machine of nearly all tests."""
    machine_simulator(plan(machines.CONFIG, Formats(), machines.TARGET), jobs=1)


def one_row_a_cycle() -> None:
    """MLPs whose rows leave one by one."""
    found = plan(mixed.LONG_STREAM, Formats(), mixed.target_of(segment=64))
    machine_simulator(found, jobs=1)


def memory(bits: int, mhz: float) -> None:
    """The SDRAM's controller."""
    sdram.built(SdramController(bits, mhz))


# The longest first.
BUILDERS: tuple[Callable[[], object], ...] = (
    four_tokens, experts, three_kinds, one_token, one_row_a_cycle, copier.build,
    *(partial(memory, *each) for each in ((64, 100.0), (32, 100.0), (64, 133.0), (64, 50.0))),
)  # fmt: skip


def main() -> None:
    """Build all of them, each with one compiler at a time."""
    assert os.environ["XDG_CACHE_HOME"] == tests.conftest.CACHE
    with ProcessPoolExecutor() as pool:
        for done in [pool.submit(build) for build in BUILDERS]:
            done.result()


if __name__ == "__main__":
    main()
