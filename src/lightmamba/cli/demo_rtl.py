"""The end of ``lightmamba demo``: the bundled model in RTL simulation, against the engine."""

import tempfile
from pathlib import Path
from typing import Any

__all__ = ["run_rtl"]

TARGET = "tiny"
PROMPT = "It is a truth"


def run_rtl(tokens: int, *, quiet: bool) -> dict[str, Any]:
    """Compile the bundled W4A4 model for ``tiny`` and simulate a prompt and ``tokens`` more.

    Returns
    -------
    dict
        ``tokens_match``: every observable of every token equals the engine's; None, with the reason
        in ``rtl_not_run``, where Verilator or a compiler is missing. ``cycles_per_token`` of
        tokens with logits, ``cycles`` of those by what the lanes did, ``rtl_text``.
    """
    from lightmamba.arch.target import Target
    from lightmamba.cli.show import note, progress, table, working
    from lightmamba.common.errors import InputError
    from lightmamba.device.sim import open_twin
    from lightmamba.hardware.compiler import build
    from lightmamba.model.data import demo_file
    from lightmamba.model.qmodel import load
    from lightmamba.model.tokenizer import Tokenizer

    model = load(demo_file())
    assert model.tokenizer is not None
    tokenizer = Tokenizer.from_bytes(model.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with working("building the accelerator and its simulator (a minute, the first time)"):
                build(model, Target.load(TARGET), Path(folder) / "build", source=demo_file())
                opened = open_twin(Path(folder) / "build")
        except InputError as error:
            note(f"The accelerator was not simulated: {error}")
            return {"tokens_match": None, "rtl_not_run": str(error)}
        ids = [int(i) for i in tokenizer.encode(PROMPT)]
        total, steps = len(ids) - 1 + tokens, []
        with progress("simulating the accelerator") as bar:
            for step in opened.twin.run(ids, total):
                steps.append(step)
                bar(len(steps), total)
        opened.device.simulator.close()
    failed = steps[-1].difference
    counted = [step for step in steps if step.next_token >= 0] or steps
    cycles = {k: sum(step.stalls[k] for step in counted) for k in counted[0].stalls}
    total = sum(cycles.values())
    text = tokenizer.decode(ids + [s.next_token for s in steps if s.next_token >= 0])
    if not quiet:
        rows = [(k.replace("_", " "), n // len(counted), 100 * n / total)
                for k, n in cycles.items()]  # fmt: skip
        table(f"accelerator `{TARGET}`, simulated: cycles per token", ("", "cycles", "%"), rows)
        verdict = "every intermediate value equals the engine's"
        if failed is not None:
            verdict = f"hardware and engine differ: {failed}; this is the engine's text"
        print(f"{len(steps)} tokens simulated; {verdict}:\n{text}")
    return {
        "tokens_match": failed is None,
        "cycles_per_token": total / len(counted),
        "cycles": cycles,
        "rtl_text": text,
    }
