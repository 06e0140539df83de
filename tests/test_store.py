"""Records in a file: whole lines, one owner, nothing lost, numbers as they were."""

import math
import os
import subprocess
import sys
from subprocess import PIPE

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightmamba.common.errors import InputError
from lightmamba.common.store import HEAD, Record, Store, read_store

ONE = Record("one", {"perplexity": 2.0}, {"model": "m"}, "measured", {"commit": "abc"})
TWO = Record("two", {"perplexity": 3.0})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "r.jsonl"


def stored(path, *records):
    with Store(path, "--results") as store:
        for record in records:
            store.add(record)
    return path.read_bytes()


def test_records_come_back(path):
    stored(path, ONE, TWO)
    assert read_store(path) == [ONE, TWO]
    with Store(path, "--results") as store:
        assert list(store) == [ONE, TWO]
        assert (store.get("two"), store.get("three")) == (TWO, None)
    head, *_, two = path.read_bytes().splitlines(keepends=True)
    assert head == HEAD
    assert two == b'{"key":"two","values":{"perplexity":3.0}}\n'  # what is empty is left out


def test_of_several_with_one_key_the_last_counts(path):
    again = Record("one", {"perplexity": 4.0})
    stored(path, ONE, TWO, again)
    assert read_store(path) == [again, TWO]  # where the key first came


def test_what_is_added_is_what_is_read_back(path):
    """Tuples, numbers of numpy and numbers without end become what JSON has."""
    values = {"list": (1, 2), "large": math.inf, "none": math.nan, "scalar": np.int64(7),
              "array": np.array([0.1, 0.2])}  # fmt: skip
    with Store(path, "--results") as store:
        store.add(Record("k", values))
        kept = store.get("k")
    assert kept is not None
    assert kept.values == {"list": [1, 2], "large": None, "none": None, "scalar": 7,
                           "array": [0.1, 0.2]}  # fmt: skip
    assert read_store(path) == [kept]
    with Store(path, "--results") as store, pytest.raises(NotImplementedError, match="object"):
        store.add(Record("x", {"what": object()}))
    assert read_store(path) == [kept]


def test_numbers_read_back_the_same(path):
    numbers = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(1000).clip(-300, 300)
    stored(path, Record("k", {"numbers": numbers}))
    assert_array_equal(read_store(path)[0].values["numbers"], numbers)


def test_a_line_that_is_not_whole_is_dropped(path):
    whole = stored(path, ONE, TWO)
    second = whole.rfind(b'{"key":"two"')
    for end in (*range(1, len(HEAD)), second + 1, second + 20, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert read_store(path) == ([ONE] if end > len(HEAD) else [])
        assert stored(path, ONE, TWO).endswith(whole[len(HEAD) :])
        assert read_store(path) == [ONE, TWO]


@pytest.mark.parametrize("text", ["It was a dark night", "It was\n", '{"store": 1}\n', "\n"])
def test_other_files_are_left_alone(path, text):
    path.write_text(text)
    for open_it in (lambda: Store(path, "--results"), lambda: read_store(path)):
        with pytest.raises(InputError, match=r"r\.jsonl holds no records of this version"):
            open_it()
    assert path.read_text() == text


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"key":"k"}', '{"key":1,"values":{}}', '{"key":"k","values":[]}',
             '{"key":"k","values":{},"more":1}'],
)  # fmt: skip
def test_a_damaged_line_is_named(path, line):
    path.write_bytes(stored(path, ONE) + line.encode() + b"\n")
    for open_it in (lambda: Store(path, "--results"), lambda: read_store(path)):
        with pytest.raises(InputError, match=r"line 3 of .*r\.jsonl is damaged"):
            open_it()
    with Store(path, "--results", restart=True) as store:
        assert list(store) == []
        assert path.read_bytes() == HEAD


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"No such file or directory; give --results a file in"):
        Store(tmp_path / "none" / "r.jsonl", "--results")
    with pytest.raises(InputError, match="cannot read"):
        read_store(tmp_path / "none")


def test_a_full_disk(path, monkeypatch):
    """A record that did not fit is taken out again, so that the next one begins a line."""
    write = os.write
    with Store(path, "--results") as store:
        store.add(ONE)
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, line: write(file, line[:9]))
            with pytest.raises(InputError, match=r"cannot be written: .* the same command goes on"):
                store.add(TWO)
        assert path.read_bytes() == before
        assert list(store) == [ONE]
        store.add(TWO)
    assert read_store(path) == [ONE, TWO]


WRITES = """
import sys
from pathlib import Path
from lightmamba.common.store import Record, Store

with Store(Path(sys.argv[1]), "--results") as store:
    print("open", flush=True)
    sys.stdin.readline()
    store.add(Record("k", {"found": [0.5] * 5000}))
"""


def test_a_second_process_leaves_the_first_one_alone(path):
    """It is refused while the first writes, and a line that is being written stays."""
    words = [sys.executable, "-c", WRITES, str(path)]
    with subprocess.Popen(words, stdin=PIPE, stdout=PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with path.open("ab") as file:
            file.write(b'{"key":"un')  # as far as the other one has come
        before = path.read_bytes()
        for restart in (False, True):
            with pytest.raises(InputError, match="in use by another process; wait for it, or"):
                Store(path, "--results", restart=restart)
        assert read_store(path) == []  # looking is allowed
        assert path.read_bytes() == before
        path.write_bytes(before[: before.rfind(b"\n") + 1])
        other.communicate("go on\n")
    assert other.returncode == 0
    assert read_store(path)[0].values["found"] == [0.5] * 5000


def test_other_records_in_one_step(path, monkeypatch):
    third = Record("three", {"x": 1})
    stored(path, ONE, TWO, Record("one", {"perplexity": 4.0}))
    with Store(path, "--results") as store:
        before, write = path.read_bytes(), os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, line: write(file, line[:9]))
            with pytest.raises(InputError, match="it is as it was before"):
                store.rewrite([third])
        assert path.read_bytes() == before
        store.rewrite([TWO, third])
        assert list(store) == read_store(path) == [TWO, third]
        with pytest.raises(InputError, match="in use"):
            Store(path, "--results")  # the new file has the same owner
        store.add(ONE)
    assert read_store(path) == [TWO, third, ONE]
    assert [file.name for file in path.parent.iterdir() if file.suffix == ".part"] == []
