"""The chip's model: what it stores, when its data come, and that it sees each broken rule."""

import pytest

from ..support.sdram import Chip, chip

READ, WRITE, ACTIVE, PRECHARGE, REFRESH, MODE, STOP = 5, 4, 3, 2, 1, 0, 6
ALL = 1 << 10
Step = tuple[int, int, int, int]  # command, bank, address, cycles after the one before


def begun(mode: int = 0x22, period_ps: int = 10_000, **others: int) -> Chip:
    """A chip after its initialization: CAS latency 2, bursts of 4 words."""
    found = chip(period_ps, power_up=0, **others)
    cycles = -(-70_000 // period_ps)
    found.tick(PRECHARGE, address=ALL)
    for _ in range(2):
        found.tick(REFRESH, cycles=cycles)
    found.tick(MODE, address=mode, cycles=cycles)
    found.tick(cycles=4)
    assert found.text == ""
    return found


def play(found: Chip, steps: list[Step]) -> str:
    for command, bank, address, cycles in steps:
        found.tick(command, bank, address, cycles=cycles, dqm=3)
    return found.text


# The steps before, the last step, and the cycles of 10 ns that must lie between.
SPACED: dict[str, tuple[list[Step], tuple[int, int, int], int]] = {
    "tRCD of bank 1": ([(ACTIVE, 1, 5, 1)], (READ, 1, 0), 3),
    "tRP of bank 2": ([(ACTIVE, 2, 5, 1), (PRECHARGE, 2, 0, 9)], (ACTIVE, 2, 6), 3),
    "tRP of bank 3": ([(ACTIVE, 3, 5, 1), (PRECHARGE, 3, 0, 5)], (REFRESH, 0, 0), 3),
    "tRP of bank 0": ([(ACTIVE, 0, 5, 1), (PRECHARGE, 0, 0, 9)], (MODE, 0, 0x22), 3),
    "tRAS of bank 0": ([(ACTIVE, 0, 5, 1)], (PRECHARGE, 0, 0), 5),
    "tRRD of bank 1": ([(ACTIVE, 0, 5, 1)], (ACTIVE, 1, 5), 2),
    "tRFC": ([(REFRESH, 0, 0, 1)], (ACTIVE, 0, 5), 7),
    "tWR of bank 0": ([(ACTIVE, 0, 5, 1), (WRITE, 0, 0, 5)], (PRECHARGE, 0, ALL), 5),
    "PRECHARGE of bank 0 cuts a read": ([(ACTIVE, 0, 5, 1), (READ, 0, 0, 5)], (PRECHARGE, 0, 0), 4),
}


@pytest.mark.parametrize("name", SPACED)
def test_sees_commands_too_close(name: str):
    """A cycle less than the rule is a violation; as many as it asks for are none."""
    before, (command, bank, address), cycles = SPACED[name]
    assert play(begun(), [*before, (command, bank, address, cycles)]) == ""
    text = play(begun(wr_cycles=1), [*before, (command, bank, address, cycles - 1)])
    assert name in text
    assert text.count("\n") == 1


def test_sees_a_row_cycle_that_is_too_short():
    steps = [(ACTIVE, 0, 5, 1), (PRECHARGE, 0, 0, 5), (ACTIVE, 0, 6, 3)]
    assert play(begun(rc=80_000), steps) == ""
    assert "tRC of bank 0: 80000 ps instead of 80001" in play(begun(rc=80_001), steps)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("mrd", [(MODE, 0, 0x22, 1), (ACTIVE, 0, 5, 2)]),
        ("wr", [(ACTIVE, 0, 5, 1), (WRITE, 0, 0, 5), (PRECHARGE, 0, ALL, 5)]),
    ],
)
def test_sees_both_the_time_and_the_cycles(name: str, steps: list[Step]):
    """Two cycles of 10 ns: as many as a limit of 20 ns or 2 cycles asks for."""
    others = {name: 20_000, f"{name}_cycles": 2}
    assert play(begun(**others), steps) == ""
    assert f"t{name.upper()}" in play(begun(**others | {name: 20_001}), steps)
    text = play(begun(**others | {f"{name}_cycles": 3}), steps)
    assert f"t{name.upper()}: 2 cycles instead of 3" in text


WRONG: dict[str, list[Step]] = {
    "ACTIVE of bank 2, which is open": [(ACTIVE, 2, 5, 1), (ACTIVE, 2, 5, 9)],
    "READ of bank 1, which is closed": [(READ, 1, 0, 1)],
    "WRITE of bank 1, which is closed": [(ACTIVE, 0, 0, 1), (WRITE, 1, 0, 2)],
    "AUTO REFRESH while bank 3 is open": [(ACTIVE, 3, 5, 1), (REFRESH, 0, 0, 9)],
    "LOAD MODE REGISTER while bank 0 is open": [(ACTIVE, 0, 5, 1), (MODE, 0, 0x22, 9)],
    "auto precharge is not modelled": [(ACTIVE, 0, 5, 1), (READ, 0, ALL, 3)],
    "READ of column 512, and there are 512": [(ACTIVE, 0, 5, 1), (READ, 0, 512, 3)],
    "CAS latency 1": [(MODE, 0, 0x12, 1)],
    "burst length code 7 is not modelled": [(MODE, 0, 0x27, 1)],
    "mode 0x2a is not modelled": [(MODE, 0, 0x2A, 1)],
    "BURST STOP is not modelled": [(STOP, 0, 0, 1)],
    "PRECHARGE of bank 0 during a write": [
        (ACTIVE, 0, 5, 1), (WRITE, 0, 0, 9), (PRECHARGE, 0, 0, 2),
    ],
    "a row of bank 1 was open too long": [(ACTIVE, 1, 5, 1), (PRECHARGE, 1, 0, 10_001)],
    "refreshes are overdue": [(7, 0, 0, 8 * 782)],
    "CKE is low": [(7 + 16, 0, 0, 1)],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_sees_what_is_wrong_in_itself(name: str):
    assert name in play(begun(), WRONG[name])


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([(PRECHARGE, 0, ALL, 19_999)], "before the power-up wait is over"),
        ([(PRECHARGE, 0, 0, 20_001)], "first command is not PRECHARGE ALL"),
        ([(REFRESH, 0, 0, 20_001)], "first command is not PRECHARGE ALL"),
        (
            [(PRECHARGE, 0, ALL, 20_001), (REFRESH, 0, 0, 3), (MODE, 0, 0x22, 7)],
            "after 1 refreshes instead of 2",
        ),
        ([(PRECHARGE, 0, ALL, 20_001), (ACTIVE, 0, 0, 2)], "before the initialization is complete"),
    ],
)
def test_sees_a_wrong_initialization(steps: list[Step], sentence: str):
    assert sentence in play(chip(), steps)


def test_a_right_initialization_is_right():
    steps = [
        (PRECHARGE, 0, ALL, 20_001),
        (REFRESH, 0, 0, 3),
        (REFRESH, 0, 0, 7),
        (MODE, 0, 0x22, 7),
    ]
    assert play(chip(), [*steps, (ACTIVE, 0, 0, 2)]) == ""


def test_sees_a_clock_that_is_too_fast():
    assert begun(0x32, 7_500).text == ""
    fast = begun(0x32, 7_500)
    fast.tick(MODE, address=0x22)
    fast.tick()
    assert "clock period 7500 ps is too short for CAS latency 2" in fast.text
    fast = begun(0x32, 7_500)
    fast.period_ps = 6_999
    fast.tick()
    assert "6999 ps is too short for CAS latency 3" in fast.text


def test_refreshes_in_time_are_enough():
    found = begun()
    for _ in range(500):
        found.tick(REFRESH, cycles=781)
    assert found.text == ""
    found = begun()
    for _ in range(500):
        found.tick(REFRESH, cycles=800)
    assert "9 refreshes are overdue" in found.text or "8 refreshes are overdue" in found.text


def test_sees_a_row_that_waited_too_long_although_the_rest_is_in_time():
    """Refreshes far ahead of time, then a pause: no debt, but rows wait 64 ms and more."""
    found = begun(refreshes=16, refresh_period=16 * 1_000_000, refreshes_late=100)
    for cycles in (*[100] * 16, *[110] * 15, 100):
        found.tick(REFRESH, cycles=cycles)
    assert "a row was refreshed after 1 us" not in found.text
    found.tick(REFRESH, cycles=300)
    assert found.text.count("a row was refreshed after") >= 1


@pytest.mark.parametrize(("cas", "length"), [(2, 4), (3, 4), (2, 2), (3, 2), (3, 8), (2, 1)])
def test_data_come_when_they_should(cas: int, length: int):
    """Each word at the edge ``cas`` cycles after READ and on; garbage before and after."""
    found = begun(cas << 4 | (length - 1).bit_length())
    words = [0x1100 + n for n in range(8)]
    for n, word in enumerate(words):
        at = ((7 * 4 + 2) * 512 + 64 + n) * 2
        found.bytes[at : at + 2] = word.to_bytes(2, "little")
    found.tick(ACTIVE, 2, 7)
    found.tick(READ, 2, 64, cycles=3)
    seen, driven = [], []
    for _ in range(cas + length + 2):
        seen.append(found.data())  # just before the next edge
        driven.append(found.drives)
        found.tick()
    assert seen[cas - 1 : cas - 1 + length] == words[:length]
    assert driven == [cas - 1 <= n < cas - 1 + length for n in range(cas + length + 2)]
    assert not {*words[:length]} & {*seen[: cas - 1], *seen[cas - 1 + length :]}
    assert found.text == ""


def test_data_are_valid_from_the_access_time_to_the_hold_time():
    found = begun()
    found.bytes[0:4] = [0x34, 0x12, 0x78, 0x56]
    found.tick(ACTIVE, 0, 0)
    found.tick(READ, 0, 0, cycles=3)
    found.tick()
    assert [found.data(after) == 0x1234 for after in (2_499, 7_499, 7_500, 9_999)] == [
        False, False, True, True,
    ]  # fmt: skip
    found.tick()
    assert found.data(2_499) == 0x1234
    assert found.data(2_500) not in (0x1234, 0x5678)
    assert found.data(7_500) == 0x5678


def test_bursts_wrap_and_masks_keep_bytes():
    found = begun()
    found.tick(ACTIVE, 1, 9)
    found.tick(WRITE, 1, 6, cycles=3, write=0xA0A1)
    for word, mask in ((0xB0B1, 1), (0xC0C1, 2), (0xD0D1, 3)):
        found.tick(write=word, dqm=mask)
    base = ((9 * 4 + 1) * 512 + 4) * 2
    assert bytes(found.bytes[base : base + 8]).hex() == "c1000000a1a000b0"
    assert found.text == ""


def test_a_mask_hides_data_read_two_cycles_later():
    found = begun()
    found.tick(ACTIVE, 0, 0)
    found.tick(READ, 0, 0, cycles=3, dqm=0)
    found.tick(dqm=3)
    assert found.drives
    found.tick()
    assert not found.drives


def test_sees_writes_that_nobody_drives():
    found = begun()
    found.tick(ACTIVE, 0, 0)
    found.tick(WRITE, 0, 0, cycles=3, write=1)
    found.tick(dqm=3)  # masked: nothing is taken
    assert found.text == ""
    found.tick()
    assert "WRITE takes data lines that nobody drives" in found.text


@pytest.mark.parametrize(
    ("gap", "sentence"),
    [
        (5, "drives the data lines while the chip does"),
        (6, "without a cycle of rest after the chip"),
        (7, ""),
    ],
)
def test_sees_two_that_drive(gap: int, sentence: str):
    """READ with CAS latency 2 drives its fourth word until the fifth edge after it."""
    found = begun()
    found.tick(ACTIVE, 0, 0)
    found.tick(READ, 0, 0, cycles=3)
    found.tick(cycles=gap - 1)
    found.tick(WRITE, 0, 0, write=1)
    assert sentence in found.text
    assert (found.text == "") == (sentence == "")
