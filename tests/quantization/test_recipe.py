"""Recipes: TOML in and out, and one sentence for what cannot be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmamba.common.errors import InputError
from lightmamba.model.data import demo_file, experts_file, hybrid_file
from lightmamba.model.qmodel import load
from lightmamba.numerics.model_formats import FormatException, Formats
from lightmamba.quantization.passes import (
    FuseNorms,
    OnlineHadamard,
    OutlierSuppression,
    Pass,
    QuantizeActivations,
    QuantizeHead,
    QuantizeState,
    QuantizeWeights,
    Rotate,
    SmoothQuant,
)
from lightmamba.quantization.recipe import Recipe, recipe_names

WIDTHS = {"w4a4": (4, 4), "w4a8": (4, 8), "w8a8": (8, 8)}
NAMES = sorted([*WIDTHS, *(f"{m}-{w}" for m in ("rtn", "smoothquant", "osplus") for w in WIDTHS)])


def test_names_of_the_shipped_recipes():
    assert recipe_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipe_is_what_its_name_says(name):
    recipe = Recipe.load(name)
    assert recipe.name == name
    method, _, width = name.rpartition("-")
    formats = recipe.formats
    assert (formats.weight_bits, formats.act_bits) == WIDTHS[width]
    assert (formats.head_weight_bits, formats.head_act_bits) == (WIDTHS[width][0], 8)
    block = 128 if method else 32
    assert (formats.block, formats.head_block, formats.group) == (block, block, 128)
    assert formats.hadamard == (1 if method else 128)
    kinds = {type(step) for step in recipe.passes}
    scaling = {"smoothquant": {SmoothQuant}, "osplus": {OutlierSuppression}, "rtn": set()}
    rewrites = {kind for kind in kinds if kind.rewrite is not Pass.rewrite}
    assert rewrites == scaling.get(method, {FuseNorms, Rotate, OnlineHadamard})
    rounding = next(s.rounding for s in recipe.passes if isinstance(s, QuantizeWeights))
    assert rounding == ("rtn" if method else "gptq")


@pytest.mark.parametrize("file", [demo_file, hybrid_file, experts_file])
def test_bundled_models_are_of_the_recipe_of_today(file):
    """After a change of the recipe: lightmamba quantize bundled -o the file, and bundled-hybrid."""
    assert load(file()).origin["recipe"] == Recipe.load("w4a4").to_toml()


@pytest.mark.parametrize("name", NAMES)
def test_toml_round_trip_of_shipped_recipes(name):
    recipe = Recipe.load(name)
    assert Recipe.parse(recipe.to_toml(), "text") == recipe


@given(
    name=st.text(st.characters(exclude_categories=["Cs"])),
    alpha=st.floats(0, 1),
    correct=st.booleans(),
    block=st.sampled_from([16, 32, 128]),
)
def test_toml_round_trip_of_any_values(name, alpha, correct, block):
    passes = QuantizeWeights(correct=correct), QuantizeActivations(8, block), SmoothQuant(alpha)
    recipe = Recipe(name, passes)
    assert Recipe.parse(recipe.to_toml(), "text") == recipe


def test_written_toml():
    text = Recipe('a "b"\\', (FuseNorms(), QuantizeState(bits=12))).to_toml()
    assert text == (
        'name = "a \\"b\\"\\\\"\npass = [\n    { kind = "fuse_norms" },\n'
        '    { kind = "quantize_state", bits = 12, rounding = "dither" },\n]\n'
    )


def test_a_recipe_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[[pass]]\nkind = "smoothquant"\nalpha = 1\n')
    assert Recipe.load(str(path)) == Recipe("mine", (SmoothQuant(1.0),))


def test_formats_are_those_of_all_passes():
    recipe = Recipe(
        "x",
        (
            QuantizeWeights(8, 256), QuantizeActivations(8, 64), QuantizeHead(8, 4, 128),
            QuantizeState(16, "half_up"), OnlineHadamard(0),
        ),
    )  # fmt: skip
    assert recipe.formats == Formats(
        weight_bits=8, group=256, act_bits=8, block=64, head_weight_bits=8, head_act_bits=4,
        head_block=128, head_qmax=7, state_bits=16, state_rounding="half_up", hadamard=0,
    )  # fmt: skip


EXCEPTED = """name = "x"
[[pass]]
kind = "quantize_weights"
[[exception]]
layers = [1, 3]
projection = "out_proj"
weight_bits = 8
[[exception]]
layers = [0]
projection = "in_proj"
act_bits = 8
"""


def test_exceptions():
    """Widths that an exception leaves out are those of the recipe."""
    recipe = Recipe.parse(EXCEPTED, "mine.toml")
    assert recipe.formats.exceptions == (
        FormatException(1, "out_proj", 8, 4), FormatException(3, "out_proj", 8, 4),
        FormatException(0, "in_proj", 4, 8),
    )  # fmt: skip
    assert Recipe.parse(recipe.to_toml(), "again") == recipe
    usual, wide = (recipe.formats.of(n, "out_proj") for n in (0, 1))
    assert usual == recipe.formats.projection
    assert (wide.bits, wide.weight_qmax, wide.act.bits) == (8, 119, 4)
    act = recipe.formats.of(0, "in_proj").act
    assert (act.bits, act.qmax) == (8, 119)


HEAD = 'name = "x"\n'
FUSE = '[[pass]]\nkind = "fuse_norms"\n'


def step(kind, values=""):
    return f'{HEAD}[[pass]]\nkind = "{kind}"\n{values}\n'


def order(*kinds):
    return HEAD + "".join(f'[[pass]]\nkind = "{kind}"\n' for kind in kinds)


def exception(table):
    return f'{HEAD}{FUSE}[[exception]]\nprojection = "out_proj"\n{table}'


# A text, and words of the sentence that refuses it.
REFUSED = [
    ('name = "x', "is not TOML"),
    ("name = " + "[" * 9000, "is not TOML: brackets nested too deeply"),
    ("", "no name"),
    (HEAD, 'write name = "mine" and [[pass]] tables'),
    (f'{HEAD}pass = ["fuse_norms"]', "pass must be a list of tables"),
    (f"{HEAD}exception = 3\n{FUSE}", "exception must be a list of tables"),
    (f"name = 3\n{FUSE}", "name must be a text, not 3"),
    (f"{HEAD}seed = 3\n{FUSE}", "unknown key 'seed'"),
    (
        f"{HEAD}[[pass]]\nbits = 4",
        'has no kind, such as kind = "rotate"; known: quantize_',
    ),
    (f'{HEAD}[[pass]]\nkind = ["rotate"]', "no pass"),
    (step("awq"), "no pass 'awq'; known: quantize_weights, "),
    (step("quantize_state", "bit = 8"), "has no key bit; it has bits, rounding"),
    (step("fuse_norms", "seed = 1"), "fuse_norms has no key seed; it has nothing"),
    (step("rotate", "seed = 1"), "[rotate] has no key seed; it has steps"),
    (step("rotate", "steps = -1"), "steps must be 0 or more, not -1"),
    (step("quantize_state", "bits = true"), "bits must be a whole number, not True"),
    (step("quantize_weights", "correct = 1"), "correct must be true or false, not 1"),
    (step("quantize_state", "bits = 5"), "state bits must be in 8..16"),
    (step("quantize_state", 'rounding = "up"'), "'dither' or 'half_up'"),
    (step("quantize_weights", "bits = 5"), "weight bits must be 4 or 8"),
    (step("quantize_weights", 'rounding = "up"'), "must be rtn, mse or gptq"),
    (step("quantize_weights", "group = 0"), "group must be even, from 2 to 1024"),
    (step("quantize_weights", "group = 2048"), "from 2 to 1024, not 2048"),
    (step("quantize_weights", "group = 16"), "block 32 must divide"),
    (step("quantize_activations", "bits = 6"), "bits must be 4 or 8, not 6"),
    (step("quantize_activations", "block = 48"), "48 must divide the group of 128"),
    (step("quantize_activations", "block = 0"), "block must be positive"),
    (step("quantize_head", "act_bits = 16"), "must be 4 or 8, not 16"),
    (step("online_hadamard", "order = 3"), "order 3 must divide the group of 128"),
    (step("online_hadamard", "order = -2"), "power of two up to 128, not -2"),
    (step("online_hadamard", 'gate_weight = "move"'), "must be keep, fold or measure"),
    (step("smoothquant", "alpha = 2"), "alpha must lie between 0 and 1, not 2.0"),
    (step("smoothquant", "alpha = nan"), "alpha must be a finite number"),
    (step("outlier_suppression", "steps = 0"), "steps must be at least 1"),
    (order("rotate", "fuse_norms", "rotate"), "rotate occurs more than once"),
    (order("rotate", "fuse_norms"), "rotate must come after fuse_norms"),
    (order("rotate"), "rotate needs fuse_norms"),
    (order("fuse_norms", "outlier_suppression", "rotate"), "suppression must come after rotate"),
    (order("online_hadamard", "quantize_weights"), "hadamard must come after quantize_weights"),
    (order("smoothquant", "fuse_norms"), "smoothquant must come after fuse_norms"),
    (order("outlier_suppression", "quantize_activations"), "must come after quantize_activations"),
    (order("smoothquant", "online_hadamard"), "smoothquant and online_hadamard exclude"),
    (exception("layers = []\nweight_bits = 8"), "layers must name one or more"),
    (exception("layers = [1]"), "give weight_bits, act_bits or both"),
    (exception("layers = [1, 1]\nact_bits = 8"), "out_proj of layer 1 has two exceptions"),
    (exception("layers = [-1]\nact_bits = 8"), "layer must be 0 or more, not -1"),
    (exception("layers = [1]\nweight_bits = 6"), "weight_bits must be 4 or 8, not 6"),
    (exception("layers = [1]\nweight_bits = 0"), "weight_bits must be 4 or 8, not 0"),
    (exception("layer = 1"), "has no key layer; it has layers, projection, weight_bits"),
    (
        EXCEPTED.replace('"in_proj"', '"head"'),
        "layers of every kind have these two; a router always has 8 bits), not 'head'",
    ),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_a_text_that_is_no_recipe_gets_one_sentence(text, words):
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        Recipe.parse(text, "my.toml")
    assert str(caught.value).startswith("my.toml")


def test_an_exception_that_changes_nothing_is_none():
    formats = Recipe.parse(EXCEPTED, "mine.toml").formats
    same = EXCEPTED + '\n[[exception]]\nlayers = [3]\nprojection = "out_proj"\nweight_bits = 4\n'
    assert Recipe.parse(same, "mine.toml").formats == formats


def test_no_such_recipe_names_the_shipped_ones():
    with pytest.raises(InputError, match="no recipe or file 'w3a3'; shipped recipes: osplus-w4a4"):
        Recipe.load("w3a3")


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.toml is not UTF-8 text"):
        Recipe.load(str(path))
