"""What pictures are made of: scales, labels, roofs, strips."""

import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lightmamba.report.drawing import Drawing
from lightmamba.report.figures import bytes_of, figure, percent, plain, signed, spread, whole
from lightmamba.report.labels import place
from lightmamba.report.paper import paper
from lightmamba.report.ranges import outliers
from lightmamba.report.roofline import points, roofs
from lightmamba.report.scale import Scale
from lightmamba.report.timeline import timeline
from lightmamba.sim import Strip
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


@given(st.floats(1e-6, 1e12), st.floats(1.01, 1e6), st.booleans(), st.integers(3, 9))
def test_ticks_are_round_within_the_ends_and_few(low, ratio, log, most):
    scale = Scale(low, low * ratio, 0, 100, log)
    ticks = scale.ticks(most)
    assert 2 <= len(ticks) <= max(most + 1, 5)
    assert all(low * (1 - 1e-9) <= t <= low * ratio * (1 + 1e-9) for t in ticks)
    assert ticks == sorted(set(ticks))
    places = [scale(t) for t in ticks]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 100


def test_places_on_an_axis():
    even, ratios = Scale(0, 10, 100, 0), Scale(1, 100, 0, 200, log=True)
    assert (even(0), even(2.5), even(10), even(99)) == (100, 75, 0, 0)
    assert ratios(10) == pytest.approx(100)
    assert Scale(0, 7, 0, 1).ticks() == [0, 2, 4, 6]
    assert Scale(0.9, 45, 0, 1, log=True).ticks() == [1, 2, 5, 10, 20]
    with pytest.raises(ValueError, match="has no length"):
        Scale(3, 3, 0, 1)


@example([(640, 100), (700, 100)])  # the second has room at the left only, where the first is
@given(st.lists(st.tuples(st.integers(80, 600), st.integers(40, 280)), min_size=1, max_size=6,
                unique_by=lambda p: (p[0] // 110, p[1] // 60)))  # fmt: skip
def test_labels_do_not_cover_each_other(spots):
    labels = place(spots, [f"name {n}" for n in range(len(spots))], (0, 0, 720, 320))
    boxes = [label.box for label in labels]
    for n, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= 720
        for a, b, c, d in boxes[:n]:
            assert min(right, c) <= max(left, a) or min(bottom, d) <= max(top, b)


def test_roofs_stand_where_the_busiest_channel_is():
    report = least()
    e = report.estimate
    total, clock = sum(e.channel_bytes.values()), 300e6
    assert total == 32 * 42_123_456 + 88_765_432
    hbm = 42_123_456 / 13.28125e9  # seconds; each DDR4 needs 44.4 MB / 18 GB/s, which is less
    assert roofs(report)["attainable"] == pytest.approx(total / hbm)
    assert roofs(report)["nominal"] == pytest.approx(total / (42_123_456 / 14.375e9))
    speed = roofs(report)["attainable"] / total
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


def numbers(svg, kind):
    """Places along the axis of texts of a kind, with their words."""
    found = re.findall(rf'<text class="{kind}" x="([\d.]+)"[^>]*>([^<]*)', svg)
    return [(float(x), words) for x, words in found]


def test_a_strip_shows_shares_as_heights_and_marks_in_their_places():
    shares = (0.0, 1.0, 0.5, 0.5)
    busy = {"gate": shares, "unseen": (0.0,) * 4}
    svg = timeline(Strip(100, 25, busy, {"in_proj": 100, "out_proj": 150}), "One")
    assert "unseen" not in svg
    path = re.search(r'class="busy" d="M([^"]*)"', svg)
    assert path is not None
    steps = [tuple(map(float, p.split())) for p in path[1].removesuffix(" Z").split(" L")]
    heights = {round(steps[0][1] - y, 1) for _, y in steps}
    assert heights == {0, 18, 9}  # empty, full, half
    left, right = steps[0][0], steps[-1][0]
    (first, _), (second, _) = sorted(numbers(svg, "beginname"))
    assert first - left == pytest.approx(3, abs=0.1)
    assert second - left == pytest.approx((right - left) / 2 + 3, abs=0.1)


def test_names_of_many_layers_do_not_cover_each_other():
    marks = {f"layer {n}": 15_000 * n for n in range(64)} | {"head": 960_000}
    svg = timeline(Strip(0, 2_801, {"gate": (0.5,) * 350}, marks), "One")
    found = sorted(numbers(svg, "beginname"))
    assert {"layer 0", "head"} <= {words for _, words in found}
    assert len(found) >= 5
    starts = [x for x, words in found if words != "head"]
    assert all(b - a > 45 for a, b in pairwise(starts))


def test_a_panel_keeps_the_largest_of_the_channels_that_share_a_column():
    found = full().outliers
    assert found is not None
    one = np.ones(5120)
    one[4711] = 42.0
    panel = replace(found.panels["in_proj"][0], largest=one)
    svg = outliers(replace(found, panels={"in_proj": (panel, panel)}))
    assert "peak 42 × rms" in svg
    path = re.search(r'class="largest" d="M([^"]*)"', svg)
    assert path is not None
    ys = [float(p.split()[1]) for p in path[1].split(" L")]
    assert ys.index(min(ys)) == pytest.approx(4711 / 5120 * len(ys), abs=1)


def test_an_unknown_mark_is_refused():
    with pytest.raises(ValueError, match="there is no mark for 'guessed'"):
        Drawing(10, "x", "x").mark("guessed", 1, 1)
