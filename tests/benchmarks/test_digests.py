"""Long runs of kernels, numpy and RTL: equal where they are, and the first place if not."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bench import digests
from bench.digests import NUMPY, chain, compiled
from bench.tables import made, printer

from lightmamba.common.errors import InputError
from lightmamba.engine import Digests, Engine
from lightmamba.engine.native import Native
from lightmamba.native import usable_isas
from tests.support.builders import random_model, sizes
from tests.support.layers import mixer_of, with_mixer

CONFIG = sizes(d_model=64, vocab_size=53)
MODEL = random_model(CONFIG)


def run(engine, tokens, golden=None, again=None, **options):
    """Steps of an engine next to the numpy reference."""
    engines = {"avx2": engine, NUMPY: Engine(MODEL, compiled=False)}
    return list(chain(engines, {"avx2": again} if again else {}, tokens, golden, **options))


def test_equal_to_the_end_and_the_same_each_time():
    steps, again, other = (
        list(chain(compiled(MODEL), compiled(MODEL), 20, seed=seed)) for seed in (0, 0, 1)
    )
    assert [s.difference for s in steps] == [None] * 20
    assert len({s.digest for s in steps}) == 20
    assert steps == again
    assert steps[-1].digest != other[-1].digest


def test_every_instruction_set_is_compared():
    made = compiled(MODEL)
    assert list(made) == [*reversed(usable_isas())]
    for isa, engine in made.items():
        assert isinstance(engine.ops, Native)
        assert engine.ops.context.isa == isa


def test_without_kernels_nothing_is_compared(monkeypatch):
    monkeypatch.setattr(digests, "usable_isas", lambda: ())
    with pytest.raises(SystemExit, match="make setup"):
        compiled(MODEL)


def test_tokens_vary():
    seen = []

    class Watched(Engine):
        def forward(self, ids, state, **options):
            seen.append(int(ids[0, 0]))
            return super().forward(ids, state, **options)

    run(Watched(MODEL), 3 * digests.EVERY)
    drawn = seen[:: digests.EVERY]
    assert len(set(drawn)) == 3
    logits, _ = Engine(MODEL).forward(np.array([seen[:1]]), Engine(MODEL).empty_state(1))
    assert seen[1] == int(logits[0, -1].argmax())


def test_one_wrong_weight_is_found_where_it_first_shows():
    layers = list(MODEL.layers)
    D = mixer_of(layers[1]).D.copy()
    D[2] += 1
    layers[1] = with_mixer(layers[1], D=D)
    *_, last = run(Engine(replace(MODEL, layers=tuple(layers))), 20)
    assert last.difference is not None
    assert last.difference.startswith("numpy: token 0, layer.1.ssm.y[0, 0, 2, ")


def test_what_saturates_is_compared():
    class Miscounting(Engine):
        def forward(self, *given, **options):
            self.counters["gate"] += 1
            return super().forward(*given, **options)

    (only,) = run(Miscounting(MODEL), 5)
    assert only.difference == "numpy: token 0, counter gate[]: 1 here, 0 there"


def test_pieces_are_compared():
    """An engine that errs with five tokens at once, of which the first piece is tokens 3 to 7."""

    class Hasty(Engine):
        def forward(self, ids, state, **options):
            logits, state = super().forward(ids, state, **options)
            if ids.shape[1] == 5:
                logits[0, 2, 9] += 1
            return logits, state

    steps = run(Engine(MODEL), 20, again=Hasty(MODEL))
    assert [s.difference is None for s in steps] == [True] * 7 + [False]
    assert steps[-1].difference == "avx2: a piece of 5 tokens: logits[2, 9] differ"


def test_the_last_piece_is_run_though_it_is_not_whole():
    fed = []

    class Watched(Engine):
        def forward(self, ids, state, **options):
            fed.append(ids.shape[1])
            return super().forward(ids, state, **options)

    run(Engine(MODEL), 12, again=Watched(MODEL))
    assert fed == [1, 2, 5, 4]


def step_of(**given):
    return SimpleNamespace(**{"difference": None, "cycles": 9, "stalls": {"idle": 9}} | given)


def test_the_rtl_takes_the_same_text_and_ends_it_when_they_differ():
    fed = []

    def step(token):
        fed.append(token)
        return step_of(difference="token 2, x" if len(fed) == 3 else None)

    golden: Any = SimpleNamespace(feed=step)
    steps = run(Engine(MODEL), 9, golden)
    assert [s.difference for s in steps] == [None, None, "RTL: token 2, x"]
    assert len(fed) == 3


def test_cycles_of_the_rtl_are_counted(monkeypatch):
    """The first token is faster."""
    steps = iter([
        step_of(cycles=90, stalls={"multiplying": 80, "idle": 10}),
        step_of(cycles=95, stalls={"multiplying": 80, "idle": 15}),
        step_of(cycles=95, stalls={"multiplying": 80, "idle": 15}),
    ])  # fmt: skip
    golden = SimpleNamespace(feed=lambda token: next(steps))
    monkeypatch.setattr(digests, "open_golden", lambda path: SimpleNamespace(golden=golden))
    row = digests.measure("a", MODEL, Namespace(threads=1, tokens=3), Path("b"))
    assert row["parties"][-2:] == ["numpy", "RTL"]
    cycles = {"multiplying": 240, "idle": 40}
    assert row["rtl"] == {"cycles_per_token": {90: 1, 95: 2}, "cycles": cycles}


ROW: dict[str, Any] = {
       "model": "the bundled model", "parties": ["avx2", "numpy"], "threads": 2,
       "tokens": 10_000, "of": 10_000, "compared": 1_740_000, "digest": "0123456789abcdef" * 2,
       "difference": None, "rtl": None, "seconds": 9.0,
       "made": {"commit": "abc", "computer": "2 x M", "date": "2026-01-02", "how": "measured",
                "command": "python -m bench.digests --target tiny"}}  # fmt: skip


def test_the_table(monkeypatch):
    stored = [ROW, ROW | {"parties": ["avx512", "RTL"], "difference": "RTL: token 2, x"}]
    monkeypatch.setattr(printer, "rows", lambda name: stored)
    text = made("digests")
    assert (
        "| the bundled model | AVX2, numpy | 10,000 | 1,740,000 | none | `0123456789abcdef` |"
    ) in text
    assert "| AVX-512, RTL (simulated) | 10,000 | 1,740,000 | RTL: token 2, x" in text
    assert "by `python -m bench.digests --target tiny` on 2 x M" in text


def test_tables_of_the_rtl_are_of_the_longest_run(monkeypatch):
    rtl = {"cycles_per_token": {"90": 1, "95": 9_999},
           "cycles": {"multiplying": 800_000, "idle": 149_995}}  # fmt: skip
    stored = [ROW, ROW | {"rtl": rtl}, ROW | {"tokens": 10, "rtl": {}}]
    monkeypatch.setattr(printer, "rows", lambda name: stored)
    text = made("cycles")
    assert "Tokens after the first take 95 to 95 cycles, by position." in text
    assert "| multiplying | 80 | 84.2 |\n| idle | 15 | 15.8 |\n| total | 95 | 100 |" in text


def test_a_table_without_rows_names_the_command_that_makes_them():
    with pytest.raises(InputError, match=r"run: python -m bench\.digests"):
        printer.load("digests", model="another")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_says_what_was_compared(threads):
    row = digests.measure("tiny", MODEL, Namespace(threads=threads, tokens=3), None)
    assert row["parties"] == [*reversed(usable_isas()), NUMPY]
    assert (row["tokens"], row["difference"], row["rtl"]) == (3, None, None)
    seen, engine = Digests(), Engine(MODEL)
    engine.forward(np.array([[1]]), engine.empty_state(1), observe=seen)
    assert row["compared"] == 3 * len(seen)
