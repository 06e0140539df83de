"""Long runs of engine, reference and gates: equal where they are, and the first place if not."""

from argparse import Namespace
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bench import digests, engine_tables
from bench.digests import chain, keep
from bench.tables import made

from lightmamba.engine import Engine
from tests.support.builders import random_model, sizes
from tests.support.layers import mixer_of, with_mixer

CONFIG = sizes(d_model=64, vocab_size=53)
MODEL = random_model(CONFIG)


def reference(model=MODEL):
    return Engine(model, compiled=False)


def test_equal_to_the_end_and_the_same_each_time():
    steps = list(chain(Engine(MODEL), reference(), 20))
    assert [s.difference for s in steps] == [None] * 20
    assert len({s.digest for s in steps}) == 20
    assert steps[-1] == list(chain(Engine(MODEL), reference(), 20))[-1]
    assert steps[-1].digest != list(chain(Engine(MODEL), reference(), 20, seed=1))[-1].digest


def test_tokens_vary():
    seen = []

    class Watched(Engine):
        def forward(self, ids, state, **options):
            seen.append(int(ids[0, 0]))
            return super().forward(ids, state, **options)

    list(chain(Watched(MODEL), reference(), 3 * digests.EVERY))
    drawn = seen[:: digests.EVERY]
    assert len(set(drawn)) == 3
    logits, _ = Engine(MODEL).forward(np.array([seen[:1]]), Engine(MODEL).empty_state(1))
    assert seen[1] == int(logits[0, -1].argmax())


def test_one_wrong_weight_is_found_where_it_first_shows():
    layers = list(MODEL.layers)
    D = mixer_of(layers[1]).D.copy()
    D[2] += 1
    layers[1] = with_mixer(layers[1], D=D)
    *_, last = chain(Engine(replace(MODEL, layers=tuple(layers))), reference(), 20)
    assert last.difference is not None
    assert last.difference.startswith("numpy reference: token 0, layer.1.ssm.y[0, 0, 2, ")


def test_what_saturates_is_compared():
    class Miscounting(Engine):
        def forward(self, *given, **options):
            self.counters["gate"] += 1
            return super().forward(*given, **options)

    (only,) = chain(Miscounting(MODEL), reference(), 5)
    assert only.difference == "numpy reference: token 0, counter gate[]: 1 here, 0 there"


def test_pieces_are_compared(monkeypatch):
    """An engine that errs with five tokens at once, of which the first piece is tokens 3 to 7."""

    class Hasty(Engine):
        def forward(self, ids, state, **options):
            logits, state = super().forward(ids, state, **options)
            if ids.shape[1] == 5:
                logits[0, 2, 9] += 1
            return logits, state

    engine = Engine(MODEL)
    monkeypatch.setattr(digests, "Engine", Hasty)
    steps = list(chain(engine, reference(), 20))
    assert [s.difference is None for s in steps] == [True] * 7 + [False]
    assert steps[-1].difference == "a piece of 5 tokens: logits[2, 9] differ"


def test_the_last_piece_is_run_though_it_is_not_whole(monkeypatch):
    fed = []

    class Watched(Engine):
        def forward(self, ids, state, **options):
            fed.append(ids.shape[1])
            return super().forward(ids, state, **options)

    engine = Engine(MODEL)
    monkeypatch.setattr(digests, "Engine", Watched)
    list(chain(engine, reference(), 12))
    assert fed == [1, 2, 5, 4]


def test_gates_take_the_same_text_and_end_it_when_they_differ():
    fed = []

    def step(token):
        fed.append(token)
        return SimpleNamespace(difference="token 2, x" if len(fed) == 3 else None)

    twin: Any = SimpleNamespace(feed=step)
    steps = list(chain(Engine(MODEL), reference(), 9, twin))
    assert [s.difference for s in steps] == [None, None, "gates: token 2, x"]
    assert len(fed) == 3


ROW = {"model": "the bundled model", "gates": False, "threads": 2, "tokens": 10_000, "of": 10_000,
       "compared": 1_740_000, "digest": "0123456789abcdef" * 2, "difference": None, "seconds": 9.0,
       "commit": "abc", "machine": "2 x M", "date": "2026-01-02"}  # fmt: skip


def test_the_table(monkeypatch):
    stored = {"results": [ROW, ROW | {"gates": True, "difference": "gates: token 2, x"}]}
    monkeypatch.setattr(engine_tables, "load", lambda name: stored)
    text = made("engine-digests")
    assert (
        "| the bundled model | numpy reference | 2 | 10,000 | 1,740,000 | none "
        "| `0123456789abcdef` |"
    ) in text
    assert "| numpy reference, gates (simulated) | 2 | 10,000 | 1,740,000 | gates: token 2, x" in (
        text
    )
    assert "`python -m bench.digests` on 2 x M" in text


def test_a_row_replaces_the_one_of_the_same_run(monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(digests, "RESULTS", tmp_path)
    monkeypatch.setattr(digests, "write_results", lambda *given: written.append(given[2]))
    (tmp_path / "digests.json").write_text('{"results": [{"model": "b", "gates": false, '
                                           '"threads": 2, "tokens": 1}]}')  # fmt: skip
    keep({"model": "b", "gates": False, "threads": 2, "tokens": 7})
    keep({"model": "a", "gates": False, "threads": 2, "tokens": 9})
    assert [[r["tokens"] for r in rows] for rows in written] == [[7], [9, 1]]


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_as_the_run_goes_on(threads, monkeypatch):
    monkeypatch.setattr(digests, "SECONDS", 0)
    args = Namespace(build=None, threads=threads, tokens=3)
    rows = list(digests.measure("tiny", MODEL, args))
    assert [r["tokens"] for r in rows] == [1, 2, 3]
    assert rows[-1]["compared"] == 3 * rows[0]["compared"] > 0
    assert rows[-1]["difference"] is None
