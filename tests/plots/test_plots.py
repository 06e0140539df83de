"""Pictures: their places, names and colors, and how they come into a page."""

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_hex

from lightmamba.common.errors import InputError
from lightmamba.study.plots.bars import energy, shares, stalls
from lightmamba.study.plots.labels import Labels
from lightmamba.study.plots.ranges import FLOOR, Panel, ranges
from lightmamba.study.plots.roofline import Point, Roof, roofline
from lightmamba.study.plots.style import COLORS, MARKS, log_axis, new, png, svg
from lightmamba.study.plots.timeline import TALL, timeline
from lightmamba.study.report.figures import spread

CSS = Path(__file__).parents[2] / "src/lightmamba/study/report/page.css"


def axes_of(figure):
    """Axes whose artists are of the kinds that these pictures draw, which types do not say."""
    return figure.axes


def words(figure):
    """Texts of a picture, with their places on paper."""
    figure.draw_without_rendering()
    return {
        text.get_text(): text.get_window_extent()
        for axes in figure.axes
        for text in axes.findobj(lambda artist: hasattr(artist, "get_text"))
        if text.get_text() and text.get_visible()
    }


def test_a_picture_of_a_page_is_its_own():
    first, second = (svg(stalls({"estimated": {"idle": 5.0}}), name, "it") for name in ("a", "b"))
    root = ElementTree.fromstring(first)
    assert root.tag == "svg"
    assert (root.get("role"), root.get("aria-label")) == ("img", "it")
    assert set(root.attrib) == {"viewBox", "role", "aria-label", "stroke-linejoin"}
    assert not re.search("xmlns|metadata|<style|#[0-9a-f]{6}|font:", first)
    assert "fill: var(--idle)" in first
    ids = [set(re.findall(r'\bid="([^"]*)"', text)) for text in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"#([\w-]+)", first)) == ids[0]
    assert svg(stalls({"estimated": {"idle": 5.0}}), "a", "it") == first  # the same each time


def test_matplotlib_keeps_its_own_style():
    before = dict(rcParams)
    svg(stalls({"x": {"idle": 1.0}}), "a", "it")
    assert dict(rcParams) == before


def test_a_dark_page_has_every_color_but_those_of_paper():
    assert len(set(COLORS.values())) == len(COLORS)  # each is replaced by its name
    dark = re.search(r"prefers-color-scheme: dark\) \{(.*?)\n\}", CSS.read_text(), re.DOTALL)
    assert dark is not None
    assert set(re.findall(r"--(\w+):", dark[1])) == set(COLORS)


def test_a_picture_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"cannot draw to .*give another place"):
        png(stalls({"x": {"idle": 1.0}}), tmp_path / "no folder" / "x.png")
    with pytest.raises(InputError, match=r"try ranges\.png"):
        png(stalls({"x": {"idle": 1.0}}), tmp_path / "x.unknown")


def test_bars_are_laid_end_to_end():
    figure = stalls({"decode": {"multiplying": 60.0, "idle": 40.0}, "batch": {"multiplying": 90.0}})
    bars = [
        (b.get_x(), b.get_width(), to_hex(b.get_facecolor())) for b in axes_of(figure)[0].patches
    ]
    assert bars == [
        (0, 60, COLORS["multiplying"]), (60, 40, COLORS["idle"]), (0, 90, COLORS["multiplying"]),
    ]  # fmt: skip
    assert {"decode", "batch", "cycles per token"} <= set(words(figure))


def test_shares_have_their_numbers():
    figure = shares(
        {"estimated": {"LUT": 0.17, "DSP": 0.034}, "published": {"LUT": 0.3, "DSP": 0.1}}
    )
    assert {"17.0 %", "3.4 %", "30.0 %", "LUT", "DSP", "of the device"} <= set(words(figure))
    tops = [bar.get_y() for bar in axes_of(figure)[0].patches]
    assert tops == sorted(tops, key=lambda y: (round(y, 0), y)) or len(set(tops)) == 4


def test_energy_has_ranges_and_the_claim():
    figure = energy({"memory": (0.031, 0.045, 0.071), "together": (0.06, 0.1, 0.16)}, 0.12, spread)
    assert {"memory", "45 (31–71)", "100 (60–160)", "the paper’s", "120"} <= set(words(figure))
    low_high = axes_of(figure)[0].lines[0].get_xdata()
    assert list(low_high) == pytest.approx([31, 71])


def test_a_panel_keeps_the_largest_of_the_channels_that_share_a_column():
    one = np.full(5120, 0.5)
    one[4711] = 42.0
    figure = ranges({"in_proj": (Panel(one, one / 2), Panel(one / 10))})
    assert "peak 42 × rms" in words(figure)
    values, edges, _ = axes_of(figure)[0].patches[1].get_data()
    assert edges[np.argmax(values)] <= 4711 < edges[np.argmax(values) + 1]
    assert sorted(set(values)) == [0.5, 42.0]
    band = axes_of(figure)[1].patches[0].get_data()
    assert (band.baseline == FLOOR).all()  # of a weight there is no median


def test_a_strip_shows_shares_as_heights_and_marks_in_their_places():
    busy = {"gate": (0.0, 1.0, 0.5, 0.5), "unseen": (0.0,) * 4}
    figure = timeline(100, 25, busy, {"in_proj": 100, "out_proj": 150})
    (axes,) = axes_of(figure)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gate"]
    values, edges, base = axes.patches[0].get_data()
    assert list(values - base) == pytest.approx([0, TALL, TALL / 2, TALL / 2])
    assert list(edges) == [100, 125, 150, 175, 200]
    assert {line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1} == {
        100, 150,
    }  # fmt: skip


def test_names_of_many_layers_do_not_cover_each_other():
    marks = {f"layer {n}": 15_000 * n for n in range(64)} | {"LM head": 960_000}
    found = words(timeline(0, 2_801, {"gate": (0.5,) * 350}, marks))
    names = {name: box for name, box in found.items() if name in marks}
    assert {"layer 0", "LM head"} <= set(names)
    assert len(names) >= 5
    boxes = sorted(names.values(), key=lambda box: box.x0)
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_names_of_points_are_apart():
    _, axes = new(4.0)
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 10)
    labels = Labels(axes)
    points = [(5, 5), (5.2, 5.1), (4.9, 4.8), (9.9, 5), (0.1, 9.9)]
    labels.keep_free(points)
    boxes = [labels.name(p, f"name {n}").get_window_extent() for n, p in enumerate(points)]
    inside = axes.get_window_extent()
    for n, box in enumerate(boxes):
        assert inside.x0 <= box.x0 <= box.x1 <= inside.x1
        assert not any(box.overlaps(other) for other in boxes[:n])


def test_points_of_one_accelerator_share_a_name():
    ours = [Point("ours", "estimated", 1.4e9, 300.0), Point("ours", "simulated", 1.4e9, 303.0)]
    roofs = [Roof("attainable", 4.4e11, "attainable 440 GB/s"), Roof("nominal", 4.6e11, "nominal")]
    figure = roofline([*ours, Point("theirs", "published", 1.4e9, 93.0)], roofs, 434.0, "busy")
    (axes,) = axes_of(figure)
    texts = [text.get_text() for text in axes.texts]
    assert sorted(texts) == ["attainable 440 GB/s", "busy", "nominal", "ours", "theirs"]
    (line,) = [x for x in axes.lines if len(x.get_xdata()) > 2 and x.get_linestyle() == "-"]
    x, y = line.get_data()
    assert x * y == pytest.approx(4.4e11)
    turned = {text.get_text(): text.get_rotation() for text in axes.texts}
    assert turned["busy"] == pytest.approx(0)
    assert 270 < turned["nominal"] < 360  # falls
    apart = [*ours[:1], Point("ours", "simulated", 0.7e9, 303.0)]
    names = [text.get_text() for text in axes_of(roofline(apart, roofs, 434.0, "busy"))[0].texts]
    assert names.count("ours") == 2


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.9, 45, [1, 2, 5, 10, 20]), (1, 1e4, [1, 10, 100, 1e3, 1e4])]
)
def test_ticks_of_ratios_are_round(low, high, expected):
    figure, axes = new(2.0)
    axes.set_xlim(low, high)
    log_axis(axes, "x", "{x:g}")
    figure.draw_without_rendering()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks == pytest.approx(expected)


def test_every_origin_has_a_mark_of_its_own():
    looks = {str(sorted(look.items(), key=str)) for look in MARKS.values()}
    assert len(looks) == len(MARKS)
