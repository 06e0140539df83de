"""``lightmamba evaluate``."""

import json
import math
from dataclasses import replace

import pytest

from lightmamba.model.qmodel import load, save
from tests.cli.conftest import write_ids
from tests.support.builders import TINY, random_model, write_choices
from tests.support.checkpoints import WORDED, write_state_spaces

KEYS = {"perplexity", "bits_per_byte", "standard_error", "tokens"}
AGAINST = KEYS | {"overflows", "ratio", "kl", "top1_agreement", "layers"}


def test_ids_on_a_quantized_file(run, world):
    found = run("evaluate", world.plain_file, "--ids", world.ids, "--window", 100, "--json").json
    assert found.keys() >= KEYS | {"overflows", "clipped", "calibration_overlap"}
    assert found["tokens"] == 700 - 7  # all but the first of each window
    assert found["bits_per_byte"] is None
    assert found["calibration_overlap"] == 0
    assert found["overflows"] == sum(found["overflows_by_kind"].values())
    assert found["clipped"] > 0
    assert 0 < found["standard_error"] < found["perplexity"] < 3000


def test_a_checkpoint_is_evaluated_in_floats(run, world):
    exact = run("evaluate", world.plain, "--ids", world.ids, "--json").json
    integer = run("evaluate", world.plain_file, "--ids", world.ids, "--json").json
    assert exact.keys() >= KEYS
    assert "overflows" not in exact
    assert exact["perplexity"] == pytest.approx(integer["perplexity"], rel=0.05)
    assert exact["perplexity"] != integer["perplexity"]


def test_against_the_checkpoint_in_its_own_basis(run, world):
    """The file's residual stream is rotated: only turned back can it be near the float one."""
    against = ("--ids", world.ids, "--against", world.plain, "--json")
    found = run("evaluate", world.plain_file, *against).json
    assert found.keys() >= AGAINST
    assert found["ratio"] == pytest.approx(found["perplexity"] / found["reference_perplexity"])
    assert 0 < found["kl"] < 0.05
    assert 0.8 < found["top1_agreement"] < 1
    assert [layer["name"] for layer in found["layers"]] == ["layer.0.residual", "layer.1.residual"]
    for layer in found["layers"]:
        assert layer["snr_db"] > 20
        assert layer["snr_db"] == pytest.approx(-20 * math.log10(layer["relative_error"]))


def test_what_is_traced_counts_no_saturation(run, world):
    """The first tokens are read once more for the layers, but not counted once more."""
    alone = run("evaluate", world.worded_file, "--text", world.text, "--json").json
    against = ("--text", world.text, "--against", world.worded, "--json")
    both = run("evaluate", world.worded_file, *against).json
    assert (both["clipped"], both["overflows"]) == (alone["clipped"], alone["overflows"])
    assert both["perplexity"] == alone["perplexity"]


def test_a_float_model_against_itself(run, world):
    against = ("--ids", world.ids, "--against", world.plain, "--json")
    found = run("evaluate", world.plain, *against).json
    assert (found["ratio"], found["top1_agreement"], found["first_divergence"]) == (1, 1, None)
    assert found["layers"][0] == {"name": "layer.0.residual", "relative_error": 0, "snr_db": None}


def test_the_reference_may_lack_the_tokenizer_that_the_file_has(run, world, tmp_path):
    """Then the file knows which ids are padding."""
    write_state_spaces(tmp_path / "bare", WORDED)
    against = ("--text", world.text, "--against", tmp_path / "bare", "--json")
    assert run("evaluate", world.worded_file, *against).json["ratio"] > 0


def test_a_file_that_does_not_say_how_it_was_made_has_no_layers(run, world, tmp_path):
    anonymous = replace(load(world.plain_file), origin={})
    save(anonymous, tmp_path / "m.safetensors")
    against = ("--ids", world.ids, "--against", world.plain, "--json")
    found = run("evaluate", tmp_path / "m.safetensors", *against).json
    assert found["layers"] == []
    assert found["kl"] < 0.05


def test_calibration_text_is_refused_or_marked(run, world):
    said = run("evaluate", world.plain_file, "--ids", world.calibration)
    assert "--allow-overlap" in said.refusal
    allowed = ("--ids", world.calibration, "--allow-overlap", "--json")
    assert run("evaluate", world.plain_file, *allowed).json["calibration_overlap"] > 0.4


@pytest.fixture
def tasks(tmp_path):
    """Two task files."""
    choices = write_choices(tmp_path / "choices.jsonl")
    (tmp_path / "words.jsonl").write_text('{"text": "The cat sat."}\n{"text": "It was night."}\n')
    return ("--task", choices, "--task", tmp_path / "words.jsonl")


def test_tasks_from_local_files(run, world, tasks):
    found = run("evaluate", world.worded_file, *tasks, "--json").json
    one, two = found["tasks"]
    assert (one["name"], one["rows"]) == ("choices", 3)
    assert one["metrics"]["acc"] in (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (two["name"], two["rows"], set(two["metrics"])) == ("words", 2, {"acc", "perplexity"})
    assert found["overflows"] >= 0
    assert "perplexity" not in found  # of no text
    shown = run("evaluate", world.worded_file, *tasks).out
    assert shown.count("± standard error") == 2
    assert f"{one['standard_errors']['acc']:.4g}" in shown
    limited = run("evaluate", world.worded, *tasks, "--limit", 1, "--text", world.text, "--json")
    assert [task["rows"] for task in limited.json["tasks"]] == [1, 1]
    assert limited.json["perplexity"] > 1


def test_questions_and_chats(run, world, tmp_path):
    """A chat's prompt is rendered; another one is taken as it is."""
    asked = tmp_path / "asked.jsonl"
    row = {"prompt": "It was", "settings": {"max_gen_toks": 6, "until": []}}
    words = ("generate", world.worded_file, "--max-tokens", 6)
    text = run(*words, "--prompt", "It was", "--json").json["text"]
    asked.write_text(json.dumps(row | {"answer": text}))
    found = run("evaluate", world.worded_file, "--task", asked, "--json").json["tasks"][0]
    assert (found["rows"], found["metrics"]) == (1, {"exact_match": 1.0})

    chat = tmp_path / "chat.safetensors"
    template = "The rain {{ messages[0].content }}{% if add_generation_prompt %} was{% endif %}"
    save(replace(load(world.worded_file), chat_template=template), chat)
    text = run(*words, "--prompt", "The rain It was was", "--json").json["text"]
    asked.write_text(json.dumps(row | {"answer": text}))
    found = run("evaluate", chat, "--task", asked, "--chat", "--json").json["tasks"][0]
    assert found["metrics"] == {"exact_match": 1.0}
    said = run("evaluate", world.worded_file, "--task", asked, "--chat")
    assert "no chat template; leave --chat out" in said.refusal
    assert "--chat is for tasks" in run("evaluate", chat, "--text", world.text, "--chat").refusal


def test_the_shipped_text_has_a_name(run, world, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lightmamba.cli.evaluate.heldout", lambda: "It was a dark and stormy night. " * 9
    )
    words = ("evaluate", world.worded, "--json", "--text")
    assert run(*words, "shipped").json["tokens"] > 20
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shipped").write_text("The rain fell.")
    assert run(*words, "shipped").json["tokens"] < 20  # a file of this name comes first


def test_a_journal_holds_what_was_found_under_all_that_it_depends_on(
    run, world, tasks, tmp_path, monkeypatch
):
    """Another model, text, option or version finds nothing there, and adds its own."""
    path, given = tmp_path / "j.jsonl", ("evaluate", world.worded_file, "--text", world.text)
    (tmp_path / "other.txt").write_text(world.text.read_text()[1:])
    sizes = [0]
    for words in (
        given, (*given[:2], *tasks), (*given[:2], *tasks, "--limit", 1),
        ("evaluate", world.plain_file, "--ids", world.ids), ("evaluate", world.worded, *given[2:]),
        (*given, "--window", 64), (*given, "--batch", 1), (*given, "--against", world.worded),
        (*given[:2], "--text", tmp_path / "other.txt"),
    ):  # fmt: skip
        for more in (True, False):  # the second time all is there
            assert run(*words, "--journal", path, "--json").status == 0
            sizes.append(path.stat().st_size)
            assert (sizes[-1] > sizes[-2]) == more, words
    monkeypatch.setattr("lightmamba.cli.evaluate.code_hash", lambda: "another version")
    assert run(*given, "--journal", path, "--json").status == 0
    assert path.stat().st_size > sizes[-1]
    said = run(*given, "--journal", world.text)
    assert "text.txt holds no records of this version" in said.refusal


def test_people_get_tables(run, world, tasks):
    said = run(
        "evaluate", world.worded_file, "--text", world.text, "--against", world.worded, *tasks
    )
    assert said.status == 0
    assert said.err == ""
    for word in ("perplexity", "ratio", "SNR", "layer.1.residual", "words (2 rows)", "acc"):
        assert word in said.out


def test_what_saturated_is_in_one_order_and_kept_by_a_journal(run, tmp_path):
    """A journal has of each piece only what saturated there, in the order of its kinds."""
    healthy = random_model(TINY)
    low = replace(healthy, residual_exp=healthy.residual_exp - 10, logit_exp=-27)
    save(low, tmp_path / "m.safetensors")
    ids = write_ids(tmp_path / "ids.txt", 0, 300, vocab=58)
    given = ("evaluate", tmp_path / "m.safetensors", "--ids", ids, "--window", 50, "--json")
    whole = run(*given)
    kinds = whole.json["overflows_by_kind"]
    assert len(kinds) > 2
    assert list(kinds) == sorted(kinds)
    journal = ("--journal", tmp_path / "j.jsonl")
    assert run(*given, *journal).out == whole.out
    assert run(*given, *journal).out == whole.out
