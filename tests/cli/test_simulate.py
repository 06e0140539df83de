"""``lightmamba simulate``, ``generate --device sim`` and ``inspect BUILD``, on a small machine."""

import json
from pathlib import Path

import pytest
from msgspec import convert

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.common.store import read_store
from lightmamba.device.sim import SimDevice, Simulation
from tests.cli.cases import needs_verilator
from tests.sim.machines import CONFIG, TARGET
from tests.support.builders import random_model


@needs_verilator
def test_the_hardware_matches(run, build):
    found = run("simulate", build, "--prompt-ids", "3 5", "--max-tokens", "3", "--json").json
    assert found["matches_engine"] is True
    assert len(found["token_ids"]) == 3
    assert found["tokens"] == 4
    assert sum(found["stalls"].values()) >= 3 * found["cycles_per_token"]
    assert found["simulated_cycles_per_second"] > 0
    said = run("simulate", build, "--prompt-ids", "3 5", "--max-tokens", "3")
    *_, ids, verdict = said.out.splitlines()
    assert ids.split() == [str(i) for i in found["token_ids"]]
    assert verdict == "every intermediate value of every token equals the engine's"


@needs_verilator
def test_what_is_stored_says_which_unit_worked_when(run, build, tmp_path):
    file = tmp_path / "results.jsonl"
    words = ("simulate", build, "--prompt-ids", "3 5", "--max-tokens", "2", "--json")
    found = run(*words, "--results", file).json
    (record,) = read_store(file)
    stored = convert(record.values, Simulation)
    assert stored.cycles_per_token == found["cycles_per_token"]
    assert sum(stored.stalls_per_token.values()) == pytest.approx(found["cycles_per_token"])
    assert stored.machine["target"] == TARGET.name
    seen = stored.activity
    assert seen is not None
    assert seen.layer == 1
    spent = {name: sum(x) * seen.token.bin_cycles for name, x in seen.token.busy.items()}
    # Two layers of 64 rows, which leave in pairs.
    assert spent["rows of out_proj"] == pytest.approx(64, abs=1)
    assert spent["rows of the head"] == pytest.approx(27, abs=1)
    assert seen.token.marks["layer 1"] == seen.of_layer.marks["in_proj"] == seen.of_layer.start
    assert 0.8 * found["cycles_per_token"] < seen.token.cycles < 1.02 * found["cycles_per_token"]
    assert "activity" not in found


@needs_verilator
def test_a_difference_is_named_and_fails(run, build, monkeypatch):
    """The engine is given another model than the hardware."""
    monkeypatch.setattr(
        "lightmamba.cli.simulate.open_model", lambda _: random_model(CONFIG, seed=9)
    )
    said = run("simulate", build, "--json")
    found = json.loads(said.out)
    assert said.status == 1
    assert found["matches_engine"] is False
    assert found["difference"].startswith("token 0, embedding[0, 0, 0]: ")
    assert "(cycle " in found["difference"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prompt-ids", "3 x"), "--prompt-ids takes numbers, such as \"1 2 3\", not '3 x'"),
        (("--prompt", "a"), "the model has no tokenizer"),
    ],
)
def test_a_prompt_is_refused_before_the_simulator_is_built(run, build, monkeypatch, words, said):
    monkeypatch.delattr("lightmamba.cli.simulate.open_golden")
    assert said in run("simulate", build, *words).refusal


@needs_verilator
def test_requests_to_memory_are_written_for_dram_simulators(run, build, tmp_path):
    """Every byte that a channel moves, a line per 64 bytes; cycles never go back."""
    said = run(
        "simulate", build, "--max-tokens", "2", "--memory-trace", tmp_path / "t.txt", "--json"
    )
    found = json.loads(said.out)
    assert set(found["memory_trace"]) == set(found["bytes_per_token"])
    moved = 0
    for channel, file in found["memory_trace"].items():
        assert file == str(tmp_path / f"t.{channel}.txt")
        lines = [line.split() for line in Path(file).read_text().splitlines()]
        assert all(int(address, 16) % 64 == 0 for address, _, _ in lines)
        cycles = [int(cycle) for _, _, cycle in lines]
        assert cycles == sorted(cycles)
        kinds = {kind for _, kind, _ in lines}
        assert kinds == ({"READ"} if channel.startswith("lane") else {"READ", "WRITE"})
        moved += 64 * len(lines)
    beats = sum(n for name, n in found["counters"].items() if ".beats_" in name)
    assert beats * 16 <= moved < beats * 32  # what is asked for ahead comes later
    kept = tmp_path / "t.aux.txt"
    refused = run("simulate", build, "--memory-trace", tmp_path / "t.txt").refusal
    assert "exists; give another name" in refused
    assert kept.stat().st_size > 0


@needs_verilator
def test_files_are_overwritten_by_force(run, build, tmp_path):
    kept = tmp_path / "t.txt"
    (tmp_path / "t.aux.txt").write_text("dear")
    words = ("simulate", build, "--max-tokens", "1", "--memory-trace", kept)
    assert run(*words, "--force", "--json").status == 0
    assert (tmp_path / "t.aux.txt").read_text() != "dear"


WORDS = {
    "generate": ("--device", "sim", "--prompt", "!"),
    "simulate": ("--max-tokens", "1", "--chain", "2"),
    "report": ("-o", "page.html", "--simulate", "1"),
}


@needs_verilator
@pytest.mark.parametrize("verb", WORDS)
def test_a_device_that_fails_is_one_sentence(run, spoken, tmp_path, monkeypatch, verb):
    """A hang in a chain, or of a decoder's token: status 1, for no input is wrong."""
    monkeypatch.chdir(tmp_path)
    submit = SimDevice.submit

    def hang(self, work, *, chain=0):
        if verb == "generate" or chain:
            raise DeviceError("in cycle 9: nothing moved for 50000 cycles\nand\nso on")
        submit(self, work, chain=chain)

    monkeypatch.setattr(SimDevice, "submit", hang)
    said = run(verb, spoken, *WORDS[verb])
    assert said.status == 1
    assert said.err.endswith(
        f"lightmamba {verb}: in cycle 9: nothing moved for 50000 cycles and so on\n"
    )
    assert "Traceback" not in said.err


@needs_verilator
@pytest.mark.parametrize("verb", WORDS)
def test_without_a_tool(run, spoken, tmp_path, monkeypatch, verb):
    def missing():
        raise InputError("simulation needs it, and it is not here; install it")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lightmamba.device.sim.library.find_verilator", missing)
    said = run(verb, spoken, *WORDS[verb])
    assert (said.status, said.out) == (2, "")
    assert said.err.endswith(f"lightmamba {verb}: simulation needs it, and it is not here; "
                             "install it\n")  # fmt: skip


def test_inspect_shows_a_build(run, build):
    found = run("inspect", build, "--json").json
    assert found["kind"] == "build"
    assert found["arch"]["lanes"] == 2
    assert {r["name"] for r in found["regions"]} >= {"lane0", "lane1", "state", "logits"}
    assert "lane1" in run("inspect", build).out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--prompt", "It"), "the model has no tokenizer, so text cannot be read; try --prompt-id"),
        (("--prompt-ids", "1 x"), "--prompt-ids takes numbers, such as \"1 2 3\", not '1 x'"),
        (("--prompt-ids", "1 53"), "token id 53 is out of range; ids are 0 to 49"),
        (("--prompt-ids", " "), "the prompt has no tokens"),
        (("--prompt-ids", "1", "--prompt", "It"), "give either --prompt or --prompt-ids, not both"),
        (("--chain", str(1 << 31)), "--chain must be 0 to 2147483647, not 2147483648"),
    ],
)
@needs_verilator
def test_refusals(run, build, words, sentence):
    assert sentence in run("simulate", build, *words).refusal
