"""Kernels of other sources are refused, and what goes wrong in them is an exception of Python."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.native import (
    Layer,
    Model,
    Phase,
    Sequences,
    Work,
    best_isa,
    chosen,
    found,
    library,
    structs,
    usable_isas,
)
from lightmamba.native.isas import isas
from lightmamba.native.library import ISAS

NATIVE = Path(structs.__file__).parent


@pytest.mark.parametrize("isa", usable_isas())
def test_the_structs_are_those_of_the_sources(isa):
    assert library._shared(library._library(isa)) == structs.shared()


@pytest.mark.parametrize(
    ("part", "before", "after"),
    [
        (0, "embeddingclipped", "clippedembedding"),  # kinds of saturation
        (1, "int64_tgroups,dim,", "int64_tdim,groups,"),  # two fields of one size
        (2, "*weights,*codes", "*codes,*weights"),
        (-1, "silu,shift", "shift,silu"),  # of a kind of layer
        (-2, "", "x"),
    ],
)
@pytest.mark.parametrize("isa", usable_isas())
def test_other_sources_are_refused(isa, part, before, after, monkeypatch):
    other = structs.shared()
    other[part] = other[part].replace(before, after, 1)
    assert other != structs.shared()
    monkeypatch.setattr(library, "shared", lambda: other)
    with pytest.raises(InputError, match="built from other sources than this program; build them"):
        library._library.__wrapped__(isa)


def declared(tmp_path, body):
    path = tmp_path / "types.hpp"
    path.write_text(f"SHARED(x,\n\nstruct One {{\n{body}\n}};\n\n)  // SHARED\n")
    return path


def test_fields_are_read_from_a_header(tmp_path):
    class Inner(ctypes.Structure):
        _fields_ = (("a", structs.INT),)

    path = declared(
        tmp_path,
        """
    const uint8_t *codes, *weights;  // not, int64_t this
    const char* const* pages;
    int64_t rows, threshold[4];
    Inner inner;
    void* own[N_KINDS];

    int64_t of(int64_t n) const { return n; }

private:
    char* token(int64_t n) const {
        return nullptr;
    }
    int64_t last;""",
    )
    wanted = [
        ("codes", structs.POINTER), ("weights", structs.POINTER), ("pages", structs.POINTER),
        ("rows", structs.INT), ("threshold", structs.INT * 4), ("inner", Inner),
        ("own", structs.POINTER * len(structs.KINDS)), ("last", structs.INT),
    ]  # fmt: skip
    assert structs.fields("One", Inner, path=path) == wanted


@pytest.mark.parametrize("body", ["int32_t rows;", "Other other;", "int64_t* a, (*b)[3];"])
def test_a_declaration_that_is_not_understood_is_named(tmp_path, body):
    with pytest.raises(ValueError, match=r"struct One: .* is not understood"):
        structs.fields("One", path=declared(tmp_path, body))
    with pytest.raises(ValueError, match="has no struct Two"):
        structs.fields("Two", path=declared(tmp_path, body))


def enumerated(header, name):
    text = re.sub(r"//[^\n]*", "", (NATIVE / header).read_text())
    found = re.search(rf"enum {name} {{(.*?)}}", text, re.DOTALL)
    assert found is not None
    return [word.strip() for word in found[1].split(",") if word.strip()]


def test_instruction_sets_of_a_processor():
    assert list(isas("x86_64")) == list(isas("AMD64")) == ["portable", "avx2", "avx512"]
    assert list(isas("aarch64")) == list(isas("arm64")) == ["portable", "dotprod", "i8mm"]
    assert isas("riscv64") == {"portable": ()}
    assert tuple(isas()) == ISAS


def test_an_instruction_set_is_chosen_for_a_while():
    with chosen("portable"):
        assert library.context(None, 1).isa == "portable"
        assert os.environ[library.CHOICE] == "portable"  # for processes that are started
        with chosen(None):
            assert library.context(None, 1).isa == "portable"
        with chosen(best_isa()):
            assert library.context(None, 1).isa == best_isa()
        assert library.context(None, 1).isa == "portable"
    assert library.context(None, 1).isa == best_isa()
    assert library.CHOICE not in os.environ
    with (
        pytest.raises(InputError, match="no sse9 kernels for this processor; there are: portable"),
        chosen("sse9"),
    ):
        pass
    assert library.CHOICE not in os.environ


def test_enumerations_are_those_of_the_headers():
    phases = enumerated("kernels.hpp", "Phase")
    assert [phases.index(phase.name) for phase in Phase] == [int(phase) for phase in Phase]


def test_losses_are_those_of_the_kinds():
    own = {name for each in structs.KINDS for name in kind(each).integers.losses}
    assert own <= set(structs.LOSSES)
    assert set(structs.LOSSES) <= own | set(found.COMMON)
    made = found.headers()
    assert "enum Kind { KIND_ATTENTION, KIND_EXPERTS, KIND_MAMBA2, " in made["kinds.hpp"]
    assert " LOST_ATTENTION_SCORE," in made["kinds.hpp"]
    assert "X(mlp, MlpPhases)" in made["mixers.hpp"]


@pytest.mark.parametrize("isa", usable_isas())
def test_missing_memory_is_an_error_and_the_kernels_go_on(isa):
    """Scratch memory for a transform of 2^55 channels, on both threads."""
    context = library.Context(isa, 2)
    layer = Layer(kind=structs.KINDS.index("mlp"))
    none = ctypes.c_void_p(None)

    def transform(padded):
        layer.transform.padded = padded
        given = (Model(), layer, Work(), Sequences(), none, 0)
        context.call("phase", *given, ctypes.c_int(Phase.HADAMARD))

    for _ in range(2):
        transform(16)
        with pytest.raises(MemoryError, match="the kernels got no memory for phase"):
            transform(1 << 55)


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is missing: apt-get install g++")
def test_threads_share_work_and_pass_on_what_it_throws(tmp_path):
    program = tmp_path / "pool_shares"
    sources = [Path(__file__).with_name("pool_shares.cpp"), NATIVE / "pool.cpp"]
    words = ["g++", "-std=c++20", f"-I{NATIVE}", *sources, "-o", program, "-pthread"]
    subprocess.run(words, check=True)
    assert subprocess.run([program], check=False, timeout=20).returncode == 0
