"""``lightmamba completion``: the scripts, asked for completions in real shells."""

import shlex
import shutil
import subprocess
import sys

import pytest

from lightmamba.arch.target import target_names
from lightmamba.cli.arguments import SHELLS, VERBS
from lightmamba.quantization.recipe import recipe_names

ASK = {
    "bash": 'source {script}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); '
    '_shtab_lightmamba; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "fish": "source {script}; complete -C {line}",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one file and one folder, and the script of every shell."""
    from lightmamba.cli import main

    root = tmp_path_factory.mktemp("completion") / "work"
    (root / "mine").mkdir(parents=True)
    (root / "my.safetensors").touch()
    for shell in SHELLS:
        with (
            pytest.MonkeyPatch.context() as patch,
            (root.with_suffix(f".{shell}")).open("w") as file,
        ):
            patch.setattr("sys.stdout", file)
            assert main(["completion", shell]) == 0
    return root


def asked(shell, folder, line):
    """Completions that a shell offers for the last word of a line, which may be empty."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    words = " ".join(shlex.quote(word) for word in line.split(" "))
    command = ASK[shell].format(
        script=folder.with_suffix(f".{shell}"), words=words, line=shlex.quote(line)
    )  # fmt: skip
    done = subprocess.run(
        [program, "-c", command], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    offered = {word.split("\t")[0].rstrip("/") for word in done.stdout.split("\n")} - {""}
    begun = line.rpartition(" ")[2]
    return {word for word in offered if word.startswith(begun)}  # fish offers others too


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_verbs_options_names_and_files(shell, folder):
    assert asked(shell, folder, "lightmamba ") >= set(VERBS)
    assert asked(shell, folder, "lightmamba comp") == {"compile", "completion"}
    assert asked(shell, folder, "lightmamba generate --to") == {"--top-k", "--top-p"}
    assert asked(shell, folder, "lightmamba synth --flow ") == {"xcup", "ecp5"}
    assert asked(shell, folder, "lightmamba package b --board kv") == {"kv260"}
    assert asked(shell, folder, "lightmamba quantize bundled -o my") == {"my.safetensors"}
    assert asked(shell, folder, "lightmamba evaluate bundled --text mi") == {"mine"}  # to go into
    assert asked(shell, folder, "lightmamba explore demo --out mi") == {"mine"}


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_where_names_and_files_are_possible_both_come(shell, folder):
    """A shape, the bundled model or a file; a shipped target or recipe, or a file."""
    assert asked(shell, folder, "lightmamba generate my") == {"my.safetensors"}
    assert asked(shell, folder, "lightmamba generate bu") == {"bundled"}
    assert asked(shell, folder, "lightmamba compile m") == {
        "mamba2-130m", "mamba2-370m", "mamba2-780m", "mamba2-1.3b", "mamba2-2.7b",
        "mine", "my.safetensors",
    }  # fmt: skip
    every = {"mine", "my.safetensors"}
    assert asked(shell, folder, "lightmamba estimate demo --target ") == {*target_names(), *every}
    assert asked(shell, folder, "lightmamba quantize bundled --recipe w") >= {"w4a4", "w8a8"}
    offered = asked(shell, folder, "lightmamba quantize bundled --recipe ")
    assert offered == {*recipe_names(), *every}


def test_what_takes_a_number_offers_nothing(folder):
    assert asked("bash", folder, "lightmamba generate bundled --top-k ") == set()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_verb_is_in_the_script(shell, folder, run):
    program = shutil.which(shell)
    script = folder.with_suffix(f".{shell}")
    if program is not None:
        subprocess.run([program, "-n", str(script)], check=True)
    text = script.read_text()
    for option in ("device-option", "calibration-ids", "memory-trace", "quiet", "torch-device"):
        assert option in text
    assert run("completion", shell, "--json").json["script"] + "\n" == text


def test_a_plain_installation_suffices():
    """Without the extras, whose modules are hidden."""
    script = (
        "import sys\nfor name in ('torch', 'amaranth', 'optuna', 'matplotlib', 'ray'):\n"
        "    sys.modules[name] = None\n"
        "from lightmamba.cli import main\nsys.exit(main(['completion', 'bash']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "rtn-w4a4" in done.stdout


def test_another_shell_is_refused(run):
    assert "choose from" in run("completion", "ksh").refusal
