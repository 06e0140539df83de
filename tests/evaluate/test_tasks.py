"""Task files: their forms, their prompts, and their metrics against one-by-one sums."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.evaluate import Subject, evaluate_file
from lightmamba.evaluate.reader import Reader
from lightmamba.evaluate.tasks import Question, read_rows

from .fakes import BlankTokenizer, TableModel

CHOICES: list[dict[str, Any]] = [
    {"query": "Question: What is wet?\n", "choices": ["Fire.", "The deep sea."], "gold": 1},
    {"query": "Birds can", "choices": ["fly", "run", "do long division"], "gold": 0},
    {"query": "Question: Two and two?", "choices": ["four", "éééé", "one"], "gold": 0},
    {"query": "Snow is", "choices": ["ñañaña", "white and cold", "hot"], "gold": 1},
    {"query": "He ate", "choices": ["soup", "a small stone"], "gold": 0},
]
CONTEXTS: list[dict[str, Any]] = [
    {"context_options": ["Ann hit Bob, so Ann", "Ann hit Bob, so Bob"], "continuation": "cried."},
    {
        "context_options": ["The cup fell on it: it", "The cup fell: the cup"],
        "continuation": "hurt.",
    },
]
TEXTS = [{"text": "He sat down on the\nred chair"}, {"text": "We said no"}, {"text": "I am I"}]


@pytest.fixture
def model():
    return TableModel.random(3, BlankTokenizer.vocab)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sum_of(model, context, continuation):
    """Log-likelihood and greediness of a continuation, one token at a time."""
    tokenizer = BlankTokenizer()
    ids = tokenizer.encode(context + continuation)
    cut = len(tokenizer.encode(context)) - 1
    return sum(model.log_probability(ids)[cut:]), all(model.greedy(ids)[cut:])


def assert_mean(estimate, values):
    assert math.isclose(estimate.value, np.mean(values))
    assert math.isclose(
        estimate.standard_error, np.std(values, ddof=1) / math.sqrt(len(values)), abs_tol=1e-12
    )


@pytest.mark.parametrize("batch", [1, 4])
def test_multiple_choice(tmp_path, model, batch):
    hits: dict[str, list[bool]] = {"acc": [], "acc_norm": [], "acc_bytes": []}
    for row in CHOICES:
        query = row["query"].strip() + "\nAnswer:" * row["query"].startswith("Question:")
        sums = np.array([sum_of(model, query, f" {choice}")[0] for choice in row["choices"]])
        sizes = {
            "acc": [1] * len(sums),
            "acc_norm": [len(choice) for choice in row["choices"]],
            "acc_bytes": [len(choice.encode()) for choice in row["choices"]],
        }
        for name, size in sizes.items():
            hits[name].append(np.argmax(sums / size) == row["gold"])
    assert len({tuple(each) for each in hits.values()}) == 3  # the three are told apart
    result = evaluate_file(
        model, BlankTokenizer(), write(tmp_path / "quiz.jsonl", CHOICES), batch=batch
    )
    assert (result.name, result.rows) == ("quiz", len(CHOICES))
    for name, values in hits.items():
        assert_mean(result.metrics[name], values)


def test_prompts(tmp_path):
    rows = [CHOICES[0], CHOICES[1], CONTEXTS[0] | {"gold": 0}]
    found: list[Any] = read_rows(write(tmp_path / "prompts.jsonl", rows))
    asked, plain, who = found
    question = "Question: What is wet?\nAnswer:"
    assert asked.pairs == ((question, " Fire."), (question, " The deep sea."))
    assert asked.answers == ("Fire.", "The deep sea.")
    assert plain.pairs[0] == ("Birds can", " fly")
    assert who.pairs == (("Ann hit Bob, so Ann", " cried."), ("Ann hit Bob, so Bob", " cried."))


@pytest.mark.parametrize("gold", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_which_context(tmp_path, model, gold):
    rows = [row | {"gold": right} for row, right in zip(CONTEXTS, gold, strict=True)]
    hits = []
    for row in rows:
        end = f" {row['continuation']}"
        sums = [sum_of(model, context, end)[0] for context in row["context_options"]]
        hits.append(np.argmax(sums) == row["gold"])
    result = evaluate_file(model, BlankTokenizer(), write(tmp_path / "who.jsonl", rows))
    assert_mean(result.metrics["acc"], hits)
    assert result.metrics["acc_norm"] == result.metrics["acc"]


def test_last_word(tmp_path, model):
    pairs = [("He sat down on the\nred", " chair"), ("We said", " no"), ("I am", " I")]
    _expect(model, *pairs[2])
    sums, greedy = zip(*(sum_of(model, *pair) for pair in pairs), strict=True)
    assert set(greedy) == {True, False}
    result = evaluate_file(model, BlankTokenizer(), write(tmp_path / "last.jsonl", TEXTS))
    assert_mean(result.metrics["acc"], greedy)
    perplexity = result.metrics["perplexity"]
    assert math.isclose(perplexity.value, math.exp(-np.mean(sums)))
    spread = np.std(sums, ddof=1) / math.sqrt(3)
    assert perplexity.standard_error == pytest.approx(perplexity.value * spread)


def test_limit(tmp_path, model):
    path = write(tmp_path / "quiz.jsonl", CHOICES)
    assert evaluate_file(model, BlankTokenizer(), path, limit=2).rows == 2
    assert evaluate_file(model, BlankTokenizer(), path, limit=99).rows == len(CHOICES)
    one = evaluate_file(model, BlankTokenizer(), path, limit=1)
    assert one.metrics["acc"].standard_error is None
    with pytest.raises(InputError, match="the limit must be at least 1 row, not 0"):
        read_rows(path, 0)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is not a row of a task; a row looks like"),
        ('{"query": "a", "choices": ["b"], "gold": 0}', "line 2 must have two choices or more"),
        ('{"query": "a", "choices": ["b", 1], "gold": 0}', "line 2 must have two choices or more"),
        ('{"query": "a", "choices": ["b", ""], "gold": 0}', "line 2 must have two choices or more"),
        ('{"query": "a", "choices": ["b", "c"], "gold": 2}', "gold 2; it must be one of 0 to 1"),
        ('{"query": "a", "choices": ["b", "c"], "gold": "1"}', "gold '1'; it must be one of"),
        ('{"query": "a", "choices": ["b", "c"], "gold": true}', "gold True; it must be one of"),
        ('{"context_options": ["a", 2], "continuation": "c", "gold": 0}', "line 2 must have two"),
        ('{"context_options": ["a", "b"], "continuation": " ", "gold": 0}', "none of them empty"),
        ('{"text": "word"}', "line 2 has no last word after a context"),
        ('{"text": "the cat sat"}', "line 2 is of another kind than the rows before it"),
        ('{"prompt": "a"}', 'line 2 has no answer to its prompt; a row looks like {"prompt"'),
        ('{"prompt": "a", "answer": 4}', "line 2 has no answer to its prompt"),
        ('{"prompt": "a", "answer": ["b", 4]}', "line 2 must have a prompt and an answer"),
        ('{"prompt": "", "answer": "b"}', "line 2 must have a prompt and an answer"),
        ('{"prompt": "a", "answer": " "}', "neither of them empty"),
        ('{"prompt": "a", "answer": "b", "pattern": "("}', r"pattern '\(', which is no regular"),
        ('{"prompt": "a", "answer": "b", "settings": [1]}', r"settings \[1\]; try"),
        (
            '{"prompt": "a", "answer": "b", "settings": {"max_gen_tok": 3}}',
            "line 2 has the setting 'max_gen_tok'; there are until, max_gen_toks, do_sample, temp",
        ),
        ('{"prompt": "a", "answer": "b"}', "line 2 is of another kind than the rows before it"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, sentence):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(CHOICES[0]) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=sentence) as caught:
        read_rows(path)
    assert "bad.jsonl" in str(caught.value)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none.jsonl cannot be read: No such file"):
        read_rows(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match=r"empty.jsonl has no rows"):
        read_rows(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary.jsonl is not UTF-8"):
        read_rows(tmp_path / "binary.jsonl")


@pytest.mark.parametrize(
    ("pattern", "text", "right"),
    [
        (None, " 4 ", True),
        (None, "It is 4", False),
        ("[0-9]+", "2 + 2 is 4", True),
        ("[0-9]+", "4, not 5", False),
        ("is ([0-9]+)", "is 5, no, is 4!", True),
        ("is ([0-9]+)", "4", False),
        ("is (x)?", "is 4", False),
    ],
)
def test_an_answer(pattern, text, right):
    assert Question("2 + 2?", ("four", "4"), pattern).is_answered(text) == right


def test_questions(tmp_path, model):
    """A model that goes on is right once its text ends where the answer does."""
    tokenizer = BlankTokenizer()
    (text,) = Reader(model, tokenizer).write("", [("Birds", {"max_gen_toks": 6})])
    row = {"prompt": "Birds", "answer": ["no", text], "settings": {"max_gen_toks": 6, "until": []}}
    other = row | {"answer": text[:3], "settings": {"max_gen_toks": 6, "until": text[3]}}
    path = write(tmp_path / "birds.jsonl", [row, other, row | {"answer": "no"}])
    found = evaluate_file(model, tokenizer, path)
    assert found.rows == 3
    assert_mean(found.metrics["exact_match"], [1, 1, 0])

    def template(messages):
        return messages[0]["content"].replace("Dogs", "Birds")

    path = write(path, [row | {"prompt": "Dogs"}])
    asked = evaluate_file(model, tokenizer, path, template=template)
    assert asked.metrics["exact_match"].value == 1


def test_a_text_ends_with_its_line(tmp_path, model):
    tokenizer = BlankTokenizer()
    settings = {"max_gen_toks": 200, "temperature": 2.0}
    (text,) = Reader(model, tokenizer).write("", [("Birds", settings)])
    line, _, rest = text.partition("\n")
    assert rest
    path = write(
        tmp_path / "birds.jsonl", [{"prompt": "Birds", "answer": line or "?", "settings": settings}]
    )
    assert evaluate_file(model, tokenizer, path).metrics["exact_match"].value == bool(line.strip())


def test_each_end_that_a_model_has_ends_a_text(tmp_path, model, monkeypatch):
    """End of text and end of turn both end it; an empty context is the id that begins a text."""
    given: Any = SimpleNamespace(special_ids={"eos": [3, 7]}, chat_template=None)
    tokenizer: Any = BlankTokenizer()
    tokenizer.first = ()
    readers: list[Reader] = []

    def written(reader, name, prompts):
        readers.append(reader)
        return ["no"]

    monkeypatch.setattr(Reader, "write", written)
    rows = write(tmp_path / "t.jsonl", [{"prompt": "Birds", "answer": "no"}])
    subject = Subject(model, given, "", None)
    monkeypatch.setattr(Subject, "tokenizer", tokenizer)
    assert len(subject.tasks([str(rows)])) == 1
    assert (readers[0].begins, readers[0].ends) == (3, (3, 7))
    given.special_ids["bos"] = 5
    subject.tasks([str(rows)])
    assert readers[1].begins == 5


def _expect(model, context, continuation):
    """Make the continuation the likeliest."""
    ids = BlankTokenizer().encode(context + continuation)
    for before, this, target in zip(ids, ids[1:], ids[2:], strict=False):
        model.table[before, this, target] = 30
