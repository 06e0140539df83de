"""Files that a search leaves."""

from dataclasses import replace
from unittest.mock import Mock

import pytest

from lightmamba.arch.target import Channel, Target, target_names
from lightmamba.common.errors import InputError
from lightmamba.common.files import check_folder
from lightmamba.common.store import read_store
from lightmamba.hardware.estimate.objectives import front
from lightmamba.study.explore.files import FRONT, STUDY, to_toml, write
from lightmamba.study.explore.study import Search
from lightmamba.study.plots.front import front_figure
from lightmamba.study.plots.style import png
from tests.explore.standin import problem

TRIALS = 40
OURS = (FRONT, STUDY), "front", "--out"


@pytest.fixture(scope="module")
def found():
    search = Search(problem())
    search.run(TRIALS)
    return search


@pytest.mark.parametrize("name", target_names())
def test_targets_read_back(name):
    target = Target.load(name)
    assert Target.parse(to_toml(target.to_dict()), name) == target


def test_odd_texts_read_back():
    target = Target.load("tiny")
    source = 'a "quoted" \\ one,\nof two lines\x7f, µ [x]'
    channels = tuple(replace(c, source=source) for c in target.channels)
    odd = replace(target, about=source, clock_mhz=0.1, channels=channels)
    assert Target.parse(to_toml(odd.to_dict()), "odd") == odd
    assert isinstance(odd.channels[0], Channel)


def test_every_point_is_a_target(found, tmp_path):
    content = write(found, tmp_path / "out", {"seed": 0})
    assert read_store(tmp_path / "out" / "front.jsonl")[0].values == content
    points = content["points"]
    assert len(points) == len(found.front) == len(list((tmp_path / "out/targets").iterdir()))
    assert front(points, problem().objectives) == list(range(len(points)))
    for point, one in zip(points, found.front, strict=True):
        target = Target.load(str(tmp_path / "out" / point["target"]))
        assert target.machine == one.candidate.machine
        assert target.clock_mhz == point["clock_mhz"]
        assert target.name == f"tiny-{point['name']}"
        assert point["tokens_per_second"] == one.verdict.known["tokens_per_second"]
        assert point["machine"]["lanes"] == target.machine.lanes
    assert content["seed"] == 0
    assert len(content["tried"]) == len(found.feasible)


def test_the_best_are_the_best(found, tmp_path):
    content = write(found, tmp_path / "out", {})
    points = {point["name"]: point for point in content["points"]}
    best = {key: points[name] for key, name in content["best"].items()}
    for key, better in (
        ("tokens_per_second", max), ("tokens_per_joule", max), ("device_share", min),
        ("perplexity_ratio", min),
    ):  # fmt: skip
        extreme = better(point[key] for point in points.values())
        assert best[key][key] == pytest.approx(extreme, rel=0.005)
    equal = [p for p in points.values() if p["scheme"] == "w8a8"]  # all as accurate
    assert best["perplexity_ratio"]["tokens_per_second"] == pytest.approx(
        max(p["tokens_per_second"] for p in equal), rel=0.005
    )


def test_an_earlier_front_is_replaced(found, tmp_path):
    out = tmp_path / "out"
    write(found, out, {})
    (out / "targets" / "p999.toml").write_text("")
    (out / "targets" / "pynq.toml").write_text("a user's own")
    check_folder(out, *OURS)
    write(found, out, {})
    assert not (out / "targets" / "p999.toml").exists()
    assert (out / "targets" / "pynq.toml").read_text() == "a user's own"


def test_a_front_that_was_stopped_names_no_targets(found, tmp_path, monkeypatch):
    """Neither those of before nor those that are missing; the next one writes all."""
    out = tmp_path / "out"
    write(found, out, {})
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", Mock(side_effect=OSError("full")))
        with pytest.raises(OSError, match="full"):
            write(found, out, {})
    assert read_store(out / FRONT) == []
    content = write(found, out, {})
    assert len(list((out / "targets").iterdir())) == len(content["points"])


def test_other_folders_are_refused(tmp_path):
    check_folder(tmp_path / "new", *OURS)
    check_folder(tmp_path, *OURS)  # empty
    (tmp_path / "file").write_text("")
    for out, sentence in (
        (tmp_path, "holds other things than a front; give a new folder"),
        (tmp_path / "file", "file is a file; give a folder, such as --out front"),
        (tmp_path / "no" / "out", "there is no folder .*no to make out in"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_folder(out, *OURS)


@pytest.mark.parametrize("energy", [True, False])
def test_a_picture(found, tmp_path, energy):
    content = write(found, tmp_path / "out", {"fitting": 1})
    if not energy:
        content["points"] = [
            {k: v for k, v in p.items() if k != "tokens_per_joule"} for p in content["points"]
        ]
        content["best"] = {"tokens_per_second": content["points"][0]["name"]}
    figure = front_figure(content)
    assert len(figure.axes) == (2 if energy else 1)
    named = {text.get_text() for text in figure.axes[0].texts}
    assert named == set(content["best"].values())
    png(figure, tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
