"""An evaluation that was stopped goes on, with the same numbers, or says why it cannot."""

import os
import subprocess
import sys
from collections import Counter
from subprocess import PIPE

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightmamba.errors import InputError
from lightmamba.evaluate import Journal, Part, Request, compare, perplexity, score
from lightmamba.evaluate.scoring import part_of

from .fakes import TableModel, random_ids

IDS = random_ids(1, 730)
FIRST = '{"journal": "lightmamba evaluate", "version": 1}\n'
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
    assert len(lines) > 25
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
    cut.write_bytes(b"".join(lines[:3]))  # of two units of the text, the first
    seen = []
    with Journal(cut) as journal:
        perplexity(
            TableModel.random(0), IDS, window=100, progress=lambda *step: seen.append(step),
            part=journal.part("text", SETTINGS),
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
    with Journal(path) as journal:
        journal.part("text", SETTINGS)
    before = path.read_bytes()
    with Journal(path) as journal, pytest.raises(InputError, match=sentence) as caught:
        journal.part("text", settings)
    assert str(path) in str(caught.value)
    assert "--journal another file" in str(caught.value)
    assert path.read_bytes() == before
    with Journal(path, anew=True) as journal:
        journal.part("other", SETTINGS)
        journal.part("text", settings)
    with Journal(path) as journal:
        assert list(journal._settings) == [
            "text"
        ]  # begun anew: with these settings, and nothing else
        journal.part("text", settings)


def test_other_rows_are_refused(tmp_path):
    with Journal(tmp_path / "j.jsonl") as journal:
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
    with Journal(path) as journal:
        journal.part("x", {})
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"line 3 of the journal .*j.jsonl is damaged"):
        Journal(path)
    with Journal(path, anew=True) as journal:
        assert path.read_text() == FIRST


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"cannot be opened: No such file or directory; give"):
        Journal(tmp_path / "none" / "j.jsonl")


def test_a_full_disk(tmp_path, monkeypatch):
    """What did not fit is taken out again, so that the next record begins a line."""
    path, write = tmp_path / "j.jsonl", os.write
    with Journal(path) as journal:
        part = journal.part("x", {})
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, line: write(file, line[:9]))
            with pytest.raises(InputError, match=r"cannot be written: .* the same command goes on"):
                part.keep(0, None, 1)
        assert path.read_bytes() == before
        part.keep(0, None, 1)
    with Journal(path) as journal:
        assert journal.part("x", {}).find(0, None) == 1


WRITES = """
import sys
from lightmamba.evaluate import Journal

with Journal(sys.argv[1]) as journal:
    part = journal.part("x", {})
    print("open", flush=True)
    sys.stdin.readline()
    part.keep(0, None, [0.5] * 5000)
"""


def writer(path):
    words = [sys.executable, "-c", WRITES, str(path)]
    return subprocess.Popen(words, stdin=PIPE, stdout=PIPE, text=True)


def test_a_second_process_leaves_the_first_one_alone(tmp_path):
    """It is refused while the first writes, and a line that is being written stays."""
    path = tmp_path / "j.jsonl"
    with writer(path) as other:
        assert other.stdout.readline() == "open\n"
        with path.open("ab") as file:
            file.write(b'{"part": "x", "un')  # as far as the other one has come
        before = path.read_bytes()
        for anew in (False, True):
            with pytest.raises(InputError, match="in use by another evaluation; wait for it, or"):
                Journal(path, anew=anew)
        assert path.read_bytes() == before
        path.write_bytes(before[: before.rfind(b"\n") + 1])
        other.communicate("go on\n")
    assert other.returncode == 0
    with Journal(path) as journal:
        assert journal.part("x", {}).find(0, None) == [0.5] * 5000


def test_without_a_journal_nothing_is_kept():
    part = Part()
    assert part.find(0, None) is None
    assert part.keep(0, None, [1.5]) == [1.5]
    assert part.find(0, None) is None


def test_numbers_read_back_the_same(tmp_path):
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(1000).clip(-300, 300)
    with Journal(tmp_path / "j.jsonl") as journal:
        part = journal.part("x", {})
        part.find(0, None)
        part.keep(0, None, values.tolist())
    with Journal(tmp_path / "j.jsonl") as journal:
        assert_array_equal(journal.part("x", {}).find(0, None), values)
