"""The table of :mod:`bench.paper` next to the paper's figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightmamba.common.markdown import to_markdown
from lightmamba.study.report.paper import ClaimedAccuracy, paper

__all__ = ["paper_table", "published"]

NAMES = {
    "rtn": "RTN",
    "smoothquant": "SmoothQuant",
    "osplus": "Outlier Suppression+",
    "ours": "LightMamba, with the SSM",  # whose integers reach as far as ours
}


def split(recipe: str) -> tuple[str, str]:
    """Method and width of a shipped recipe; both are "float" of the checkpoint."""
    if recipe == "float":
        return recipe, recipe
    method, _, width = recipe.rpartition("-")
    return method or "ours", width


def published(recipe: str) -> ClaimedAccuracy | None:
    """The paper's row of a recipe, for Mamba2-2.7B."""
    method, width = split(recipe)
    wanted = ("FP16", "FP16") if method == "float" else (NAMES[method], width.upper())
    return next((row for row in paper().accuracy if (row.method, row.scheme) == wanted), None)


def paper_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Perplexities with the paper's numbers at the end of each row, and a table of the tasks."""
    cells: dict[tuple[str, str], dict[str, list[Any]]] = {}
    tasks: dict[str, None] = {}
    columns: dict[str, None] = {}
    for row in found:
        cells.setdefault((row["model"], row["recipe"]), {}).update(row["figures"])
        main = f"{row['measure']}, {row['metric'] or 'perplexity'}"
        columns |= dict.fromkeys([main, *row["figures"]])
        if row["kind"] == "task":
            tasks[main] = None
    texts = [name for name in columns if name not in tasks]
    source = paper().shape.upper().replace("MAMBA", "Mamba")
    first = [["model, recipe", *texts, "tasks, mean", f"{source}, published: zero-shot",
              "published: LAMBADA perplexity"]]  # fmt: skip
    second = [["model, recipe", *tasks]]
    for (model, recipe), cell in cells.items():
        claim, name = published(recipe), recipe if recipe == "float" else f"`{recipe}`"
        first.append([
            f"{model}, {name}",
            *(_figure(cell.get(text), percent=False) for text in texts),
            _mean([cell.get(task) for task in tasks]),
            "" if claim is None else f"{claim.zero_shot:.1f}",
            "" if claim is None else _perplexity(claim),
        ])  # fmt: skip
        figures = [_figure(cell.get(task), percent=True) for task in tasks]
        second.append([f"{model}, {name}", *figures])
    tables = [first, second] if tasks else [first]
    return "\n".join(to_markdown(each[0], each[1:]) for each in tables)


def _figure(found: list[Any] | None, *, percent: bool) -> str:
    if found is None:
        return "failed"
    value, error = found
    scale, form = (100, "{:.1f}") if percent else (1, "{:.4g}")
    text = form.format(scale * value)
    return text if error is None else f"{text} ± {scale * error:.2g}"


def _mean(found: list[list[Any] | None]) -> str:
    values = [each[0] for each in found if each is not None]
    if not values or len(values) < len(found):
        return ""
    return f"{100 * sum(values) / len(values):.1f}"


def _perplexity(claim: ClaimedAccuracy) -> str:
    if claim.perplexity_above is not None:
        return f"> {claim.perplexity_above:g}"
    return "" if claim.perplexity is None else f"{claim.perplexity:.2f}"
