"""lm-eval's tasks on a model of ours; what needs lm-eval itself is skipped where it is missing."""

import json
import math
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.evaluate import Journal, evaluate_file, harness, run_tasks

from .fakes import BlankTokenizer, TableModel

needs_lm_eval = pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is missing")

ROWS = [
    {"query": "Birds can", "choices": ["fly", "run", "do long division"], "gold": 0},
    {"query": "Snow is", "choices": ["ñañaña", "white and cold", "hot"], "gold": 1},
    {"query": "He ate", "choices": ["soup", "a small stone", "it"], "gold": 2},
]
YAML = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{query}}}}"
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - metric: acc
  - metric: acc_norm
  - metric: acc_bytes
"""


@pytest.fixture(autouse=True)
def few(tmp_path, monkeypatch):
    """Leave one of lm-eval's own tasks: it takes ten seconds to index thousands."""
    if find_spec("lm_eval") is not None:
        from lm_eval.tasks import manager

        own = tmp_path / "own"
        shutil.copytree(Path(manager.__file__).with_name("piqa"), own)
        monkeypatch.setattr(manager, "__file__", str(own / "manager.py"))


@pytest.fixture
def model():
    return TableModel.random(4, BlankTokenizer.vocab)


@pytest.fixture
def folder(tmp_path):
    """A folder with one task and its rows."""
    data = tmp_path / "birds.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    task = YAML.format(name="birds", data=data, cache=tmp_path / "cache")
    (tmp_path / "birds.yaml").write_text(task)
    return tmp_path


WRITTEN = """\
task: written
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
test_split: test
output_type: generate_until
doc_to_text: "{{{{query}}}}"
doc_to_target: "{{{{choices[gold]}}}}"
generation_kwargs: {{until: ["~"], max_gen_toks: 5}}
metric_list:
  - metric: exact_match
"""


@needs_lm_eval
@pytest.mark.filterwarnings("ignore")
def test_prompts_are_turns_of_a_conversation(model, folder, tmp_path):
    """By the model's own template."""
    task = WRITTEN.format(data=folder / "birds.jsonl", cache=tmp_path / "cache")
    (folder / "written.yaml").write_text(task)
    rendered = []

    def template(messages, *, add_generation_prompt=True):
        rendered.append((messages, add_generation_prompt))
        return "".join(f"{each['role']}: {each['content']}" for each in messages)

    (found,) = run_tasks(
        model, BlankTokenizer(), ["written"], include_path=folder, template=template
    )
    assert (found.rows, set(found.metrics)) == (3, {"exact_match"})
    assert [messages for messages, _ in rendered[-3:]] == [
        [{"role": "user", "content": row["query"]}] for row in ROWS
    ]
    assert all(prompt for _, prompt in rendered)


def instances(*args):
    return [SimpleNamespace(args=each) for each in args]


def adapter(model, **settings):
    from lightmamba.evaluate.lm_adapter import HarnessModel

    return HarnessModel(model, BlankTokenizer(), **settings)


def test_a_missing_extra_gets_one_sentence(model, monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install '\.\[evaluation\]' \(in a clone"):
        run_tasks(model, BlankTokenizer(), ["birds"])


def test_bad_arguments_are_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="nowhere is not a folder of task YAML files"):
        run_tasks(model, BlankTokenizer(), ["birds"], include_path=tmp_path / "nowhere")
    with pytest.raises(InputError, match="the limit must be at least 1 row, not 0"):
        run_tasks(model, BlankTokenizer(), ["birds"], limit=0)


@needs_lm_eval
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by_path", [False, True])
def test_a_local_task_equals_our_own_count(model, folder, by_path, capsys):
    name = str(folder / "birds.yaml") if by_path else "birds"
    (got,) = run_tasks(
        model, BlankTokenizer(), [name], include_path=None if by_path else folder, batch=2
    )
    want = evaluate_file(model, BlankTokenizer(), folder / "birds.jsonl")
    assert (got.name, got.rows) == ("birds", 3)
    assert set(got.metrics) == set(want.metrics)
    for metric, estimate in got.metrics.items():
        assert estimate.value == pytest.approx(want.metrics[metric].value)
        assert estimate.standard_error == pytest.approx(want.metrics[metric].standard_error)
    assert capsys.readouterr().out == ""


@needs_lm_eval
@pytest.mark.filterwarnings("ignore")
def test_limit_and_unknown_names(model, folder):
    (got,) = run_tasks(model, BlankTokenizer(), ["birds"], include_path=folder, limit=1)
    assert got.rows == 1
    assert got.metrics["acc"].standard_error is None
    for wrong, right in (("birdz", "birds"), ("piqua", "piqa")):
        with pytest.raises(InputError, match=f"no task is called '{wrong}'; try {right}"):
            run_tasks(model, BlankTokenizer(), [wrong], include_path=folder)
    with pytest.raises(InputError, match=r"none\.yaml does not exist"):
        run_tasks(model, BlankTokenizer(), [str(folder / "none.yaml")])
    (folder / "birds.jsonl").unlink()
    with pytest.raises(InputError, match="the data of birds cannot be loaded"):
        run_tasks(model, BlankTokenizer(), ["birds"], include_path=folder)


@needs_lm_eval
@pytest.mark.filterwarnings("ignore")
def test_a_journal_keeps_log_likelihoods(model, folder, tmp_path):
    found: list[Any] = []
    for _ in range(2):
        model.shapes.clear()
        with Journal(tmp_path / "j.jsonl") as journal:
            options = {"include_path": folder, "journal": journal}
            found += run_tasks(model, BlankTokenizer(), ["birds"], **options)
    assert found[0] == found[1]
    assert model.shapes == []


@needs_lm_eval
@pytest.mark.filterwarnings("ignore")
def test_log_likelihoods(model):
    tokenizer = BlankTokenizer()
    lm = adapter(model, begins=9)
    ids = tokenizer.encode("Birds can fly")
    ((log_likelihood, greedy),) = lm.loglikelihood(instances(("Birds can", " fly")))
    assert math.isclose(log_likelihood, sum(model.log_probability(ids)[-3:]))
    assert not greedy
    ((alone, _),) = lm.loglikelihood(instances(("", "Birds can fly")))
    assert math.isclose(alone, sum(model.log_probability([9, *ids])))
    assert lm.loglikelihood_rolling(instances(("Birds can fly",))) == [alone]
    (without,) = adapter(model).loglikelihood_rolling(instances(("Birds can fly",)))
    assert math.isclose(without, sum(model.log_probability(ids)))


@needs_lm_eval
@pytest.mark.filterwarnings("ignore")
def test_generation_is_greedy_and_stops(model):
    tokenizer = BlankTokenizer()
    written = list(tokenizer.encode("Birds"))
    for _ in range(20):
        written.append(int(np.argmax(model.table[written[-2], written[-1]])))
    text = tokenizer.decode(written[5:])
    lm = adapter(model)

    def generate(**settings):
        return lm.generate_until(instances(("Birds", settings)))[0]

    model.shapes.clear()
    assert generate(max_gen_toks=20) == text
    assert model.shapes == [(1, 5, True)] + [(1, 1, True)] * 19
    assert generate(max_gen_toks=20, temperature=0, do_sample=True) == text
    assert generate(max_gen_toks=20, until=text[4:6]) == text[: text.index(text[4:6])]
    last = max(i for i in range(1, 20) if text.index(text[i]) == i)  # a letter's first place
    assert (
        generate(max_gen_toks=20, until=["~~", text[last], text[last - 1 : last + 1]])
        == (text[: last - 1])
    )
    lm = adapter(model, ends=(written[10],))
    assert generate(max_gen_toks=20) == tokenizer.decode(written[5 : written.index(written[10], 5)])
    with pytest.raises(InputError, match="a prompt of zero tokens"):
        adapter(model).generate_until(instances(("", {})))
