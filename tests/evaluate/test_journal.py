"""An evaluation that was stopped goes on, with the same numbers."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.evaluate import Journal, Part, Request, compare, perplexity
from lightmamba.evaluate.reader import Reader
from lightmamba.hardware.machine.counters import losses
from lightmamba.text import DeviceDecoder

from .fakes import BlankTokenizer, TableModel, random_ids

IDS = random_ids(1, 730)
SETTINGS = {"ids": "abc", "window": 100}
REQUESTS = [
    Request(tuple(random_ids(i, 5 + i % 7).tolist()), (i % 7,) * (1 + i % 3)) for i in range(40)
]


class CountingModel(TableModel):
    """Saturates two values per token that it reads."""

    def __init__(self, table):
        super().__init__(table)
        self.counters = Counter({"before": 3})

    def forward(self, ids, state, *, last_only=True):
        self.counters["clipped"] += 2 * ids.size
        return super().forward(ids, state, last_only=last_only)


def counting():
    return CountingModel(TableModel.random(0).table)


def evaluate(journal, model):
    """A text, a comparison, and requests: everything that a journal keeps."""

    def part(name):
        return None if journal is None else journal.part(name, SETTINGS)

    alone = perplexity(model, IDS, window=100, part=part("text"))
    both = compare(model, TableModel.random(1), IDS, window=100, batch=2, part=part("both"))
    scores = Reader(model, BlankTokenizer(), batch=3, journal=journal).score("task", REQUESTS)
    return [
        alone.perplexity, alone.standard_error, both.ratio, both.ratio_standard_error, both.kl,
        both.kl_standard_error, both.top1_agreement, both.top1_standard_error,
        both.first_divergence, scores, dict(model.counters),
    ]  # fmt: skip


@pytest.fixture
def whole(tmp_path):
    """A journal from end to end, its lines, and the numbers."""
    path = tmp_path / "whole.jsonl"
    with Journal(path) as journal:
        return path, evaluate(journal, counting())


def test_a_journal_changes_no_number(whole):
    assert whole[1] == evaluate(None, counting())


def test_what_is_there_is_not_read_again(whole):
    model = counting()
    with Journal(whole[0]) as journal:
        assert evaluate(journal, model) == whole[1]
    assert model.shapes == []


def test_stopped_anywhere(whole, tmp_path):
    """Cut after every line, and in the middle of it: the same numbers, and the same file."""
    path, numbers = whole
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 20
    calls = []
    for n in range(len(lines)):
        for rest in (b"", lines[n][: len(lines[n]) // 2], lines[n][:-1]):
            cut = tmp_path / "cut.jsonl"
            cut.write_bytes(b"".join(lines[:n]) + rest)
            model = counting()
            with Journal(cut) as journal:
                assert evaluate(journal, model) == numbers
            assert cut.read_bytes() == path.read_bytes()
            calls.append(len(model.shapes))
    assert calls == sorted(calls, reverse=True)  # the later it was stopped, the less is left
    assert calls[0] > 2 * calls[-1] > 0


def test_the_bar_begins_where_the_work_does(whole, tmp_path):
    lines = whole[0].read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[:2]))  # the head, and of two units of the text the first
    seen = []
    with Journal(cut) as journal:
        perplexity(
            TableModel.random(0), IDS, window=100, progress=lambda *step: seen.append(step),
            part=journal.part("text", SETTINGS),
        )  # fmt: skip
    assert seen[:2] == [(4 * 99, 722), (4 * 99 + 3 * 85, 722)]
    assert seen[-1] == (722, 722)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("text", {"ids": "abd", "window": 100}), ("text", {"ids": "abc", "window": 99}),
        ("text", {"ids": "abc"}), ("text", {**SETTINGS, "more": 1}), ("other", SETTINGS),
    ],
)  # fmt: skip
def test_of_another_evaluation_nothing_is_found(tmp_path, name, settings):
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.part("text", SETTINGS).keep(0, None, [1.5])
        assert journal.part(name, settings).find(0, None) is None
        journal.part(name, settings).keep(0, None, [2.5])
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.part("text", dict(reversed(SETTINGS.items()))).find(0, None) == [1.5]
        assert journal.part(name, settings).find(0, None) == [2.5]
    with Journal(tmp_path / "j.jsonl", {"model": "another"}) as journal:
        assert journal.part("text", SETTINGS).find(0, None) is None


def test_without_a_journal_nothing_is_kept():
    part = Part()
    assert part.find(0, None) is None
    assert part.keep(0, None, [1.5]) == [1.5]
    assert part.find(0, None) is None


@pytest.mark.parametrize("there", [True, False])
def test_counts_of_a_device(tmp_path, there):
    """Counts from a journal are added to the device's own; a device may not count at all."""
    arch = ArchConfig(counters=there)
    own = dict.fromkeys(losses(arch.kinds), 2)
    device: Any = SimpleNamespace(artifact=SimpleNamespace(arch=arch), counters=lambda: own)
    name = next(iter(own))
    with Journal(tmp_path / "j.jsonl") as journal:
        earlier = SimpleNamespace(counters=Counter({name: 5}))
        journal.part("text", SETTINGS).keep(0, earlier, [1.5])
    sizes = SimpleNamespace(vocab_size=8)
    model: Any = SimpleNamespace(config=sizes, valid_vocab=8, logit_exp=0)
    decoder = DeviceDecoder(device, model)
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.part("text", SETTINGS).find(0, decoder) == [1.5]
    assert decoder.counters == (own | {name: 7} if there else None)
