"""Draw the machines of the docs, by kinds of layers: ``python -m bench.machine``.

Units, streams and clients of memory are those of its graph, by the part that declares them;
graphviz (`dot`) places them.
"""

import tempfile
from collections.abc import Iterator

from bench.pictures import write
from lightmamba.arch.clients import MEMORY
from lightmamba.arch.graph import Graph
from lightmamba.blocks import kind
from lightmamba.common.tools import run
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.spine import BACK, FRONT

__all__ = ["MACHINES", "described"]

MACHINES = {"machine.svg": ("mamba2",), "explanation/hybrid-machine.svg": ("attention", "mlp")}
PAPER, INK, SOFT = "#ffffff", "#1c2733", "#5b6b7b"
FILLS = ("#dcebfb", "#dff3e3", "#fde3cf", "#ece1f4")  # of the spine, then of each kind
STORED = "#fff4d6"
SHAPES = {
    "weights": "once a pass", "table": "a row of each token", "static": "once a pass",
    "head": "of a sequence, by head", "layer": "of a sequence, by layer",
    "logits": "a row of each token", "record": "of a pass, by layer",
    "spread": "of a sequence, by token, over the lanes",
}  # fmt: skip


def described(kinds: tuple[str, ...]) -> str:
    """The machine in graphviz's language: a box for each unit, a cylinder for each client.

    Dashed are streams that only machines for several tokens have, dotted what is read or connected
    without a stream.
    """
    return "\n".join(_lines(machine(kinds), kinds)) + "\n"


def _lines(graph: Graph, kinds: tuple[str, ...]) -> Iterator[str]:
    yield "digraph machine {"
    yield f'  bgcolor="{PAPER}"; nodesep=0.2; ranksep=0.3; pad=0.2;'
    yield f'  node [fontname="sans-serif", fontsize=15, color="{SOFT}", fontcolor="{INK}"];'
    yield (
        f'  edge [fontname="sans-serif", fontsize=14, color="{SOFT}", fontcolor="{SOFT}", '
        "arrowsize=0.7];"
    )
    owners = {"spine": (*FRONT.units, *BACK.units)}
    owners |= {name: kind(name).hardware.graph.units for name in kinds}
    for fill, (owner, units) in zip(FILLS, owners.items(), strict=False):
        for unit in units:
            yield (
                f'  {unit.name} [shape=box, style="rounded,filled", fillcolor="{fill}", '
                f'tooltip="{owner}: {unit.doc}"];'
            )
    for client in graph.clients:
        yield (
            f'  "{MEMORY}.{client.name}" [shape=cylinder, style=filled, fillcolor="{STORED}", '
            f'fontsize=14, label="{client.name}\\n{SHAPES[client.shape.name]}", '
            f'tooltip="{client.doc}"];'
        )
    for stream in graph.streams:
        dash = ', style="dashed"' if stream.there is not None else ""
        ends = f"{_node(stream.source)} -> {_node(stream.target)}"
        yield f'  {ends} [label=" {stream.name} "{dash}];'
    joined = [(_node(one), _node(other)) for one, other in graph.wires]
    joined += [(read, unit.name) for unit in graph.units for read in unit.reads]
    for one, other in dict.fromkeys(joined):
        yield f'  {one} -> {other} [style="dotted"];'
    yield "}"


def _node(end: str) -> str:
    """Where a stream begins or ends: a unit, or a client of memory."""
    unit = end.split(".")[0]
    return f'"{end}"' if unit == MEMORY else unit


def main() -> None:
    """Draw them."""
    for name, kinds in MACHINES.items():
        text = described(kinds)
        with tempfile.NamedTemporaryFile("w", suffix=".dot") as file:
            file.write(text)
            file.flush()
            picture = run(["dot", "-Tsvg", file.name])
        write(name, text, picture)


if __name__ == "__main__":
    main()
