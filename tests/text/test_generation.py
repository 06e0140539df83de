import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from lightmamba.common.errors import InputError
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.sampling import Sampler
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text import Decoder, Generation, generate

GREEDY = SamplingOptions(temperature=0)
SAMPLED = SamplingOptions(temperature=0.9, top_p=0.9, repetition_penalty=1.1, seed=7)
LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class TableDecoder:
    """Logits by the last id and the number of ids so far: a state that must be carried right."""

    table: np.ndarray  # (period, vocab, vocab)
    valid_vocab: int
    logit_exponent: int = -4
    context_length: int | None = None
    undecided: int = 0
    calls: list[list[list[int]]] = field(default_factory=list)  # ids of each forward

    @property
    def vocab_size(self):
        return self.table.shape[-1]

    @property
    def seconds(self):
        return time.perf_counter()

    def empty_state(self, batch, undecided=0):
        return (0,) * batch

    def forward(self, ids, state, *, last_only=True):
        self.calls.append(ids.tolist())
        lengths = np.array(state)[:, None] + 1 + np.arange(ids.shape[1])
        logits = self.table[lengths % len(self.table), ids].astype(np.int32)
        return (logits[:, -1:] if last_only else logits), tuple(lengths[:, -1].tolist())

    def run(self, work, state):
        """A pass over a table of period 1, which needs no state."""
        (slot,) = work.slots
        return self.forward(slot.tokens[None], state, last_only=False)[0][0]


def next_letter(*, padding=0):
    """After each id the next one, from H back to A; padding ids have the largest logits."""
    size = len(LETTERS)
    table = np.full((1, size + padding, size + padding), 1 << 20)
    table[0, :, :size] = np.roll(np.eye(size + padding, size) * 1000, 1, axis=1)
    return TableDecoder(table, size)


def random_table(seed=0, vocab=12, valid=10):
    table = np.random.default_rng(seed).integers(-60, 60, (3, vocab, vocab))
    return TableDecoder(table, valid)


def letter_tokenizer():
    """Ids 0 to 7 are A to H; H is special, the end of the text."""
    inner = Library(models.BPE({letter: i for i, letter in enumerate(LETTERS)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["H"])
    return Tokenizer(inner)


def run(decoder, prompt, max_tokens=6, sampling=GREEDY, **options):
    return Generation.from_steps(
        generate(decoder, prompt, max_tokens=max_tokens, sampling=sampling, **options)
    )


@pytest.mark.parametrize(
    ("context", "tokens", "reason"), [(4, 3, "context"), (5, 4, "length"), (2, 1, "context")]
)
def test_a_text_ends_where_memory_does(context, tokens, reason):
    """The last token that is drawn needs no room, since it is never fed."""
    table = replace(next_letter(), context_length=context)
    found = run(table, [0, 1], max_tokens=4, tokenizer=letter_tokenizer())
    assert (found.text, found.finish_reason) == ("CDEF"[:tokens], reason)
    assert sum(len(ids[0]) for ids in table.calls) == tokens + 1


def test_a_prompt_beyond_the_memory_is_refused_at_once():
    table = replace(next_letter(), context_length=2)
    with pytest.raises(InputError, match=r"prompt has 3 tokens, .* memory for 2 .* --context 8$"):
        generate(table, [0, 1, 2], max_tokens=6, sampling=GREEDY)


def test_worked_values():
    tokenizer = letter_tokenizer()
    steps = list(
        generate(next_letter(), [0, 1], max_tokens=3, sampling=GREEDY, tokenizer=tokenizer)
    )
    assert [(s.token_id, s.text, s.finish_reason) for s in steps] == [
        (2, "C", None),
        (3, "D", None),
        (4, "E", "length"),
    ]
    assert Generation.from_steps(steps) == Generation((2, 3, 4), "CDE", "length")


def test_the_prompt_goes_in_at_once_and_the_last_token_not_at_all():
    decoder = next_letter()
    run(decoder, np.array([0, 1]), max_tokens=3)
    assert decoder.calls == [[[0, 1]], [[2]], [[3]]]


def test_steps_come_as_they_are_drawn():
    decoder = next_letter()
    steps = generate(decoder, [0], max_tokens=5, sampling=GREEDY)
    assert decoder.calls == []
    next(steps)
    assert decoder.calls == [[[0]]]
    taken = [next(steps), next(steps)]
    assert Generation.from_steps(taken).finish_reason is None
    assert Generation.from_steps([]) == Generation((), "", None)


def test_stop_id():
    """The id is reported, its text is not."""
    result = run(next_letter(), [2], stop_ids=[7, 5], tokenizer=letter_tokenizer())
    assert result == Generation((3, 4, 5), "DE", "eos")
    assert run(next_letter(), [2], stop_ids={5}, max_tokens=3).finish_reason == "eos"


@pytest.mark.parametrize(
    ("stops", "pieces", "reason"),
    [
        (["EF"], ["D", "", ""], "stop"),
        (["EFx"], ["D", "", "", "EFG", "", "A"], "length"),
        (["BD", "GA"], ["D", "E", "F", "", "", ""], "stop"),
        (["Ax"], ["D", "E", "F", "G", "", "A"], "length"),
    ],
)
def test_stop_strings_span_tokens(stops, pieces, reason):
    """From D on; H is special and has no text, so G is followed by A."""
    steps = list(
        generate(
            next_letter(),
            [2],
            max_tokens=6,
            sampling=GREEDY,
            stop_strings=stops,
            tokenizer=letter_tokenizer(),
        )
    )
    assert [step.text for step in steps] == pieces
    assert [step.finish_reason for step in steps] == [None] * (len(steps) - 1) + [reason]


def test_text_held_for_a_stop_string_comes_with_the_stop_id():
    result = run(
        next_letter(), [2], stop_ids=[6], stop_strings=["EFx"], tokenizer=letter_tokenizer()
    )
    assert result == Generation((3, 4, 5, 6), "DEF", "eos")


def test_half_a_character_at_the_end():
    """Two of the euro's three bytes: a replacement character, and only at the end."""
    inner = Library(models.BPE({"â": 0, "Ĥ": 1, "¬": 2}, []))
    inner.decoder = decoders.ByteLevel()
    decoder = TableDecoder(np.roll(np.eye(3) * 1000, 1, axis=1)[None], 3)
    steps = [
        list(generate(decoder, [2], max_tokens=n, sampling=GREEDY, tokenizer=Tokenizer(inner)))
        for n in (2, 3)
    ]
    assert [[step.text for step in run_] for run_ in steps] == [["", "\ufffd"], ["", "", "€"]]


def test_padded_ids_are_never_drawn():
    result = run(next_letter(padding=2), [0], max_tokens=20)
    assert max(result.token_ids) < len(LETTERS)


def test_without_a_tokenizer_there_is_no_text():
    assert run(next_letter(), [0], max_tokens=2) == Generation((1, 2), "", "length")


def test_sampled_ids_equal_a_plain_loop():
    """The prompt counts for the penalty, and the decoder's state is carried."""
    decoder: Decoder = random_table()
    sampler = Sampler(SAMPLED, decoder.logit_exponent, decoder.valid_vocab)
    prompt = [3, 1, 4, 1, 5]
    state = sampler.observe(sampler.empty_state(1), np.array([prompt]))
    ids = list(prompt)
    for _ in range(30):
        logits, _ = decoder.forward(np.array([ids]), decoder.empty_state(1))
        drawn, state = sampler(logits[:, 0], state)
        ids.append(int(drawn[0]))
    result = run(random_table(), prompt, max_tokens=30, sampling=SAMPLED)
    assert list(result.token_ids) == ids[5:]
    assert len(set(result.token_ids)) > 3


@pytest.mark.parametrize(
    ("prompt", "options", "sentence"),
    [
        ([], {}, "the prompt has no tokens; give at least one"),
        (np.zeros(0), {}, "the prompt has no tokens; give at least one"),
        ([0, -1], {}, "the prompt's token id -1 is out of range; the model's ids are 0 to 7"),
        ([8], {}, "the prompt's token id 8 is out of range; the model's ids are 0 to 7"),
        ([1 << 70], {}, "the prompt's ids must be one row of whole numbers, such as"),
        ([0.5], {}, "the prompt's ids must be one row of whole numbers, such as"),
        ([[0], [1]], {}, "the prompt's ids must be one row of whole numbers, such as"),
        ([0], {"max_tokens": 0}, "max_tokens must be a whole number from 1 on, not 0; try 64"),
        ([0], {"max_tokens": 2.0}, "max_tokens must be a whole number from 1 on, not 2.0; try 64"),
        ([0], {"stop_ids": [8]}, "stop token id 8 is out of range; the model's ids are 0 to 7"),
        ([0], {"stop_strings": ["x"]}, "stop strings need a tokenizer, .*; give stop ids"),
        (
            [0],
            {"stop_strings": ["x", ""], "tokenizer": letter_tokenizer()},
            "a stop string is empty; give at least one character",
        ),
    ],
)
def test_mistakes_are_found_before_the_first_step(prompt, options, sentence):
    with pytest.raises(InputError, match=sentence):
        generate(next_letter(padding=2), prompt, **{"max_tokens": 5, "sampling": GREEDY, **options})


def test_tokenizer_of_another_vocabulary():
    with pytest.raises(InputError, match="the tokenizer has 8 ids and the model 10, so they do"):
        generate(random_table(), [0], max_tokens=5, sampling=GREEDY, tokenizer=letter_tokenizer())
