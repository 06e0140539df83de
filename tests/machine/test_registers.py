"""The map of the host's registers."""

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.registers import named, offsets, registers

ALONE = ("mamba2",)


def test_names_are_there_once_and_registers_do_not_overlap(both):
    for kinds in (ALONE, both.kinds):
        found = registers(kinds)
        assert len(named(kinds)) == len(found)
        at = 0
        for register in found:
            assert offsets(kinds)[register.name] == at
            at += 4 * register.count * (2 if register.wide else 1)
        assert at <= 1 << 12


def test_no_machine_has_more_than_the_map_has_room_for():
    largest = ArchConfig(tokens=8, lanes=64, state_ports=2)
    assert all(r.counted(largest) <= r.count for r in registers(ALONE))


def test_each_client_has_registers_of_its_own(both):
    more = {r.name: r for r in registers(both.kinds) if r.name not in named(ALONE)}
    assert list(more) == ["history_layers", "history_stride", "history_words", "slot_history"]
    assert [register.counted(both) for register in more.values()] == [1, 1, 1, both.tokens]
    assert [name for name, register in more.items() if register.wide] == ["slot_history"]


def test_registers_of_a_record_are_only_where_tokens_may_be_undecided():
    found = named(ALONE)
    for name in ("record", "record_read", "record_write", "record_layers", "b_channels"):
        assert [found[name].counted(ArchConfig(tokens=n)) for n in (1, 2)] == [0, 1], name
