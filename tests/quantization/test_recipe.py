"""Recipes: TOML in and out, and one sentence for what cannot be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmamba.common.errors import InputError
from lightmamba.numerics.model_formats import FormatException, Formats
from lightmamba.quantization.recipe import (
    PASSES,
    FuseNorms,
    OnlineHadamard,
    OutlierSuppression,
    QuantizeActivations,
    QuantizeHead,
    QuantizeState,
    QuantizeWeights,
    Recipe,
    Rotate,
    SmoothQuant,
    recipe_names,
)

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
    rewrites = {kind for kind in kinds if kind.preserves}
    assert rewrites == scaling.get(method, {FuseNorms, Rotate, OnlineHadamard})
    rounding = next(s.rounding for s in recipe.passes if isinstance(s, QuantizeWeights))
    assert rounding == ("rtn" if method else "gptq")


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


BAD_EXCEPTIONS = {
    "no layers": ("layers = []\nweight_bits = 8", "layers must name one or more"),
    "no widths": ("layers = [1]", "give weight_bits, act_bits or both"),
    "layer twice": ("layers = [1, 1]\nact_bits = 8", "out_proj of layer 1 has two exceptions"),
    "negative layer": ("layers = [-1]\nact_bits = 8", "layer must be 0 or more, not -1"),
    "six bits": ("layers = [1]\nweight_bits = 6", "weight_bits must be 4 or 8, not 6"),
    "no bits": ("layers = [1]\nweight_bits = 0", "weight_bits must be 4 or 8, not 0"),
    "unknown key": ("layer = 1", "has no key layer; it has layers, projection, weight_bits"),
}


@pytest.mark.parametrize(("table", "sentence"), BAD_EXCEPTIONS.values(), ids=BAD_EXCEPTIONS)
def test_bad_exceptions_get_one_sentence(table, sentence):
    text = 'name = "x"\n[[pass]]\nkind = "fuse_norms"\n[[exception]]\nprojection = "out_proj"\n'
    assert sentence in refused(text + table)


def test_an_exception_that_changes_nothing_is_none():
    formats = Recipe.parse(EXCEPTED, "mine.toml").formats
    same = EXCEPTED + '\n[[exception]]\nlayers = [3]\nprojection = "out_proj"\nweight_bits = 4\n'
    assert Recipe.parse(same, "mine.toml").formats == formats


def test_an_exception_for_no_projection():
    text = EXCEPTED.replace('"in_proj"', '"head"')
    sentence = "in_proj or out_proj (layers of every kind have these two), not 'head'"
    assert sentence in refused(text)


BAD_TEXTS = {
    "one exception": (
        'name = "x"\nexception = 3\n[[pass]]\nkind = "fuse_norms"',
        "exception must be a list of tables",
    ),
    "broken": ('name = "x', "is not TOML"),
    "brackets without end": ("name = " + "[" * 9000, "is not TOML: brackets nested too deeply"),
    "twice the same key": ('name = "x"\nname = "y"', "is not TOML"),
    "empty": ("", "no name"),
    "no passes": ('name = "x"', r"write name = .* and \[\[pass\]\] tables"),
    "one table": ('name = "x"\n[pass]\nkind = "fuse_norms"', "pass must be a list of tables"),
    "a list of words": ('name = "x"\npass = ["fuse_norms"]', "pass must be a list of tables"),
    "name of a wrong type": (
        'name = 3\n[[pass]]\nkind = "fuse_norms"',
        "name must be a text, not 3",
    ),
    "unknown key": ('name = "x"\nseed = 3\n[[pass]]\nkind = "rotate"', "unknown key 'seed'"),
}
BAD_PASSES = {
    "no kind": ("bits = 4", 'has no kind, such as kind = "rotate"; known: quantize_weights, '),
    "unknown kind": ('kind = "awq"', "no pass 'awq'; known: quantize_weights, "),
    "kind of a wrong type": ('kind = ["rotate"]', "no pass"),
    "unknown key": ('kind = "quantize_state"\nbit = 8', "has no key bit; it has bits, rounding"),
    "key of a bare pass": ('kind = "rotate"\nseed = 1', "[rotate] has no key seed; it has nothing"),
    "text for a number": (
        'kind = "quantize_state"\nbits = "8"',
        "bits must be a whole number, not '8'",
    ),
    "truth for a number": (
        'kind = "quantize_state"\nbits = true',
        "bits must be a whole number, not True",
    ),
    "number for truth": (
        'kind = "quantize_weights"\ncorrect = 1',
        "correct must be true or false, not 1",
    ),
    "fraction": ('kind = "quantize_state"\nbits = 8.5', "bits must be a whole number, not 8.5"),
    "state of 5 bits": ('kind = "quantize_state"\nbits = 5', "state bits must be in 8..16"),
    "state rounding": ('kind = "quantize_state"\nrounding = "up"', "'dither' or 'half_up'"),
    "weights of 5 bits": ('kind = "quantize_weights"\nbits = 5', "weight bits must be 4 or 8"),
    "weight rounding": ('kind = "quantize_weights"\nrounding = "up"', "must be rtn, mse or gptq"),
    "no group": ('kind = "quantize_weights"\ngroup = 0', "group must be even, from 2 to 1024"),
    "group too large": ('kind = "quantize_weights"\ngroup = 2048', "from 2 to 1024, not 2048"),
    "group of the block": ('kind = "quantize_weights"\ngroup = 16', "block 32 must divide"),
    "activations of 6": ('kind = "quantize_activations"\nbits = 6', "bits must be 4 or 8, not 6"),
    "block of 48": ('kind = "quantize_activations"\nblock = 48', "48 must divide the group of 128"),
    "no block": ('kind = "quantize_activations"\nblock = 0', "block must be positive"),
    "head block": ('kind = "quantize_head"\nblock = 48', "48 must divide the group of 128"),
    "head of 16 bits": ('kind = "quantize_head"\nact_bits = 16', "must be 4 or 8, not 16"),
    "hadamard 3": ('kind = "online_hadamard"\norder = 3', "order 3 must divide the group of 128"),
    "hadamard 256": ('kind = "online_hadamard"\norder = 256', "order 256 must divide"),
    "hadamard -2": ('kind = "online_hadamard"\norder = -2', "power of two up to 128, not -2"),
    "gate": ('kind = "online_hadamard"\ngate_weight = "move"', "must be keep, fold or measure"),
    "alpha": ('kind = "smoothquant"\nalpha = 2', "alpha must lie between 0 and 1, not 2.0"),
    "alpha no number": ('kind = "smoothquant"\nalpha = nan', "alpha must be a finite number"),
    "steps": ('kind = "outlier_suppression"\nsteps = 0', "steps must be at least 1"),
}


def refused(text):
    with pytest.raises(InputError) as caught:
        Recipe.parse(text, "my.toml")
    sentence = str(caught.value)
    assert sentence.startswith("my.toml")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(("text", "sentence"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_bad_text_gets_one_sentence(text, sentence):
    assert re.search(sentence, refused(text))


@pytest.mark.parametrize(("table", "sentence"), BAD_PASSES.values(), ids=BAD_PASSES)
def test_bad_pass_gets_one_sentence(table, sentence):
    assert sentence in refused(f'name = "x"\n[[pass]]\n{table}\n')


BAD_ORDERS = {
    "twice": ((Rotate(), FuseNorms(), Rotate()), "rotate occurs more than once"),
    "rotate first": ((Rotate(), FuseNorms()), "rotate must come after fuse_norms"),
    "rotate unfused": ((Rotate(),), "rotate needs fuse_norms"),
    "fused away": ((SmoothQuant(), FuseNorms()), "smoothquant must come after fuse_norms"),
    "shift before rotate": (
        (FuseNorms(), OutlierSuppression(), Rotate()), "outlier_suppression must come after rotate"
    ),
    "measured too early": (
        (OnlineHadamard(), QuantizeWeights()), "online_hadamard must come after quantize_weights"
    ),
    "searched too early": (
        (OutlierSuppression(), QuantizeActivations()), "must come after quantize_activations"
    ),
    "smooth and turn": ((SmoothQuant(), OnlineHadamard()), "smoothquant and online_hadamard excl"),
    "turn and shift": (
        (OnlineHadamard(), OutlierSuppression()), "outlier_suppression and online_hadamard exclude"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("passes", "sentence"), BAD_ORDERS.values(), ids=BAD_ORDERS)
def test_passes_that_cannot_follow_each_other(passes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Recipe("x", passes)
    tables = "".join(
        f'[[pass]]\nkind = "{name}"\n'
        for step in passes
        for name, kind in PASSES.items()
        if kind is type(step)
    )
    assert sentence in refused(f'name = "x"\n{tables}')


def test_no_such_recipe_names_the_shipped_ones():
    with pytest.raises(InputError, match="no recipe or file 'w3a3'; shipped recipes: osplus-w4a4"):
        Recipe.load("w3a3")


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.toml is not UTF-8 text"):
        Recipe.load(str(path))
