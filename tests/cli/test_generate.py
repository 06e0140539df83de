"""``lightmamba generate``."""

import io
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightmamba.arch.target import Target
from lightmamba.cli import main
from lightmamba.hardware.compiler import build
from lightmamba.model.config import SHAPES
from lightmamba.model.data import HYBRID, bundled_file
from lightmamba.model.qmodel import load, save
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.native import usable_isas
from tests.support.builders import made_up, random_model

SAMPLED = ("--temperature", "1.2", "--top-k", "60", "--top-p", "0.98", "--min-p", "0.001",
           "--repetition-penalty", "1.1")  # fmt: skip


def generate(run, world, *options, tokens=24):
    arguments = ("--prompt", "It was", "--max-tokens", tokens, *options, "--json")
    return run("generate", world.worded_file, *arguments).json


def test_greedy_text_and_its_ids(run, world):
    found = generate(run, world)
    assert {"text", "token_ids", "tokens_per_second"} <= found.keys()
    assert (len(found["token_ids"]), found["finish_reason"]) == (24, "length")
    assert found["prompt_tokens"] == len("It was")  # single characters
    assert found["tokens_per_second"] > 0
    data = load(world.worded_file).tokenizer
    assert data is not None
    assert found["text"] == Tokenizer.from_bytes(data).decode(found["token_ids"])


def test_kernels_by_hand(run, world):
    """Any of them write the same text; none stays chosen."""
    text = generate(run, world)["text"]
    for isa in usable_isas():
        assert generate(run, world, "--isa", isa)["text"] == text
        said = run("generate", world.worded_file, "--prompt", "It was", "--isa", isa, "--verbose")
        assert f"the engine runs {isa} kernels" in said.err
    said = run("generate", world.worded_file, "--prompt", "It was", "--isa", "sse9")
    assert "no sse9 kernels for this processor; there are: portable" in said.refusal


def test_the_speed_of_prompt_and_text_apart(run, world, monkeypatch):
    """Six tokens are read in two seconds, and 23 follow the first in three."""

    def stopped():
        times = iter((10.0, 12.0, 15.0))
        clock = SimpleNamespace(perf_counter=lambda: next(times))
        monkeypatch.setattr("lightmamba.cli.generate.time", clock)

    stopped()
    found = generate(run, world)
    assert found["prompt_tokens_per_second"] == 3
    assert found["generation_tokens_per_second"] == pytest.approx(23 / 3)
    assert found["tokens_per_second"] == pytest.approx(24 / 5)
    stopped()
    assert generate(run, world, tokens=1)["generation_tokens_per_second"] is None
    words = ("generate", world.worded_file, "--prompt", "It was", "--max-tokens")
    stopped()
    assert run(*words, 24).err == (
        "prompt: 6 tokens, 3 per second; generated: 24 tokens, 7.7 per second; "
        "ended by --max-tokens\n"
    )
    stopped()
    assert "generated: 1 token; ended by" in run(*words, 1).err
    stopped()
    assert run(*words, 1, "--quiet").err == ""


def test_every_sampling_option_counts(run, world):
    """Each one, set to what leaves a single candidate or changes the logits, changes the text."""
    hot = generate(run, world, "--temperature", "100", "--seed", "3")["token_ids"]
    greedy = generate(run, world)["token_ids"]
    assert hot != greedy
    for option in (("--top-k", "1"), ("--top-p", "1e-9"), ("--min-p", "1")):
        only = generate(run, world, "--temperature", "100", "--seed", "3", *option)["token_ids"]
        assert only == greedy
    assert generate(run, world, "--repetition-penalty", "100")["token_ids"] != greedy
    for name in ("--frequency-penalty", "--presence-penalty"):
        assert generate(run, world, name, "2")["token_ids"] != greedy


class Screen(io.StringIO):
    """A terminal that keeps what could be read after each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def flush(self) -> None:
        if not self.seen or self.seen[-1] != self.getvalue():
            self.seen.append(self.getvalue())


def test_people_read_along(run, world, monkeypatch):
    text = generate(run, world, *SAMPLED)["text"]
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    prompt = ("--prompt", "It was", "--max-tokens", "24", *SAMPLED)
    assert main(["generate", str(world.worded_file), *prompt]) == 0
    assert screen.getvalue() == f"It was{text}\n"
    assert screen.seen[0] == "It was"
    assert len(screen.seen) > 12  # a step or two may hold back half a character


def test_a_text_longer_than_the_memory(run, world, monkeypatch):
    """The text that fits is kept, and a note gives the context that all of it needs."""
    monkeypatch.setattr("lightmamba.engine.Engine.context_length", 9)
    prompt = ("generate", world.worded_file, "--prompt", "It was")
    whole = run(*prompt, "--max-tokens", "40", "--json")
    count, sentence = len(whole.json["token_ids"]), r"memory for 9 tokens of a text; for 40 .*"
    assert whole.json["finish_reason"] == "context"
    assert count == 10 - whole.json["prompt_tokens"]
    found = re.search(sentence + r"--context (\d+)\n", whole.err)
    assert found is not None, whole.err
    assert int(found[1]) == whole.json["prompt_tokens"] + 39
    read = run(*prompt, "--max-tokens", "40")
    assert read.out == f"It was{whole.json['text']}\n"
    assert re.search(sentence, read.err)
    enough = run(*prompt, "--max-tokens", str(count), "--json")
    assert enough.json["text"] == whole.json["text"]
    assert "memory" not in enough.err


CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ eos_token }}"


@pytest.fixture(scope="module")
def talking(world, tmp_path_factory):
    """The same model with a chat template and a generation config."""
    path = tmp_path_factory.mktemp("talking") / "m.safetensors"
    config = {"do_sample": True, "temperature": 1.2, "top_k": 60, "top_p": 0.98}
    model = load(world.worded_file)
    save(replace(model, chat_template=CHAT, generation_config=config, special_ids={"eos": [7, 9]}),
         path)  # fmt: skip
    return path


def test_a_chat_is_answered_by_the_template(run, world, talking):
    """The same ids as the rendered text, its special words one id each, gives as a prompt."""
    words = ("--max-tokens", "12", "--temperature", "0", "--json")
    data = load(talking).tokenizer
    assert data is not None
    tokenizer = Tokenizer.from_bytes(data)
    text = f"<user>It was{tokenizer.token(7)}"
    found = run("generate", talking, "--prompt", "It was", "--chat", *words).json
    plain = run("generate", talking, "--prompt", text, *words).json
    assert found["token_ids"] == plain["token_ids"]
    assert found["prompt_tokens"] == plain["prompt_tokens"] > len("It was")
    told = run("generate", talking, "--prompt", "It was", "--chat", "--system", "Sulk.", *words)
    more = len(tokenizer.encode("<system>Sulk."))
    assert told.json["prompt_tokens"] == found["prompt_tokens"] + more
    said = run("generate", talking, "--prompt", "It was", "--chat", *words[:-1])
    assert said.out == found["text"] + "\n"  # the answer only


def test_the_generation_config_gives_the_defaults(run, world, talking):
    words = ("--prompt", "It was", "--max-tokens", "24", "--seed", "7", "--json")
    flags = ("--temperature", "1.2", "--top-k", "60", "--top-p", "0.98")
    wanted = run("generate", world.worded_file, *words, *flags).json["token_ids"]
    found = run("generate", talking, *words).json
    assert found["token_ids"] == wanted[: len(found["token_ids"])]
    assert len(found["token_ids"]) > 2
    assert found["sampling"] == {
        "temperature": 1.2, "top_k": 60, "top_p": 0.98, "min_p": 0.0, "repetition_penalty": 1.0,
        "frequency_penalty": 0.0, "presence_penalty": 0.0, "seed": 7,
    }  # fmt: skip
    said = run("generate", talking, *words[:-1]).err
    assert "from the model's generation config: temperature 1.2, top_k 60, top_p 0.98" in said


@pytest.mark.parametrize("device", ["engine", "sim"])
def test_a_build_without_a_tokenizer_gets_advice_that_it_can_follow(run, tmp_path, device):
    """Neither a flag that generate lacks, nor to overwrite a file of the build."""
    words = ("--device", device, "--prompt", "x")
    bare = build(random_model(SHAPES["demo"]), Target.load("tiny"), tmp_path / "bare")
    refused = run("generate", bare.path, *words).refusal
    assert "has no tokenizer" in refused
    assert "quantize its checkpoint again with --tokenizer FILE" in refused
    assert "and compile that" in refused
    drawn = build(random_model(SHAPES["demo"], lazy=True), Target.load("tiny"), tmp_path / "drawn")
    refused = run("generate", drawn.path, *words).refusal
    assert f"lightmamba simulate {drawn.path} --prompt-ids" in refused
    assert "model.safetensors" not in refused


def test_a_build_writes_what_its_file_writes(run, world):
    words = ("--prompt", "It was", "--max-tokens", "5", "--json")
    wanted = run("generate", world.worded_file, *words).json
    assert run("generate", world.build, *words).json["token_ids"] == wanted["token_ids"]


@pytest.fixture
def never_open(monkeypatch):
    """A device that may not be opened."""

    def opened(*_):
        raise AssertionError("the device was opened")

    monkeypatch.setattr("lightmamba.cli.devices.open_device", opened)


def test_a_prompt_too_long_is_refused_before_a_device_opens(run, tmp_path, never_open):
    made = build(
        load(Path(bundled_file(HYBRID))), Target.load("tiny-hybrid"), tmp_path / "b", context=32
    )
    words = ("--device", "sim", "--prompt", "It was " * 40)
    refused = run("generate", made.path, *words).refusal
    assert re.search(r"has \d+ tokens, but the build has memory for 32 in a sequence", refused)


def test_what_cannot_draft_is_refused_before_a_device_opens(run, world, tmp_path, never_open):
    target = made_up(tokens=4)
    made = build(load(world.worded_file), target, tmp_path / "b", source=world.worded_file)
    words = ("--device", "sim", "--prompt", "It was", "--speculate", tmp_path / "none")
    refused = run("generate", made.path, *words).refusal
    assert "none' to draft with; give ngram, or a quantized file of a smaller model" in refused


@pytest.mark.parametrize("text", ["It was\n", "\ufeffIt was", "It was\r\n"])
def test_a_prompt_is_the_same_from_everywhere(run, world, tmp_path, monkeypatch, text):
    words = ("generate", world.worded_file, "--max-tokens", "4", "--json")
    wanted = run(*words, "--prompt", "It was").json["token_ids"]
    (tmp_path / "p.txt").write_bytes(text.encode())
    assert run(*words, "--prompt-file", tmp_path / "p.txt").json["token_ids"] == wanted
    for flag in ("--prompt", "--prompt-file"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text, newline="\n"))
        assert run(*words, flag, "-").json["token_ids"] == wanted


def test_a_prompt_without_an_end_is_refused(run):
    said = run("generate", "bundled", "--prompt-file", "/dev/zero")
    assert (said.status, said.out) == (2, "")
    assert "/dev/zero has more than 4,000,000 characters; give a shorter text" in said.err
