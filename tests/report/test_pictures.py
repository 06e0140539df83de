"""Figures of a page as text, and what its pictures are drawn from."""

import math

import pytest

from lightmamba.study.report.figures import bytes_of, figure, percent, plain, signed, spread, whole
from lightmamba.study.report.paper import paper
from lightmamba.study.report.pictures import points, roofs
from tests.report.cases import full, least, subject


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (figure(0.0), "0"), (figure(12345.6), "12,346"), (figure(3.14159), "3.14"),
        (figure(0.00012345), "0.000123"), (figure(-2.5, 2), "−2.5"), (figure(99.96), "100.0"),
        (figure(math.inf), "∞"), (plain(0.371), "0.371"), (plain(107000.0), "107,000"),
        (whole(1234567.6), "1,234,568"), (percent(0.0123), "1.2\u202f%"),
        (bytes_of(999), "999\u202fB"), (bytes_of(1_434_000_000), "1.43\u202fGB"),
        (bytes_of(1_000_000, 1), "1\u202fMB"), (signed(-0.001), "0.00"), (signed(-1.5), "−1.50"),
        (signed(0.25), "+0.25"), (spread(0.063, 0.095, 0.159), "0.095 (0.063–0.16)"),
    ],
)  # fmt: skip
def test_figures(said, words):
    assert said == words


def test_roofs_stand_where_the_busiest_channel_is():
    report = least()
    e = report.estimate
    total, clock = sum(e.channel_bytes.values()), 300e6
    assert total == 32 * 42_123_456 + 88_765_432
    hbm = 42_123_456 / 13.28125e9  # seconds; each DDR4 needs 44.4 MB / 18 GB/s, which is less
    rates = {roof.kind: roof.bytes_per_second for roof in roofs(report)}
    assert rates["attainable"] == pytest.approx(total / hbm)
    assert rates["nominal"] == pytest.approx(total / (42_123_456 / 14.375e9))
    speed = rates["attainable"] / total
    assert speed == pytest.approx(clock / e.bound_cycles)


def test_points_are_of_the_same_model():
    ours, *others = points(least())
    assert (ours.label, ours.origin) == ("u280, W4A4", "estimated")
    assert {p.tokens_per_second for p in others} == {93, 7.21, 3.61, 65, 138}
    assert [p.origin for p in points(least(subject("mamba2-130m")))] == ["estimated"]
    assert [p.origin for p in points(full())][:2] == ["estimated", "simulated"]


def test_the_multipliers_bound():
    """2.7 G weights, the head's twice on 4-bit multipliers, 4,096 of them at 300 MHz."""
    of = subject()
    assert of.weights == 64 * 2560 * (10_576 + 5_120) + 50_288 * 2560 == 2_700_369_920
    assert of.compute_bound == pytest.approx(300e6 * 4096 / (of.weights + 50_288 * 2560))


def test_the_papers_bytes_are_derived_as_said():
    bytes_per_token = paper().bytes_per_token("W4A4")
    assert bytes_per_token == 2_700_369_920 / 2 + 2 * 64 * 5120 * 128
    assert 1.42e9 < bytes_per_token < 1.44e9
    row = paper().of(subject().config, "vck190-paper", "W8A8")
    assert row is not None
    assert row.tokens_per_second == 3.61
