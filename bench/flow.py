"""Draw the picture of the data flow in README and docs: ``python -m bench.flow``.

The picture is plain SVG with its own background, so that light and dark pages show it alike.
"""

from html import escape

from bench.stored import RESULTS

__all__ = ["OUT", "picture"]

OUT = RESULTS.parent.parent / "docs/flow.svg"
WIDTH, HEIGHT = 1000, 392
FILE, STEP, RUN, LATER = "#fff4d6", "#dcebfb", "#dff3e3", "#f2f2f2"
BOXES = [  # x, y, width, height, colour, title, lines
    (20, 60, 150, 84, FILE, "checkpoint",
     ["Mamba2 in float,", "transformers or", "mamba_ssm layout"]),
    (210, 60, 150, 84, STEP, "quantize",
     ["a recipe of passes:", "rotations, GPTQ,", "formats"]),
    (400, 60, 180, 84, FILE, "model.safetensors",
     ["4-bit integers, tokenizer,", "recipe, hashes of its", "sources"]),
    (640, 60, 160, 84, RUN, "engine",
     ["CPU kernels in exact", "integers; numpy is the", "definition"]),
    (400, 206, 180, 84, STEP, "compile",
     ["for a target: u280, kv260,", "vck190, ulx3s, tiny or", "your own"]),
    (210, 206, 150, 84, STEP, "estimate, explore",
     ["speed, area, energy", "without simulation;", "Pareto search"]),
    (640, 206, 160, 84, RUN, "simulate",
     ["the build's Verilog in", "Verilator, with a model", "of the memory"]),
    (400, 322, 180, 52, FILE, "build/",
     ["Verilog, images, program"]),
    (640, 322, 160, 52, STEP, "synth",
     ["area, timing (yosys)"]),
    (850, 322, 140, 52, LATER, "vendor tool, board",
     ["not run yet"]),
]  # fmt: skip
ARROWS = [  # corners, dashed
    ([(170, 102), (208, 102)], False),
    ([(360, 102), (398, 102)], False),
    ([(580, 102), (638, 102)], False),
    ([(490, 144), (490, 204)], False),
    ([(400, 248), (362, 248)], False),
    ([(490, 290), (490, 320)], False),
    ([(580, 340), (610, 340), (610, 248), (638, 248)], False),
    ([(580, 348), (638, 348)], False),
    ([(800, 348), (848, 348)], True),
    ([(800, 102), (858, 102)], False),
    ([(800, 248), (858, 248)], False),
]
HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"
  width="{WIDTH}" height="{HEIGHT}" role="img"
  aria-label="Flow: a checkpoint is quantized to one file of integers; an engine runs that file on a
    CPU, and a compiler turns it into a build that a simulator runs bit-exact with the engine.">
<style>
  text {{ font: 13px sans-serif; text-anchor: middle; fill: #1c2733 }}
  .title {{ font-weight: bold; font-size: 14px }}
  .part {{ text-anchor: start; fill: #5b6b7b; font-size: 13px }}
</style>
<defs>
  <marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
    orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="#3d4b59"/></marker>
</defs>""".splitlines()


def _box(x: int, y: int, width: int, height: int, colour: str, title: str, rows: list[str]) -> str:
    dash = ' stroke-dasharray="5 4"' if colour == LATER else ""
    middle = x + width / 2
    parts = [
        (
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{colour}" '
            f'stroke="#5b6b7b" stroke-width="1.2"{dash}/>'
        ),
        f'<text x="{middle:g}" y="{y + 21}" class="title">{escape(title)}</text>',
    ]
    for n, row in enumerate(rows):
        parts.append(f'<text x="{middle:g}" y="{y + 39 + 16 * n}">{escape(row)}</text>')
    return "\n".join(parts)


def _arrow(corners: list[tuple[int, int]], dashed: bool) -> str:
    path = " L ".join(f"{x} {y}" for x, y in corners)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<path d="M {path}" fill="none" stroke="#3d4b59" stroke-width="1.6"{dash} '
        f'marker-end="url(#head)"/>'
    )


def picture() -> str:
    """The picture as SVG text."""
    tokens = [
        '<rect x="860" y="82" width="120" height="40" rx="20" fill="#ffffff" stroke="#5b6b7b"/>',
        '<text x="920" y="107" class="title">tokens</text>',
        '<rect x="860" y="228" width="120" height="40" rx="20" fill="#ffffff" stroke="#5b6b7b"/>',
        '<text x="920" y="253" class="title">tokens</text>',
        '<path d="M 920 122 L 920 226" fill="none" stroke="#1f7a3a" stroke-width="1.6"/>',
        '<rect x="868" y="152" width="104" height="46" rx="6" fill="#ffffff" stroke="#1f7a3a"/>',
        '<text x="920" y="171" fill="#1f7a3a" class="title">= bit-exact</text>',
        '<text x="920" y="188" fill="#1f7a3a">in every layer</text>',
    ]
    return "\n".join(
        [
            *HEAD,
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>',
            '<text x="20" y="36" class="part">floating point</text>',
            '<text x="400" y="36" class="part">integers: bit-exact from here on</text>',
            *(_box(*box) for box in BOXES),
            *(_arrow(*arrow) for arrow in ARROWS),
            *tokens,
            "</svg>",
            "",
        ]
    )


def main() -> None:
    OUT.write_text(picture(), encoding="utf-8")
    print(OUT.relative_to(OUT.parents[1]))


if __name__ == "__main__":
    main()
