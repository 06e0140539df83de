"""Plans: what they multiply out to, and what is wrong with them in one sentence."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightmamba.common.errors import InputError
from lightmamba.model.data import demo_checkpoint
from lightmamba.study.sweep import Entry, Plan, read_plan
from lightmamba.study.sweep.sources import Sources
from tests.sweep.cases import title

WHOLE = """
models = ["demo", { place = "tiny", name = "mine" }]
recipes = ["float", "w4a4"]
texts = ["shipped", { place = "text.txt", name = "short", tokens = 100, window = 32 }]
tasks = [{ place = "choices.jsonl", metric = "acc_norm" }]
targets = ["tiny"]
against = true
rows = 2

[calibration]
sequences = 4
"""


def parse(world, text):
    (world.root / "plan.toml").write_text(text)
    return read_plan(world.root / "plan.toml")


def test_a_plan_multiplies_out(world):
    jobs = parse(world, WHOLE).jobs()
    assert [title(job) for job in jobs] == [
        f"{model}, {recipe}, {measure}"
        for model in ("demo", "mine")
        for recipe in ("float", "w4a4")
        for measure in ("shipped novels", "short", "choices", "tiny")
        if (recipe, measure) != ("float", "tiny")
    ]
    assert len({job.key for job in jobs}) == len(jobs)
    first, _, choices, *_, short, _, _ = jobs
    assert first.model.place == str(demo_checkpoint().resolve())
    assert (first.measure.place, first.measure.against) == (None, False)  # float against float
    assert (choices.measure.rows, choices.measure.metric) == (2, "acc_norm")
    assert (short.measure.tokens, short.measure.window, short.measure.against) == (100, 32, True)
    assert (short.learning.sequences, short.learning.seqlen) == (4, 512)


def test_shapes_have_targets_only(world):
    plan = Plan(
        models=(Entry("mamba2-2.7b"), Entry("tiny")),
        recipes=(Entry("w4a4"),),
        texts=(Entry("text.txt"),),
        targets=(Entry("u280"),),
        folder=world.root,
    )
    assert [title(job) for job in plan.jobs()] == [
        "mamba2-2.7b, w4a4, u280", "tiny, w4a4, text", "tiny, w4a4, u280",
    ]  # fmt: skip
    with pytest.raises(InputError, match="is a shape, which has no weights to evaluate"):
        replace(plan, targets=()).jobs()
    with pytest.raises(InputError, match="the plan has nothing to do"):
        replace(plan, models=(Entry("mamba2-2.7b"),), recipes=(Entry("float"),)).jobs()


def test_a_changed_file_is_another_job(world, tmp_path):
    plan = replace(world.plan, texts=(Entry(str(tmp_path / "t.txt")),), tasks=())
    (tmp_path / "t.txt").write_text("one")
    first = [job.key for job in plan.jobs()]
    assert [job.key for job in plan.jobs()] == first
    (tmp_path / "t.txt").write_text("other")
    assert not {job.key for job in plan.jobs()} & set(first)


def test_the_plan_of_the_docs(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "howto" / "sweep.md"
    (block,) = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "plan.toml").write_text(block)
    plan = read_plan(tmp_path / "plan.toml")
    assert [len(x) for x in (plan.models, plan.recipes, plan.texts, plan.tasks)] == [2, 3, 2, 1]


CASES = [
    ("models = [", "is not TOML"),
    ("", "the plan has no models; a short one: models = "),
    ('models = ["demo"]', "has no recipes"),
    ('models = ["demo"]\nrecipes = ["w4a4"]', "has no texts, tasks or targets"),
    ('modles = ["demo"]', "there is no key modles; known are"),
    ('models = "demo"', "models must be a list, not 'demo'"),
    ("models = [3]", "models[0] must be a text or a table, not 3"),
    ('models = [{ name = "x" }]', "has no place; write { place ="),
    ('models = [{ place = "x", token = "y" }]', "[models] has no key token; it has place"),
    ('models = [{ place = "x", tokenizer = 1 }]', "models.tokenizer must be a text, not 1"),
    ("tokens = true", "tokens must be a whole number, not True"),
    ('against = "yes"', "against must be true or false"),
    ("[calibration]\nseq = 1", "[calibration] has no key seq; it has text"),
    ("[calibration]\nsequences = 0", "sequences of calibration must be at least 1, not 0"),
    ('models = ["a"]\nrecipes = ["b"]\ntexts = ["c"]\nwindow = 1', "window of the plan must be"),
    ('models=["a"]\nrecipes=["b"]\ntexts=[{place="c", tokens=0}]', "tokens of texts must be"),
]


@pytest.mark.parametrize(("text", "sentence"), CASES)
def test_one_sentence(world, text, sentence):
    with pytest.raises(InputError, match=r"plan\.toml") as error:
        parse(world, text)
    assert sentence in str(error.value)


def test_a_task_of_lm_eval_is_one(world, monkeypatch):
    tagged = SimpleNamespace(tags={"c", "b"}, cfg=None)
    grouped = SimpleNamespace(tags=set(), cfg={"task": ["d", {"task": "e"}]})
    tasks = SimpleNamespace(
        all_subtasks=["a", "a_2", "b"], task_index={"tag": tagged, "group": grouped},
        match_tasks=lambda names: ["a", "a_2"] if names == ["a*"] else names,
    )  # fmt: skip
    monkeypatch.setattr("lightmamba.evaluate.harness._all_tasks", lambda: tasks)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.4")
    sources = Sources(world.root)
    assert sources.task(Entry("a"), None).version == "0.4"
    for name, some in (("a*", "a, a_2"), ("tag", "b, c"), ("group", "d")):
        with pytest.raises(InputError, match=f"several tasks; name each, such as {some}$"):
            sources.task(Entry(name), None)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"models": (Entry("nowhere"),)}, "there is no folder"),
        ({"models": (Entry("tiny"), Entry("tiny"))}, "two models of the plan are called 'tiny'"),
        ({"models": (Entry("tiny", "x"), Entry("demo", "x"))}, "give one a name"),
        ({"recipes": (Entry("w3a3"),)}, "shipped recipes: "),
        ({"tasks": (Entry("text.jsonl"),)}, "cannot be read"),
        ({"tasks": (Entry("arc.yaml"),)}, "arc.yaml may include files that a sweep cannot hash"),
        ({"tasks": (Entry("choices.jsonl", None, {"metric": "f1"}),)}, "has no metric 'f1'"),
        ({"targets": (Entry("u281"),)}, "there is no target u281"),
        ({"tasks": (Entry("choices.jsonl", "text"),)}, "are called 'text'"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_done(world, change, sentence):
    with pytest.raises(InputError) as error:
        replace(world.plan, **change).jobs()
    assert sentence in str(error.value)
