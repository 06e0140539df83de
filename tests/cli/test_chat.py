"""``lightmamba chat``: a conversation, line by line."""

import io
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from lightmamba.cli import show
from lightmamba.model.qmodel import load, save

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def talking(world, tmp_path_factory):
    """The model with words, and a chat template."""
    path = tmp_path_factory.mktemp("talking") / "m.safetensors"
    save(replace(load(world.worded_file), chat_template=CHAT, special_ids={"eos": [7]}), path)
    return path


def say(run, monkeypatch, file, lines, *flags):
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return run("chat", file, "--max-tokens", "8", *flags)


def test_each_answer_is_that_of_all_messages(run, world, talking, monkeypatch):
    """The same answers as `generate` gives to the rendered conversation."""
    said = say(run, monkeypatch, talking, ["It was", "", "The rain"], "--json").json
    messages = said["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"] * 2
    assert [m["content"] for m in messages[::2]] == ["It was", "The rain"]
    eos, text = load_token(talking), ""
    for asked, answer in zip(messages[::2], messages[1::2], strict=True):
        text += f"<user>{asked['content']}{eos}<assistant>"
        found = run("generate", talking, "--prompt", text, "--max-tokens", "8", "--json").json
        assert answer["content"] == found["text"]
        text += answer["content"] + eos
    assert 0 < said["tokens"] <= 16


def load_token(file):
    from lightmamba.model.tokenizer import Tokenizer

    data = load(file).tokenizer
    assert data is not None
    return Tokenizer.from_bytes(data).token(7)


def test_it_begins_anew_and_has_a_system_message(run, talking, monkeypatch):
    first = say(run, monkeypatch, talking, ["The rain"], "--system", "Sulk.", "--json").json
    assert first["messages"][0] == {"role": "system", "content": "Sulk."}
    again = say(run, monkeypatch, talking, ["It was", "/clear", "The rain"], "--system", "Sulk.",
                "--json").json  # fmt: skip
    assert again["messages"] == first["messages"]


def test_another_command_is_named(run, talking, monkeypatch):
    said = say(run, monkeypatch, talking, ["/help"])
    assert "there is no command /help; Ctrl+C stops an answer" in said.err
    assert said.out == ""


def test_people_read_along(run, talking, monkeypatch):
    lines = ["It was", "The rain"]
    wanted = say(run, monkeypatch, talking, lines, "--json").json["messages"][1::2]
    said = say(run, monkeypatch, talking, lines)
    assert said.out == "".join(m["content"] + "\n" for m in wanted)
    assert "/clear starts over" in said.err


@pytest.mark.parametrize(
    ("message", "bar"), [("The rain fell on the house. " * 12, True), ("It", False)]
)
def test_a_long_message_has_a_bar(run, talking, monkeypatch, message, bar):
    for name in ("lightmamba.cli.devices.PIECE", "lightmamba.text.generation.PIECE"):
        monkeypatch.setattr(name, 48)
    for name in ("PATIENCE", "EVERY"):
        monkeypatch.setattr(show, name, 0.0)
    said = say(run, monkeypatch, talking, [message])
    assert ("reading the prompt: " in said.err) == bar


def test_a_chat_longer_than_the_memory(run, talking, monkeypatch):
    """The answer so far is kept, and so is the chat; what has no room is not remembered."""
    monkeypatch.setattr("lightmamba.engine.Engine.context_length", 34)
    lines = ["It was a dark", "The rain fell on the house", "/clear", "It was a dark"]
    said = say(run, monkeypatch, talking, lines, "--json")
    assert "the build has memory for 34 tokens of a chat; /clear starts over" in said.err
    assert "but the build has memory for 34 in a sequence" in said.err
    first, answer = said.json["messages"]
    assert first["content"] == "It was a dark"
    assert answer["content"]


def test_ctrl_c_ends_an_answer_and_not_the_chat(run, talking, monkeypatch):
    from lightmamba.cli import chat

    real, calls = chat.Chat.answer, []

    def interrupted(self, text):
        for step in real(self, text):
            yield step
            calls.append(step)
            if len(calls) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(chat.Chat, "answer", interrupted)
    said = say(run, monkeypatch, talking, ["It was", "The rain"], "--json").json
    assert [m["role"] for m in said["messages"]] == ["user", "assistant"] * 2
    assert said["messages"][1]["content"] == calls[0].text + calls[1].text


def test_a_line_that_is_no_text_is_left_out(run, talking, monkeypatch):
    """Only that line, though all of them come at once."""
    given = io.TextIOWrapper(io.BytesIO(b"It was\n\xff\nThe rain\n"), "utf-8")
    monkeypatch.setattr("sys.stdin", given)
    said = run("chat", talking, "--max-tokens", "4", "--json")
    assert [m["content"] for m in said.json["messages"][::2]] == ["It was", "The rain"]
    assert "that line is not UTF-8 text; it was left out" in said.err


@pytest.mark.parametrize("flags", [("--max-tokens", "0"), ("--stop", "")])
def test_flags_are_refused_before_the_first_message(run, talking, monkeypatch, flags):
    said = say(run, monkeypatch, talking, ["It was"], *flags)
    assert (said.status, said.out) == (2, "")


def test_a_chat_that_is_terminated_ends(talking):
    """Ctrl+C ends an answer only, but whoever sends SIGTERM wants an end."""
    command = [sys.executable, "-m", "lightmamba", "chat", str(talking)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stderr is not None
        assert "/clear starts over" in child.stderr.readline()
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 143
