"""The program around the verbs: help, version, pipes, and the installed script."""

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lightmamba.cli import main
from lightmamba.cli.arguments import VERBS

LIGHT = """
import sys
from lightmamba.cli import main

verbs, wrong = {verbs!r}, []
for arguments in {commands!r}:
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0
    others = [f"lightmamba.cli.{{verb}}" for verb in verbs if verb not in arguments]
    heavy = {{"numpy", "torch", "rich", "tokenizers", "safetensors", *others}} & set(sys.modules)
    wrong += [f"{{arguments}} imports {{heavy}}"] * bool(heavy)
    for name in others + [f"lightmamba.cli.{{verb}}" for verb in verbs]:
        sys.modules.pop(name, None)
sys.exit("\\n".join(wrong) or 0)
"""


def test_help_loads_nothing_heavy():
    commands = [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)]
    script = LIGHT.format(commands=commands, verbs=list(VERBS))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def buffered() -> dict[str, str]:
    """The environment of a program whose output waits for a flush, as a user's does."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_help_names_every_verb(run):
    said = run("--help")
    assert said.status == 0
    assert all(verb in said.out for verb in VERBS)
    assert run("--version").out == f"{metadata.version('lightmamba')}\n"
    for verb in VERBS:
        said = run(verb, "--help")
        assert said.status == 0
        assert "--json" in said.out
        assert "--threads" in said.out


def test_the_installed_script(world):
    script = Path(sys.executable).with_name("lightmamba")
    program = str(script) if script.exists() else shutil.which("lightmamba")
    assert program is not None
    done = subprocess.run(
        [program, "inspect", world.plain_file, "--json"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["kind"] == "quantized model"


@pytest.mark.parametrize("more", [["--json"], []])
def test_a_reader_that_goes_away_is_no_error(world, more):
    command = [sys.executable, "-m", "lightmamba", "inspect", str(world.plain_file), *more]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered()
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert (child.stderr.read(), child.wait()) == (b"", 0)
    child.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_behind_stdout_is_one_sentence(world):
    words = ["generate", str(world.worded_file), "--prompt", "x", "--max-tokens", "1", "--json"]
    command = [sys.executable, "-m", "lightmamba", *words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered()
        )
    assert done.returncode == 2
    assert done.stderr == "lightmamba generate: No space left on device\n"


FORKING = """
import multiprocessing, sys, time
from lightmamba.cli import cache, main
def run(args):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join()
    print(child.exitcode)
    return {}
cache.run = run
sys.exit(main(["cache"]))
"""


def test_a_forked_worker_ends_without_a_word():
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "-15\n", "")


def test_an_interrupt_is_said_shortly(world, capsys, monkeypatch, tmp_path):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightmamba.cli.inspect.run", interrupted)
    assert main(["inspect", str(world.plain_file)]) == 130
    assert capsys.readouterr().err == "\nlightmamba inspect: stopped\n"
    monkeypatch.chdir(tmp_path)
    for words, place in (
        (("quantize", "bundled", "-o", "x.st"), "x.st.journal"),
        (("sweep", "plan.toml", "-o", "found"), "found"),
        (("evaluate", "bundled", "--ids", "i", "--journal", "j.jsonl"), "j.jsonl"),
        (("explore", "demo", "--target", "tiny", "--out", "o", "--study", "s.jsonl"), "s.jsonl"),
    ):
        monkeypatch.setattr(f"lightmamba.cli.{words[0]}.run", interrupted)
        assert main([*words]) == 130
        assert capsys.readouterr().err == f"\nlightmamba {words[0]}: stopped\n"  # before it began
        Path(place).touch()
        assert main([*words]) == 130
        said = f"stopped; the same command resumes from {place}"
        assert capsys.readouterr().err == f"\nlightmamba {words[0]}: {said}\n"


def test_without_a_verb_the_help_is_printed(run):
    said = run()
    assert (said.status, said.err) == (0, "")
    assert said.out == run("--help").out


def test_a_verb_that_is_terminated_says_so():
    command = [sys.executable, "-m", "lightmamba", "generate", "bundled", "--prompt", "-", "-v"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    child.stderr.readline()  # of the log: it runs
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 143
    assert said.endswith("lightmamba generate: stopped\n")


def test_text_that_stdout_cannot_encode():
    command = [sys.executable, "-m", "lightmamba", "generate", "bundled", "--max-tokens", "2"]
    done = subprocess.run(
        [*command, "--prompt", "He said — yes"], capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout[:13]) == (0, b"He said ? yes")


def test_streams_that_are_closed_are_no_error():
    words = "generate bundled --prompt x --max-tokens 2 <&- >&-"
    line = f"{sys.executable} -m lightmamba {words}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
