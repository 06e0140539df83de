"""The paper's table of accuracy on any checkpoint, in exact integers: ``python -m bench.paper``.

A sweep (``lightmamba sweep``) with a plan of its own: the float checkpoint and the twelve shipped
recipes, perplexity of WikiText-2, LAMBADA and the zero-shot tasks. It goes on where it stopped.

python -m bench.paper --models state-spaces/mamba2-2.7b --tokenizer tokenizer.json --data data
python -m bench.paper --models demo --data data --tokens 4096 --rows 64 --sequences 16

``--data`` is a folder with the files of :data:`TEXTS` and :data:`TASKS`; what it lacks is left
out, and said. ``--texts`` and ``--tasks`` name files, or tasks of lm-eval, instead.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lightmamba.cli.show import progress
from lightmamba.common.errors import InputError
from lightmamba.common.markdown import to_markdown
from lightmamba.common.store import Record
from lightmamba.study.report.paper import ClaimedAccuracy, paper
from lightmamba.study.sweep import Entry, Plan, is_done, sweep, table_of
from lightmamba.study.sweep.table import line_of

__all__ = ["METHODS", "WIDTHS", "paper_table", "plan_of", "published"]

WIDTHS = ("w8a8", "w4a8", "w4a4")
METHODS = ("rtn", "smoothquant", "osplus", "ours")
NAMES = {
    "rtn": "RTN",
    "smoothquant": "SmoothQuant",
    "osplus": "Outlier Suppression+",
    "ours": "LightMamba, with the SSM",  # whose integers reach as far as ours
}
TEXTS = {"wikitext-2-raw/wiki.test.raw": "WikiText-2"}
TASKS = {  # file: name, metric; the metrics are those that the Mamba papers take
    "lambada/lambada_test.jsonl": ("LAMBADA", "acc"),
    "zero_shot/hellaswag.jsonl": ("HellaSwag", "acc_norm"),
    "zero_shot/piqa.jsonl": ("PIQA", "acc"),
    "zero_shot/arc_easy.jsonl": ("ARC-e", "acc"),
    "zero_shot/arc_challenge.jsonl": ("ARC-c", "acc_norm"),
    "zero_shot/winogrande.jsonl": ("WinoGrande", "acc"),
    "zero_shot/openbook_qa.jsonl": ("OpenBookQA", "acc_norm"),
}
NAMED = {"hellaswag": "acc_norm", "arc_challenge": "acc_norm", "openbookqa": "acc_norm"}


def recipe_name(method: str, width: str) -> str:
    """A shipped recipe."""
    return width if method == "ours" else f"{method}-{width}"


def plan_of(args: argparse.Namespace) -> Plan:
    """The paper's plan for some models and the data at hand.

    Raises
    ------
    InputError
        If there is neither a text nor a task.
    """
    texts = [Entry(place) for place in args.texts]
    tasks = [Entry(place, None, {"metric": NAMED.get(place, "acc")}) for place in args.tasks]
    if args.data is not None:
        for file, name in TEXTS.items():
            if _there(args.data / file):
                texts.append(Entry(str(args.data / file), name))
        for file, (name, metric) in TASKS.items():
            if _there(args.data / file):
                tasks.append(Entry(str(args.data / file), name, {"metric": metric}))
    if not (texts or tasks):
        raise InputError("give --data DIR, --texts FILE or --tasks NAME; see --help")
    options = {} if args.tokenizer is None else {"tokenizer": str(args.tokenizer)}
    learning = {"text": args.calibration, "sequences": args.sequences, "seqlen": args.seqlen}
    recipes = [Entry(recipe_name(m, width)) for width in WIDTHS for m in METHODS]
    return Plan(
        models=tuple(Entry(m, None, {} if m == "demo" else options) for m in args.models),
        recipes=(Entry("float"), *recipes),
        texts=tuple(texts), tasks=tuple(tasks),
        calibration={name: value for name, value in learning.items() if value is not None},
        tokens=args.tokens, rows=args.rows,
    )  # fmt: skip


def _there(path: Path) -> bool:
    if not path.is_file():
        print(f"left out: there is no {path}", file=sys.stderr)
    return path.is_file()


def published(recipe: str) -> ClaimedAccuracy | None:
    """The paper's row of a recipe, for Mamba2-2.7B."""
    method, _, width = recipe.rpartition("-")
    wanted = ("FP16", "FP16") if recipe == "float" else (NAMES[method or "ours"], width.upper())
    return next((row for row in paper().accuracy if (row.method, row.scheme) == wanted), None)


def paper_table(records: Sequence[Record]) -> str:
    """The table of the sweep, with the paper's numbers at the end of each row."""
    found, source = table_of(records), paper().shape
    header = ["model", "recipe", *found.columns, f"{source}, published: zero-shot, %"]
    header += ["published: LAMBADA perplexity"]
    return to_markdown(header, [[*line, *_claims(line[1])] for line in found.lines()])


def _claims(recipe: str) -> tuple[str, str]:
    if (claim := published(recipe)) is None:
        return "", ""
    perplexity = "" if claim.perplexity is None else f"{claim.perplexity:.2f}"
    if claim.perplexity_above is not None:
        perplexity = f"> {claim.perplexity_above:g}"
    return f"{claim.zero_shot:.1f}", perplexity


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["demo"], help="folders or hub ids")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json for all of them")
    parser.add_argument("--data", type=Path, metavar="DIR", help="texts and tasks as files")
    parser.add_argument("--texts", nargs="*", default=[], metavar="FILE")
    parser.add_argument("--tasks", nargs="*", default=[], metavar="FILE or NAME")
    parser.add_argument("--calibration", metavar="TEXT", help="(the shipped novels)")
    parser.add_argument("--sequences", type=int, help="of calibration")
    parser.add_argument("--seqlen", type=int, help="of each")
    parser.add_argument("--tokens", type=int, help="of each text (all)")
    parser.add_argument("--rows", type=int, help="of each task (all)")
    parser.add_argument("--sweep", type=Path, default=Path("build/paper-sweep"), help="its folder")
    parser.add_argument("--workers", type=int, help="as of lightmamba sweep")
    parser.add_argument("--address", help="as of lightmamba sweep")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    args.sweep.parent.mkdir(exist_ok=True)
    try:
        plan = plan_of(args)
        with progress("the paper's table") as bar:
            found = sweep(
                plan, args.sweep, workers=args.workers, address=args.address, threads=args.threads,
                progress=bar, tell=lambda record: print(line_of(record), flush=True),
            )  # fmt: skip
    except InputError as error:
        parser.error(str(error))
    print(paper_table(found.records))
    return 1 if any(not is_done(record) for record in found.records) else 0


if __name__ == "__main__":
    sys.exit(main())
