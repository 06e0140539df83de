"""Hardware of the kinds without a norm in front of out_proj: a constant instead of its 1/rms."""

from lightmamba.arch.hardware import Element, Hardware, Shown, Stream, Unit

__all__ = ["NORMLESS"]

NORMLESS = Hardware(
    units=(
        Unit("unit_rms", "rms:UnitRms", "1/rms of one, for out_proj", steps="one",
             shows=(Shown("unit_rms", "o", (
                 Element("mantissa", "u2", observable="rms"),
                 Element("j", "i1", observable="rms_shift"))),)),
    ),
    streams=(
        Stream("unit_rms", "unit_rms.o", "epilogue.i_rms_out", "RMS", "1/rms of one", "one"),
    ),
)  # fmt: skip
