"""The command line: the options of each verb, apart from the verbs, which need what is heavy."""

from collections.abc import Callable
from pathlib import Path

from lightmamba.cli.options import Options
from lightmamba.model.data import bundled_checkpoint, bundled_file

__all__ = ["CACHED", "FLOWS", "LISTS", "SHELLS", "VERBS"]

# Folders of the user's cache, and what is in them.
CACHED = {
    "simulators": "compiled simulators of accelerators",
    "synthesis": "modules that yosys has mapped",
    "quantized": "models of the hub, quantized",
    "checked": "records of verified files",
}
FLOWS = ("xcup", "ecp5")  # of synthesis
LISTS = ("model", "recipe", "text", "task", "target")  # of a sweep
SHELLS = ("bash", "zsh", "fish")
VERBS: dict[str, Callable[[Options], None]] = {}


def verb(options: Callable[[Options], None]) -> Callable[[Options], None]:
    """Name a verb after the function that adds its options and says what it does."""
    VERBS[options.__name__.rstrip("_")] = options
    return options


@verb
def demo(add: Options) -> None:
    """Quantize, measure, run and simulate the bundled model."""
    add("--max-tokens", "tokens of text to generate", 120)
    add("--rtl-tokens", "tokens to simulate in RTL; 0 for none", 8)


@verb
def quantize(add: Options) -> None:
    """Quantize a checkpoint to a model file, by a recipe."""
    add("checkpoint CKPT", "checkpoint folder, bundled, or hub id", type=bundled_checkpoint)
    add("-o --output FILE", "quantized model to write", required=True)
    add.resumes("{output}.journal")
    add("--recipe", "shipped recipe or TOML file", "w4a4")
    add("--exceptions FILE", "TOML file of [[exception]] tables, projections with other widths")
    add("--budget BITS", "mean bits of weights: those that cost most get 8", type=float)
    add("--act-budget BITS", "mean bits of activations: chosen in the same way", type=float)
    add("--calibration TEXT", "calibration text (default: the shipped novels)", type=Path)
    add("--calibration-ids FILE", "token ids in place of text")
    add("--sequences", "calibration sequences", 160)
    add("--seqlen", "tokens of each sequence", 512)
    add.shared("--tokenizer", "--revision")
    add("--seed", "seed of rotation and sampling", 0)
    add("--torch-device DEVICE", "device of the float computations: auto, cpu, cuda or mps", "auto")
    add("--force", "replace an existing file", False)


@verb
def inspect(add: Options) -> None:
    """Show shapes, formats, ranges and errors of a file, build or checkpoint."""
    add("model MODEL", "quantized file, bundled, build, checkpoint's folder, or hub id")
    add("--plot PNG", "plot the ranges of each channel before and after rotation")
    add("--layer", "layer to plot (default: the one with the highest peak)", type=int)
    add.shared("--tokenizer")
    add(
        "--save-tokenizer DIR",
        "write the tokenizer of a file or build to a folder, in the files that transformers reads",
    )
    add.shared("--revision")
    add("--seed", "seed of the rotation", 0)
    add("--force", "replace existing output files", False)


@verb
def evaluate(add: Options) -> None:
    """Measure perplexity, differences from a float checkpoint, and tasks."""
    what = "quantized file, bundled, checkpoint, build"
    add("model MODEL or BUILD", what, type=bundled_file)
    add.device()
    add("--text FILE", "text to predict; shipped: our held-out text")
    add("--ids FILE", "token ids to predict")
    reference = "float checkpoint to compare with, or bundled"
    add("--against CKPT", reference, type=bundled_checkpoint)
    add("--routing", "with --against: compare which experts are chosen, and what that costs", False)
    add("--task NAME or FILE", "jsonl file, or a task of lm-eval; repeatable", [])
    add("--limit", "evaluate at most this many rows of each task", type=int)
    add("--chat", "treat the prompts of tasks as chat messages, with the model's template", False)
    add("--seed", "seed of what tasks sample", 0)
    add("--window", "tokens between resets of the state", 1024)
    add("--batch", "sequences evaluated together (default: chosen for speed)", type=int)
    add("--journal FILE", "saves progress; the same command resumes from it")
    add.resumes("{journal}")
    add.shared("--tokenizer", "--revision")
    add("--allow-overlap", "evaluate although the calibration used this text", False)
    add.shared("--results")


@verb
def generate(add: Options) -> None:
    """Generate text from a quantized model, in exact integers."""
    add.decoding(max_tokens=100)
    prompt = Options(add.parser.add_mutually_exclusive_group(required=True))
    what = "text to continue; -: read it from standard input, without its last line break"
    prompt("--prompt", what)
    prompt("--prompt-file FILE", "text to continue")
    add("--chat", "treat the prompt as a chat message, with the model's template", False)
    add("--system TEXT", "with --chat: the system message")


@verb
def chat(add: Options) -> None:
    """Talk to a chat model in the terminal."""
    add.decoding(max_tokens=1024)
    add("--system TEXT", "system message")


@verb
def bench(add: Options) -> None:
    """Measure tokens per second of a prompt and of generation."""
    add.shared("file")
    add("--prompt N", "tokens of the prompt", 512)
    add("--tokens N", "tokens to generate", 128)
    add("--repeats N", "measurements, after one that does not count", 5)
    add.device()


@verb
def serve(add: Options) -> None:
    """Serve a model over HTTP, as an OpenAI-compatible API."""
    add.shared("file")
    add.device()
    add("--host", "address to listen on", "127.0.0.1")
    add("--port", "port; 0: any free one", 8000)
    add("--name", "model name in the API (default: that of the file)")
    add("--api-key-file FILE", "key that clients must send; or set LIGHTMAMBA_API_KEY")
    add(
        "--slots",
        "maximum sequences per batch (default: 128, or what fits in --memory-mb; on a device, "
        "what it takes in a pass)",
        type=int,
    )
    add("--memory-mb MB", "memory of all running sequences", 1024)
    add("--queue", "sequences that may wait, else status 429", 256)
    add("--max-tokens", "most tokens of a completion", 4096)
    add("--max-prompt", "most tokens of a prompt", 32768)
    add("--max-body", "largest request in bytes (default: 1 MiB)", 1 << 20)
    add("--max-requests", "most requests at a time", 1024)
    add("--request-seconds", "timeout of a request", 600.0)
    add("--grace-seconds", "for running requests after Ctrl+C", 30.0)
    add("--cache-mb", "memory of the prefix cache, 0 for none", 256)
    add("--no-page", "serve the API only, without the web page", False)
    add.shared("--speculate")


@verb
def estimate(add: Options) -> None:
    """Predict speed, area and energy of an accelerator, without simulation."""
    add.shared("model", "--target")
    add("--tokens N", "tokens of a pass: 1, 2, 4 or 8 (default: the target's)")
    add.shared("--context", "--format")


@verb
def compile_(add: Options) -> None:
    """Compile a model, or a named shape, to Verilog, memory images and a program."""
    add.shared("model", "--target")
    add("-o --output BUILD", "folder to write", required=True)
    add("--rtl BUILD", "reuse the hardware of this build, of a model at least as large")
    add(
        "--kinds KIND,...",
        "kinds of layers that the hardware has units for (default: those of the model)",
        type=lambda text: tuple(name.strip() for name in text.split(",")),
    )
    add(
        "--context N",
        "tokens of a sequence that memory has room for, where layers keep something of every "
        "token (default: 1024)",
    )
    add(
        "--sequences N",
        "sequences of that many tokens that memory has room for, or more of fewer tokens "
        "(default: one more than a pass has tokens)",
    )
    add.shared("--format")
    add("--seed", "seed of a SHAPE's random weights (default: 0)", type=int)
    add("--no-verilog", "write images and program only", False)
    add("--force", "replace an existing build", False)


@verb
def explore(add: Options) -> None:
    """Search accelerator configurations for speed, area, energy and accuracy."""
    add.shared("model")
    base = "target whose memories and device stay fixed; or a TOML file"
    add("--target NAME", base, required=True)
    add("--out DIR", "folder to create", required=True)
    add("--trials", "configurations to try in total", 300)
    add("--seed", "seed of the search", 0)
    kept = "file that saves the search; the same command resumes it (default: DIR/study.jsonl)"
    add("--study FILE", kept)
    add.resumes("{study}", "{out}/study.jsonl")
    wanted = "two or more of speed, prefill, batch, size, energy, accuracy"
    add("--objectives A,B", wanted, "speed,size,energy,accuracy")
    add(
        "--schemes A,B",
        "w4a4,w4a8,w8a8 for a SHAPE, its own for a FILE; names with -blockN or -groupN, such as "
        "w4a4-block16, are measured for accuracy only",
    )
    add("--only NAME=A,B", "restrict one choice, such as lanes=8,16; repeatable", [])
    add.shared("--context")
    add("--fill", "largest share of the device to use", 1.0)
    add("--checkpoint CKPT", "checkpoint to measure accuracy on (default: the bundled model)")
    add("--accuracy-tokens", "tokens of held-out text to measure on", 8208)


@verb
def package(add: Options) -> None:
    """Package a build for the tools of a board: kv260, u280, u55c, ulx3s, vck190."""
    add.shared("build")
    add("--board NAME", "kv260, u280, u55c, ulx3s or vck190", required=True)
    add("-o --output DIR", "folder to write", required=True)
    add("--force", "replace an existing package", False)


@verb
def program(add: Options) -> None:
    """Load the bitstream of a package onto the board that is plugged in: ulx3s."""
    add("package DIR", "folder that package made for ulx3s, after make")
    add("--flash", "write it to the board's flash memory", False)


@verb
def simulate(add: Options) -> None:
    """Simulate a build in Verilator and compare it with the engine."""
    add.shared("build")
    add("--max-tokens", "tokens to generate", 8)
    add("--prompt", "text to continue")
    add('--prompt-ids "1 2 3"', "token ids in place of text (default: 0)")
    add("--chain N", "then N tokens chained on the device, for cycles per token", 0)
    add("--waves FILE", "write all signals as an FST")
    add.shared("--results")
    add("--memory-trace FILE", "write all memory requests for DRAM simulators, a file per channel")
    add("--stalls", "random memory stalls, 0 to 0.9", 0.0)
    add("--seed", "seed of the stalls", 0)
    add.shared("--cache")
    add("--force", "replace existing files", False)


@verb
def selftest(add: Options) -> None:
    """Test a device step by step: registers, memory, a layer, tokens."""
    add.shared("build")
    add.device(default=None)
    add("--expected FILE", "expected results, of a package (default: the engine's)")


@verb
def report(add: Options) -> None:
    """Write one HTML page about a model on an accelerator."""
    what = "build, quantized file, or a shape (mamba2-130m, granite-4.0-h-1b, ...)"
    add("model BUILD, FILE or SHAPE", what, type=bundled_file)
    add("--target NAME", "target, or a TOML file; a build has its own")
    add("-o --output HTML", "page to write", required=True)
    add.shared("--format")
    add("--simulate N", "simulate N tokens for the page, then N chained on the device")
    results = "files that simulate, synth, evaluate and explore wrote"
    add("--results FILE", results, [], action="store", nargs="+")
    add("--checkpoint CKPT", "float checkpoint for the outlier plot; bundled: the shipped one")
    add.shared("--cache")
    add("--force", "replace an existing page", False)


@verb
def synth(add: Options) -> None:
    """Synthesize a build with open tools: area and longest paths."""
    add.shared("build")
    add(
        "--flow",
        "xcup: UltraScale+, area and longest path of every block; ecp5: an ECP5-85, placed and "
        "routed",
        FLOWS[0],
    )
    add("--flat", "xcup: synthesize everything as one block; small designs only", False)
    add("--goal MHZ", "ecp5: clock target of the router (default: 125)")
    add("--seed", "ecp5: seed of the placement (default: 1)", type=int)
    add("--cache", "xcup: folder for the results of blocks", type=Path)
    add.shared("--results")


@verb
def sweep(add: Options) -> None:
    """Measure models x recipes on texts, tasks and targets, resumable."""
    add("plan PLAN or DIR", "plan in TOML, or a folder of results to show", nargs="?", type=Path)
    add("-o --output DIR", "folder of results, new or to be resumed")
    add.resumes("{output}")
    add("--compare DIR", "compare with the results in DIR")
    for name in LISTS:
        add(f"--{name} A", f"a {name} instead of a plan; repeatable", [])
    add("--tokens", "use at most this many tokens of each text", type=int)
    add("--rows", "use at most this many rows of each task", type=int)
    add("--workers N", "jobs at once, on Ray; 0 runs them in this process")
    add("--address HOST:PORT", "address of a Ray cluster's head")


@verb
def cache(add: Options) -> None:
    """Show what is cached on this computer, and remove it."""
    what = f"remove a part: {', '.join(CACHED)}, or all; repeatable"
    add("--clear PART", what, action="append", choices=("all", *CACHED))


@verb
def completion(add: Options) -> None:
    """Write a script that completes commands in bash, zsh or fish."""
    add("shell", "shell to write the script for", choices=SHELLS)
