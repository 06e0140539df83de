"""Inputs that a stranger got wrong: one sentence, exit status 2, and before any work."""

import io
import os
import signal
import subprocess
import sys

import pytest

COMMAND = (sys.executable, "-m", "lightmamba")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("demo", "--max-tokens", "0"), "--max-tokens must be at least 1, not 0"),
        (("demo", "--rtl-tokens", "-1"), "--rtl-tokens must be at least 0, not -1"),
        (("generate", "bundled", "--prompt", "x", "--record", "r"), "--record is for a device"),
        (("generate", "bundled", "--prompt", "x", "--device-option", "a=b"),
         "--device-option is for a device"),
        (("chat", "bundled", "--force"), "--force replaces a recording"),
        (("serve", "bundled", "--name", ""), "--name must not be empty"),
        (("generate", "", "--prompt", "x"), "the name of the model is empty"),
    ],
)  # fmt: skip
def test_flags_are_checked_first(run, monkeypatch, words, sentence):
    monkeypatch.setattr("lightmamba.text.model.load", None)
    assert sentence in run(*words).refusal


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("generat", "bundled"), "there is no verb generat; did you mean generate?"),
        (("xyzzy",), "there is no verb xyzzy; verbs are demo, quantize, "),
        (("generate", "bundled", "--prompt", "x", "--max-tokens", "abc"),
         "--max-tokens must be a whole number, not 'abc'"),
        (("generate", "bundled", "--prompt", "x", "--top-p", "abc"),
         "--top-p must be a number, not 'abc'"),
    ],
)  # fmt: skip
def test_arguments_are_refused_in_plain_words(run, words, sentence):
    assert sentence in run(*words).refusal


def test_the_engine_is_no_device_to_test(run, tmp_path):
    from lightmamba.arch.target import Target
    from lightmamba.hardware.compiler import build
    from lightmamba.model.config import mamba2_config
    from tests.support.builders import random_model

    config = mamba2_config(d_model=64, n_layer=1, vocab_size=128, d_state=16, headdim=16)
    build(random_model(config), Target.load("tiny"), tmp_path / "build")
    refused = run("selftest", tmp_path / "build", "--device", "engine").refusal
    assert "--device must be one of sim, uio, " in refused


def test_another_model_is_no_reference(run, world, tmp_path):
    (tmp_path / "t.txt").write_text("It was a dark night. " * 20)
    words = ("--text", tmp_path / "t.txt", "--allow-overlap")
    refused = run("evaluate", "bundled", *words, "--against", "bundled-hybrid").refusal
    assert "have layers of other kinds or sizes" in refused


@pytest.mark.parametrize("text", ["It was a", "It was a\n", "\ufeffIt was a", "It was a\r\n"])
def test_a_prompt_is_the_same_from_everywhere(run, world, tmp_path, monkeypatch, text):
    words = ("generate", world.worded_file, "--max-tokens", "4", "--json")
    wanted = run(*words, "--prompt", "It was a").json["token_ids"]
    (tmp_path / "p.txt").write_bytes(text.encode())
    assert run(*words, "--prompt-file", tmp_path / "p.txt").json["token_ids"] == wanted
    for flag in ("--prompt", "--prompt-file"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text, newline="\n"))
        assert run(*words, flag, "-").json["token_ids"] == wanted


def test_a_verb_that_is_terminated_says_so():
    child = subprocess.Popen(
        [*COMMAND, "generate", "bundled", "--prompt", "-", "--verbose"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stderr is not None
    child.stderr.readline()  # of the log: it runs
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 143
    assert said.endswith("lightmamba generate: stopped\n")


def test_streams_that_are_closed_are_no_error():
    line = " ".join(COMMAND) + " generate bundled --prompt x --max-tokens 2 <&- >&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, env=os.environ, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
