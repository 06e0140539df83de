"""An evaluation that was stopped goes on, with the same numbers, or says why it cannot."""

from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightmamba.errors import InputError
from lightmamba.evaluate import Journal, Part, Request, compare, perplexity, score
from lightmamba.evaluate.scoring import part_of

from .fakes import TableModel, random_ids

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
    scores = score(model, REQUESTS, batch=3, part=part_of(journal, "task", REQUESTS, 3))
    return [
        alone.perplexity, alone.standard_error, both.ratio, both.ratio_standard_error, both.kl,
        both.kl_standard_error, both.top1_agreement, both.top1_standard_error,
        both.first_divergence, scores, dict(model.counters),
    ]  # fmt: skip


@pytest.fixture
def whole(tmp_path):
    """A journal from end to end, its lines, and the numbers."""
    path = tmp_path / "whole.jsonl"
    return path, evaluate(Journal(path), counting())


def test_a_journal_changes_no_number(whole):
    assert whole[1] == evaluate(None, counting())


def test_what_is_there_is_not_read_again(whole):
    model = counting()
    assert evaluate(Journal(whole[0]), model) == whole[1]
    assert model.shapes == []


def test_stopped_anywhere(whole, tmp_path):
    """Cut after every line, and in the middle of it: the same numbers, and the same file."""
    path, numbers = whole
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 25
    calls = []
    for n in range(len(lines)):
        for rest in (b"", lines[n][: len(lines[n]) // 2], lines[n][:-1]):
            cut = tmp_path / "cut.jsonl"
            cut.write_bytes(b"".join(lines[:n]) + rest)
            model = counting()
            assert evaluate(Journal(cut), model) == numbers
            assert cut.read_bytes() == path.read_bytes()
            calls.append(len(model.shapes))
    assert calls == sorted(calls, reverse=True)  # the later it was stopped, the less is left
    assert calls[0] > 2 * calls[-1] > 0


def test_the_bar_begins_where_the_work_does(whole, tmp_path):
    lines = whole[0].read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[:3]))  # of two units of the text, the first
    seen = []
    perplexity(
        TableModel.random(0), IDS, window=100, progress=lambda *step: seen.append(step),
        part=Journal(cut).part("text", SETTINGS),
    )  # fmt: skip
    assert seen[:2] == [(4 * 99, 722), (4 * 99 + 3 * 85, 722)]
    assert seen[-1] == (722, 722)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ids": "abd", "window": 100}, "ids of text was abc there and is abd here"),
        ({"ids": "abc", "window": 99}, "window of text was 100 there and is 99 here"),
        ({"ids": "abc"}, "window of text was 100 there and is not given here"),
        ({**SETTINGS, "more": "0123456789abcdefgh"}, "not given there and is 0123456789ab… here"),
    ],
)
def test_another_evaluation_is_refused_by_name(tmp_path, settings, sentence):
    path = tmp_path / "j.jsonl"
    Journal(path).part("text", SETTINGS)
    before = path.read_bytes()
    with pytest.raises(InputError, match=sentence) as caught:
        Journal(path).part("text", settings)
    assert str(path) in str(caught.value)
    assert "--journal another file" in str(caught.value)
    assert path.read_bytes() == before


def test_other_rows_are_refused(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    score(TableModel.random(0), REQUESTS, part=part_of(journal, "task", REQUESTS, None))
    for requests, batch in ((REQUESTS[:-1], None), (REQUESTS, 2)):
        with pytest.raises(InputError, match="of task was"):
            part_of(journal, "task", requests, batch)


@pytest.mark.parametrize("text", ["It was a dark night", "It was\n", '{"journal": 1}\n', "\n"])
def test_other_files_are_left_alone(tmp_path, text):
    path = tmp_path / "book.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"book.txt is no journal of an evaluation"):
        Journal(path)
    assert path.read_text() == text


@pytest.mark.parametrize("line", ["{", "[]", '{"part": "x", "unit": 0}', '{"unit": 0}'])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "j.jsonl"
    Journal(path).part("x", {})
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"line 3 of the journal .*j.jsonl is damaged"):
        Journal(path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"cannot be opened: No such file or directory; give"):
        Journal(tmp_path / "none" / "j.jsonl")


def test_a_full_disk(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    part = journal.part("x", {})
    journal.path = tmp_path / "gone" / "j.jsonl"
    with pytest.raises(InputError, match=r"cannot be written: .* the same command goes on"):
        part.keep(0, None, 1)


def test_without_a_journal_nothing_is_kept():
    part = Part()
    assert part.find(0, None) is None
    assert part.keep(0, None, [1.5]) == [1.5]
    assert part.find(0, None) is None


def test_numbers_read_back_the_same(tmp_path):
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(1000).clip(-300, 300)
    part = Journal(tmp_path / "j.jsonl").part("x", {})
    part.find(0, None)
    part.keep(0, None, values.tolist())
    again = Journal(tmp_path / "j.jsonl").part("x", {}).find(0, None)
    assert_array_equal(again, values)
