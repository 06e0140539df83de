"""Random work on simulated machines: all of it is done, and a difference ends it."""

import pytest
from bench import soak
from bench.identity import Random

from lightmamba.device.sim import open_golden
from lightmamba.engine import Engine
from tests.sim.machines import CONFIG
from tests.support.tools import needs_verilator

pytestmark = needs_verilator


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return soak.made()["Mamba2"].built(tmp_path_factory.mktemp("soak"))


def test_all_is_done_in_a_turn(path, monkeypatch):
    monkeypatch.setattr(soak, "OFTEN", dict.fromkeys(soak.OFTEN, 0.08))
    monkeypatch.setattr(soak, "LATE", 2)
    opened = open_golden(path, stalls=0.2, sequences=soak.SEQUENCES)
    with opened.device:
        turn = soak.Turn(opened, 5)
        for _ in range(100):
            turn.step()
            assert not turn.difference
            if all(turn.done[name] for name in soak.COUNTED):
                break
    assert all(turn.done[name] for name in soak.COUNTED), turn.done
    assert turn.done["late"] < turn.done["tokens"]


def test_a_difference_ends_it(path, monkeypatch):
    """The engine has other weights than the machine."""
    other = Engine(Random(CONFIG, seed=1).made())
    monkeypatch.setattr("lightmamba.device.sim.opened.Engine", lambda model: other)
    with pytest.raises(SystemExit, match=r'here, .* there(.|\n)*bench.soak "Mamba2" --turn 3'):
        soak.take("Mamba2", path, 3, 60)


def test_counts_begin_anew_on_other_hardware(monkeypatch):
    row = {
        "machine": "Mamba2",
        "turns": 4,
        **dict.fromkeys(soak.COUNTED, 7),
        "made": {"hardware": "a"},
    }
    monkeypatch.setattr(soak, "rows", lambda name: [row])
    assert soak.so_far("Mamba2", "a") == {"turns": 4, **dict.fromkeys(soak.COUNTED, 7)}
    assert not any(soak.so_far("Mamba2", "b").values())
