"""``lightmamba generate``."""

import io
import sys

from lightmamba.cli import main
from lightmamba.qmodel import load
from lightmamba.tokenizer import Tokenizer

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


def test_one_seed_one_text(run, world):
    first, again, other = (
        generate(run, world, *SAMPLED, "--seed", seed)["token_ids"] for seed in (7, 7, 8)
    )
    assert first == again != other
    assert len(set(first)) > 5


def test_every_sampling_option_counts(run, world):
    """Each one, set to what leaves a single candidate or changes the logits, changes the text."""
    hot = generate(run, world, "--temperature", "100", "--seed", "3")["token_ids"]
    greedy = generate(run, world)["token_ids"]
    assert hot != greedy
    for option in (("--top-k", "1"), ("--top-p", "1e-9"), ("--min-p", "1")):
        only = generate(run, world, "--temperature", "100", "--seed", "3", *option)["token_ids"]
        assert only == greedy
    assert generate(run, world, "--repetition-penalty", "100")["token_ids"] != greedy


def test_a_stop_string_ends_the_text_and_is_left_out(run, world):
    text = generate(run, world, *SAMPLED)["text"]
    stop = next(c for c in text[2:] if c.isascii() and c.isprintable())
    found = generate(run, world, *SAMPLED, "--stop", "never said", "--stop", stop)
    assert found["finish_reason"] == "stop"
    assert found["text"] == text[: text.index(stop)]
    assert len(found["token_ids"]) < 24


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


def test_people_see_how_fast_it_was_and_why_it_ended(run, world):
    said = run("generate", world.worded_file, "--prompt", "It was", "--max-tokens", "3")
    assert said.out.startswith("It was")
    assert "3 tokens" in said.err
    assert "ended by --max-tokens" in said.err
