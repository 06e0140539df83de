"""Models whose every probability can be looked up, and a tokenizer that joins blanks to words."""

import re
import tracemalloc
from itertools import pairwise

import numpy as np

VOCAB, PADDED = 7, 9


class TableModel:
    """The next token depends on the last two: logits of t = table[ids[t - 1], ids[t]].

    The state is the last id of each row, and begins as an id of its own, ``VOCAB``; a reader that
    loses the state, or runs it on into the next window, gets other numbers. The columns of the
    padding hold the largest logits of all.
    """

    def __init__(self, table):
        self.table = np.asarray(table, np.float64)
        self.valid_vocab = self.table.shape[-1]
        self.vocab_size = self.valid_vocab + PADDED - VOCAB
        self.logit_exponent = 0
        self.shapes = []  # of every call

    @classmethod
    def random(cls, seed, vocab=VOCAB):
        return cls(np.random.default_rng(seed).normal(scale=2, size=(vocab + 1, vocab, vocab)))

    @classmethod
    def memoryless(cls, probabilities):
        """Predict the same distribution always."""
        p = np.asarray(probabilities, np.float64)
        return cls(np.broadcast_to(np.log(p), (len(p) + 1, len(p), len(p))))

    def empty_state(self, batch):
        return np.full(batch, self.valid_vocab)

    def forward(self, ids, state, *, last_only=True):
        self.shapes.append((*ids.shape, last_only))
        before = np.concatenate([state[:, None], ids[:, :-1]], axis=1)
        padding = np.full((*ids.shape, self.vocab_size - self.valid_vocab), 50.0)
        logits = np.concatenate([self.table[before, ids], padding], axis=-1)
        return logits[:, -1:] if last_only else logits, ids[:, -1]

    def log_probability(self, ids):
        """Score each id after the first, one by one, in plain Python."""
        found, before = [], self.valid_vocab
        for this, target in pairwise(ids):
            row = self.table[before, this]
            found.append(row[target] - np.log(np.exp(row).sum()))
            before = this
        return found

    def greedy(self, ids):
        """Tell for each id after the first whether it is the likeliest."""
        befores = [self.valid_vocab, *ids[:-2]]
        rows = [self.table[b, t] for b, t in zip(befores, ids[:-1], strict=True)]
        return [int(np.argmax(row)) == target for row, target in zip(rows, ids[1:], strict=True)]


class TracedModel(TableModel):
    """Shows two layers: the ids times ``gain``, and a silent one."""

    gain = 1.0

    def trace(self, ids):
        return [
            ("layer.0", ids[..., None] * np.array([self.gain, 2 * self.gain])),
            ("layer.1", np.zeros((*ids.shape, 3))),
        ]


class WideModel:
    """Integer logits of many columns, all of one row."""

    logit_exponent = -4

    def __init__(self, vocab):
        self.vocab_size = self.valid_vocab = vocab
        self.row = np.random.default_rng(1).integers(-100, 100, vocab).astype(np.int32)

    def empty_state(self, batch):
        return np.zeros(batch)

    def forward(self, ids, state, *, last_only=True):
        out = np.empty((*ids.shape, self.vocab_size), np.int32)
        out[:] = self.row
        return out, state


class BlankTokenizer:
    """One id per printable character or newline, another where a blank stands before it."""

    vocab = vocab_size = 2 * 96

    def encode(self, text):
        return [self._id(piece) for piece in re.findall(r" ?[^ ]| ", text)]

    def decode(self, ids):
        return "".join(" " * (i >= 96) + ("\n" if i % 96 == 95 else chr(i % 96 + 32)) for i in ids)

    @staticmethod
    def _id(piece):
        last = piece[-1]
        code = 95 if last == "\n" else (ord(last) - 32) % 95
        return code + 96 * (len(piece) == 2)


def random_ids(seed, count, vocab=VOCAB):
    return np.random.default_rng(seed).integers(0, vocab, count)


def peak(work):
    """Most bytes that Python held while something was done."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
