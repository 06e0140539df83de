"""Texts of tasks: those of ``generate``, whatever the batch, and kept in a journal."""

from typing import Any

import pytest

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.evaluate import Journal
from lightmamba.evaluate.reader import Reader
from lightmamba.evaluate.writing import prompt_of, write
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text.generation import Generation, generate
from tests.support.builders import random_model, sizes

from .fakes import BlankTokenizer, TableModel

SAMPLED = {"do_sample": True, "temperature": 1.5, "top_k": 20, "max_gen_toks": 9}
TOKENIZER: Any = BlankTokenizer()
PROMPTS = ["Birds", "A", "Snow is white", "He ate a", "It"]


@pytest.fixture(scope="module")
def engine():
    # The last three ids of a random model are padding.
    return Engine(random_model(sizes(vocab_size=BlankTokenizer.vocab + 3)))


def asked(settings, seed=0):
    return [prompt_of(TOKENIZER.encode(text), settings, seed) for text in PROMPTS]


@pytest.mark.parametrize("settings", [{"max_gen_toks": 7}, SAMPLED], ids=["greedy", "sampled"])
def test_texts_are_those_of_generate_in_any_batch(engine, settings):
    prompts = asked(settings, seed=3)
    alone = [
        Generation.from_steps(
            generate(
                engine, prompt.ids, max_tokens=prompt.max_tokens, sampling=prompt.sampling,
                tokenizer=TOKENIZER,
            )
        ).text
        for prompt in prompts
    ]  # fmt: skip
    found = write(engine, TOKENIZER, prompts)
    assert found[0] == alone[0]  # the first prompt draws from the stream of generate
    assert (found == alone) == (settings is not SAMPLED)
    for batch in (1, 2, 4):
        assert write(engine, TOKENIZER, prompts, batch=batch) == found
    assert (write(engine, TOKENIZER, asked(settings, seed=4)) == found) == (settings is not SAMPLED)


def test_a_text_ends_by_itself(engine):
    """While the others go on."""
    prompts = asked({"max_gen_toks": 12})
    whole = write(engine, TOKENIZER, prompts)
    lengths = (9, 2, 12, 4, 7)
    short = [
        prompt_of(each.ids, {"max_gen_toks": n}) for each, n in zip(prompts, lengths, strict=True)
    ]
    for part, text, prompt in zip(write(engine, TOKENIZER, short), whole, short, strict=True):
        assert text.startswith(part)
        assert len(TOKENIZER.encode(part)) <= prompt.max_tokens
    stop = whole[1][4:6]
    cut = [prompt_of(p.ids, {"max_gen_toks": 12, "until": stop}) for p in prompts]
    assert write(engine, TOKENIZER, cut) == [text.partition(stop)[0] for text in whole]
    last = TOKENIZER.encode(whole[2])[-1]
    ended = write(engine, TOKENIZER, prompts, ends=(last,))
    assert ended[2] == whole[2][: len(ended[2])]
    assert len(ended[2]) < len(whole[2])
    first = TOKENIZER.encode(ended[2])[1]
    both = write(engine, TOKENIZER, prompts, ends=(last, first))
    assert len(both[2]) < len(ended[2]), "any of them ends a text"


def test_progress_ends_at_what_was_promised(engine):
    seen = []
    write(engine, TOKENIZER, asked({"max_gen_toks": 5}), batch=2,
          progress=lambda *each: seen.append(each))  # fmt: skip
    tokens = sum(len(TOKENIZER.encode(text)) + 5 for text in PROMPTS)
    assert seen[-1] == (tokens, tokens)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_journal_keeps_texts(tmp_path):
    """A text is kept under its prompt, its settings and the seed."""
    model = TableModel.random(4, BlankTokenizer.vocab)

    def written(seed=0, ends=(), **settings):
        model.shapes.clear()
        with Journal(tmp_path / "j.jsonl") as journal:
            reader = Reader(model, TOKENIZER, journal=journal, batch=2, seed=seed, ends=ends)
            return reader.write("birds", [(text, SAMPLED | settings) for text in PROMPTS])

    first = written()
    assert model.shapes
    assert written() == first
    assert not model.shapes
    assert written(seed=1) != first
    assert written(ends=(TOKENIZER.encode(first[0])[2],)) != first
    shorter = written(max_gen_toks=3)
    assert all(text.startswith(part) for text, part in zip(first, shorter, strict=True))
    lines = (tmp_path / "j.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "j.jsonl").write_text("".join(lines[:2]))  # its head, and the first two prompts
    assert written() == first
    assert 0 < len(model.shapes) < 5 * 9


def test_settings():
    assert prompt_of([1], {}).sampling == SamplingOptions(temperature=0)
    assert prompt_of([1], {"do_sample": False, "temperature": 0.7}).sampling.greedy
    assert prompt_of([1], {"temperature": 0.7, "top_p": 0.9}, 5).sampling == SamplingOptions(
        temperature=0.7, top_p=0.9, seed=5
    )
    assert prompt_of([1], {"do_sample": True}).sampling == SamplingOptions()
    assert prompt_of([1], {"until": "x"}).stops == ("x",)
    assert prompt_of([1], {"until": None}).max_tokens == 256
    with pytest.raises(InputError, match="top_p must be above 0"):
        prompt_of([1], {"temperature": 1, "top_p": 0})
    with pytest.raises(InputError, match="a prompt of zero tokens"):
        prompt_of([], {})
