"""State machines of sequences on simulated hardware with attention, for minutes each."""

import pytest
from hypothesis import Phase, settings

from tests.host.test_states import simulated
from tests.support import mixed
from tests.support.tools import needs_verilator

pytestmark = [needs_verilator, pytest.mark.slow]
LONG = settings(max_examples=20, stateful_step_count=50, phases=tuple(Phase))


def test_a_simulated_machine_with_attention(tmp_path):
    """Three sequences have a whole one's memory, in four segments."""
    path = mixed.compiled(
        tmp_path, mixed.MIXED, segment=64, hardware=mixed.hardware(), context=256, sequences=1
    )
    assert simulated(path, 62, LONG)["pool full"] > 1


def test_a_simulated_machine_of_several_tokens_with_attention(tmp_path):
    path = mixed.compiled(tmp_path, mixed.MIXED, "tiny-t4", segment=64, context=256, sequences=1)
    seen = simulated(path, 62, LONG)
    for what in ("accepted", "pool full", "later segment", "refused over undecided tokens"):
        assert seen[what] > 20, what
