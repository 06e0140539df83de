"""Output on stdout and on stderr: how wide, how loud, and in which colors."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmamba import native
from lightmamba.cli import main, show
from lightmamba.engine.native import has_kernels
from lightmamba.model.data import demo_file

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x9b]")
ESTIMATE = ("estimate", "demo", "--target", "tiny", "--threads", "1")
EDGES = "┏┃┡│└┌├"  # a line of a table begins with one


@pytest.fixture(scope="module")
def commands(world, tmp_path_factory):
    """Verbs that need neither a simulator nor a minute, each with its arguments."""
    root = tmp_path_factory.mktemp("outputs")
    words = root / "words.jsonl"
    words.write_text('{"text": "The cat sat."}\n')
    file = world.worded_file
    return {
        "inspect": (file,),
        "inspect ": (world.build,),
        "inspect  ": (world.worded,),
        "estimate": ("mamba2-130m", "--target", "u280"),
        "evaluate": (file, "--text", world.text, "--against", world.worded, "--task", words),
        "generate": ("bundled", "--prompt", "It was", "--max-tokens", "4"),
        "compile": (file, "--target", "tiny", "--no-verilog", "--force", "-o", root / "b"),
        "quantize": (world.worded, "--sequences", "8", "--seqlen", "128", "--force",
                     "-o", root / "m.safetensors"),
        "report": ("demo", "--target", "tiny", "--force", "-o", root / "page.html"),
    }  # fmt: skip


FILES = ("compile", "quantize", "report")  # verbs whose result is a file: stdout is its path
VERBS = ("inspect", "inspect ", "inspect  ", "estimate", "evaluate", "generate", *FILES)


@pytest.mark.parametrize("verb", VERBS)
def test_a_pipe_gets_nothing_wide_or_coloured_and_quiet_the_same(run, commands, verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    loud, quiet = (run(verb.strip(), *commands[verb], *more) for more in ((), ("--quiet",)))
    assert loud.status == 0, loud.err
    assert not CONTROL.search(loud.out + loud.err)
    tables = [line for line in (loud.out + loud.err).splitlines() if line[:1] in EDGES]
    assert max(map(len, tables), default=0) <= 80
    assert bool(tables) == (verb != "generate")
    assert "…" not in "".join(tables)  # nothing was cut
    assert (quiet.status, quiet.err) == (0, "")
    assert quiet.out == loud.out
    if verb in FILES:
        assert quiet.out == f"{commands[verb][-1]}\n"
        assert loud.err
    else:
        assert len(quiet.out) > 5


def test_quiet_tells_errors_all_the_same(run, tmp_path):
    assert "does not exist" in run("generate", tmp_path / "no.st", "--prompt", "x", "-q").refusal


def test_verbose_tells_what_from_where_by_which_and_how_long(run, commands, world, tmp_path):
    said = run("generate", *commands["generate"], "--verbose")
    assert said.out == run("generate", *commands["generate"]).out
    for words in (f"model {demo_file()}: ", "6 layers of 256", "the engine runs ",
                  " on 1 threads", "prompt of 2 tokens: ", "Python 3."):  # fmt: skip
        assert words in said.err, words
    said = run("quantize", *commands["quantize"], "-v")
    for pattern in (
        r"checkpoint .*worded from .*: .*tokenizer .*tokenizer.json",
        r"recipe w4a4 from .*w4a4\.toml",
        r"quantizing by w4a4: \d+\.\d\d s",
    ):
        assert re.search(pattern, said.err), pattern
    said = run("compile", *commands["compile"], "-v", "--json")
    assert said.json["target"] == "tiny"
    assert re.search(r"\d s  target tiny from .*tiny\.toml\n", said.err)
    assert "\n" not in run("generate", *commands["generate"], "--json").err  # it is over


def test_an_error_of_the_program_is_one_sentence_and_a_traceback_on_demand(run, monkeypatch):
    def broken(args):
        raise LookupError("no\x1bsuch\nthing")

    monkeypatch.setattr("lightmamba.cli.inspect.run", broken)
    said = run("inspect", "bundled")
    assert (said.status, said.out) == (3, "")
    assert said.err == (
        "lightmamba inspect: an error of the program itself, LookupError: no\\x1bsuch thing; "
        "for the traceback, add --verbose\n"
    )
    said = run("inspect", "bundled", "--verbose")
    assert said.status == 3
    assert 'raise LookupError("no\\x1bsuch\\nthing")' in said.err
    assert said.err.endswith("thing; please report it\n")


@pytest.mark.filterwarnings("default")
def test_an_engine_without_kernels_says_so_once(run, commands, monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    has_kernels.cache_clear()
    wanted = run("generate", *commands["generate"], "-q")
    has_kernels.cache_clear()
    said = run("generate", *commands["generate"])
    has_kernels.cache_clear()
    assert (wanted.err, said.out) == ("", wanted.out)
    first, *others = said.err.splitlines()
    assert first.startswith("warning: the compiled kernels were not built, so the engine runs on")
    assert not any("warning" in line for line in others)


def in_a_terminal(columns, words, **environment):
    """Output of a command on a terminal of a number of columns, with its escapes."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", **environment}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "lightmamba", *words],
        stdin=child, stdout=child, stderr=child, env=environment,
    )  # fmt: skip
    os.close(child)
    text = b""
    try:
        while part := os.read(parent, 1 << 16):
            text += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(parent)
    assert process.wait() == 0, text
    return text.decode()


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_of_any_width_gets_80_columns(columns):
    shown = in_a_terminal(columns, ESTIMATE)
    assert ESCAPE.search(shown)  # bold heads
    lines = ESCAPE.sub("", shown).replace("\r", "\n").splitlines()
    tables = [line for line in lines if line[:1] in EDGES and line]
    assert max(map(len, tables)) <= 80
    assert any("tokens per second" in line for line in tables)


def test_no_color_leaves_colors_out():
    plain = in_a_terminal(80, ESTIMATE, NO_COLOR="1")
    assert "tokens per second" in plain
    codes = re.findall(r"\x1b\[([0-9;]*)m", plain)
    assert not [code for code in codes if re.search(r"\b([349]|10)\d\b", code)]


cells = st.one_of(
    st.integers(-(10**12), 10**12), st.floats(allow_nan=False), st.booleans(), st.none(),
    st.text("ab ⅓é", max_size=90),
)  # fmt: skip


@given(st.data(), st.integers(1, 14))
def test_any_table_fits_and_keeps_its_figures(data, columns):
    header = data.draw(st.lists(st.text("ab c", max_size=24), min_size=columns, max_size=columns))
    row = st.lists(cells, min_size=columns, max_size=columns)
    rows = data.draw(st.lists(row, max_size=4))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show.table("title", header, rows)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for row in rows:
        for cell in row:
            if isinstance(cell, int | float) and not isinstance(cell, bool):
                assert any(show.figure(cell) in line for line in lines)


def test_main_leaves_the_next_call_as_it_was(capsys, commands):
    """Neither --quiet nor --verbose outlives its command, for programs that call main."""
    words = [str(word) for word in ("generate", *commands["generate"], "--threads", 1)]
    for more in (["-q"], ["-v"]):
        assert main([*words, *more]) == 0
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "tokens, " in said.err


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test may change."""
    now = [100.0]
    monkeypatch.setattr("lightmamba.cli.show.time.monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    with show.verbosity(quiet=False, verbose=False), show.progress("quantizing") as bar:
        for second in range(100):
            clock[0] = 100.0 + second
            bar(second, 200)
        bar(200, 200)
    assert capsys.readouterr().err.splitlines() == [
        "quantizing: 5 %, about 190 s left", "quantizing: 20 %, about 160 s left",
        "quantizing: 35 %, about 130 s left",
    ]  # fmt: skip


def test_a_quiet_log_gets_none(clock, capsys):
    with show.verbosity(quiet=True, verbose=False), show.progress("quantizing") as bar:
        clock[0] += 50
        bar(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("late", [True, False])
def test_work_of_unknown_length_is_named_in_a_log_if_it_takes_long(monkeypatch, capsys, late):
    monkeypatch.setattr(show, "PATIENCE", 0.01 if late else 60.0)
    with show.working("building"):
        time.sleep(0.2)
    assert capsys.readouterr().err == "building ...\n" * late
