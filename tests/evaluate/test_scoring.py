"""Batched scores against one-by-one sums."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models
from tokenizers.processors import TemplateProcessing

from lightmamba.common.errors import InputError
from lightmamba.evaluate import Request, score
from lightmamba.evaluate.scoring import encode_pair
from lightmamba.model.tokenizer import BareTokenizer, Tokenizer

from .fakes import VOCAB, BlankTokenizer, TableModel, WideModel, peak, random_ids

ids = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9).map(tuple)
requests = st.lists(st.builds(Request, ids, ids), min_size=1, max_size=7)


def one_by_one(model, request):
    everything = [*request.context, *request.continuation]
    count = len(request.continuation)
    return (
        sum(model.log_probability(everything)[-count:]),
        all(model.greedy(everything)[-count:]),
    )


@given(requests=requests, batch=st.integers(1, 4))
def test_equals_one_by_one(requests, batch):
    model = TableModel.random(0)
    for got, request in zip(score(model, requests, batch=batch), requests, strict=True):
        log_likelihood, is_greedy = one_by_one(model, request)
        assert math.isclose(got.log_likelihood, log_likelihood, rel_tol=1e-12)
        assert got.is_greedy == is_greedy


@pytest.mark.parametrize("context", [1, 63, 64, 65, 130])
def test_long_requests_cross_pieces(context):
    model, text = TableModel.random(0), tuple(random_ids(1, 200).tolist())
    requests = [Request(text[:context], text[context:]), Request(text[:3], text[3:5])]
    for got, request in zip(score(model, requests), requests, strict=True):
        assert math.isclose(got.log_likelihood, one_by_one(model, request)[0], rel_tol=1e-12)


def test_a_shared_context_is_read_once_and_without_logits():
    model, text = TableModel.random(0), tuple(random_ids(1, 400).tolist())
    requests = [Request(text[:300], (a, b)) for a in range(4) for b in range(3)]
    for got, request in zip(score(model, requests), requests, strict=True):
        log_likelihood, is_greedy = one_by_one(model, request)
        assert math.isclose(got.log_likelihood, log_likelihood, rel_tol=1e-12)
        assert got.is_greedy == is_greedy
    assert model.shapes == [(1, 256, True), (1, 43, True), (12, 2, False)]


def test_contexts_of_one_length_run_together():
    """Calls see 64 tokens or more where there are as many, and never a padded context."""
    model = TableModel.random(0)
    requests = [Request(tuple(random_ids(i, 40).tolist()), (1,)) for i in range(14)]
    requests += [Request((*requests[0].context, 3), (2, 5, 1))]
    score(model, requests)
    assert model.shapes == [
        (1, 40, True), (1, 3, False),
        (7, 36, True), (7, 3, True), (7, 1, False), (7, 36, True), (7, 3, True), (7, 1, False),
    ]  # fmt: skip


def test_padding_changes_no_last_bit():
    """A short continuation next to a long one has the sum that it has alone."""
    rng = np.random.default_rng(5)
    model = TableModel.random(5)
    requests = [
        Request((int(rng.integers(VOCAB)),), tuple(rng.integers(0, VOCAB, n).tolist()))
        for n in range(9, 60)
    ]
    assert score(model, requests) == [score(model, [request])[0] for request in requests]


def test_memory_does_not_grow_with_a_continuation():
    """One piece of logits is held, however long the text of a request is."""

    model = WideModel(1 << 14)
    request = Request((1,), (2,) * 8192)
    assert peak(lambda: score(model, [request])) < 256 * model.vocab_size * 4 + 4e6


def test_a_greedy_continuation_is_known():
    """One wrong token is enough, in whichever piece it lies."""
    model = TableModel.random(0)
    text = greedy_text(model, [1, 2])
    wrong = (text[2] + 1) % VOCAB
    early = greedy_text(model, [1, 2, wrong])
    late = [*text[:-1], (text[-1] + 1) % VOCAB]
    scores = score(model, [Request((1, 2), tuple(each[2:])) for each in (text, early, late)])
    assert [each.is_greedy for each in scores] == [True, False, False]


def greedy_text(model, ids):
    text = list(ids)
    while len(text) < 300:  # more than one piece
        text.append(int(model.table[text[-2], text[-1]].argmax()))
    return text


def test_the_cut_is_where_the_context_ends():
    tokenizer = BlankTokenizer()
    for context, continuation in (("ab", " cd"), ("ab ", "cd")):
        request = encode_pair(tokenizer, context, continuation)
        assert tokenizer.decode(request.context) == "ab"
        assert tokenizer.decode(request.continuation) == " cd"
        assert len(request.continuation) == 2  # the blank is joined to the c


def test_the_end_of_text_stands_for_an_empty_context():
    assert encode_pair(BlankTokenizer(), "", "cd", begins=5).context == (5,)
    with pytest.raises(InputError, match="the context has no token"):
        encode_pair(BlankTokenizer(), "", "cd")
    with pytest.raises(InputError, match="the continuation has no token"):
        encode_pair(BlankTokenizer(), "cd", "")


def test_a_text_begins_as_the_tokenizer_has_it():
    """With its special id, but once, and also where the context is empty."""
    inner = Library(models.BPE({letter: n for n, letter in enumerate("abcdefgh")}, []))
    inner.add_special_tokens(["h"])
    inner.post_processor = TemplateProcessing(single="h $A g", special_tokens=[("h", 7), ("g", 6)])
    tokenizer = BareTokenizer(Tokenizer(inner), begins=True)
    for context in ("ab", "hab"):
        assert encode_pair(tokenizer, context, "cd") == Request((7, 0, 1), (2, 3))
    assert encode_pair(tokenizer, "", "cd", begins=7) == Request((7,), (2, 3))
    assert encode_pair(BareTokenizer(Tokenizer(inner)), "ab", "cd") == Request((0, 1), (2, 3))


def test_progress_and_refusals():
    model, seen = TableModel.random(0), []
    contexts = [(0, 1), (2, 3), (1, 2), (4,)]
    requests = [Request(context, (1,) * n) for context in contexts for n in (1, 3)]
    score(model, requests, batch=2, progress=lambda *step: seen.append(step))
    assert seen == [(10, 19), (15, 19), (19, 19)]  # a context but its last, and what is scored
    request = Request((0,), (1,))
    with pytest.raises(InputError, match="token id 7 at position 1 is out of range"):
        score(model, [Request((0,), (7,))])
    with pytest.raises(InputError, match="the batch must be at least 1"):
        score(model, [request], batch=0)
    model.table[:] = np.nan
    with pytest.raises(InputError, match="no finite log-likelihood"):
        score(model, [request])
