"""PLL of an ECP5 as a cell."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Const, Instance, Value

from lightmamba.hardware.soc.board import STEPS, Pll

__all__ = ["pll_cell"]


def pll_cell(
    pll: Pll, *, clki: Value, shift: int, step: Value, later: Value, outputs: Mapping[str, Value]
) -> Instance:
    """Make the cell EHXPLLL.

    Parameters
    ----------
    pll
        Its dividers.
    clki
        Clock that comes in.
    shift
        Steps by which the third output is behind the first after configuration.
    step, later
        A falling ``step`` moves the third output by a step, later or earlier. ``later`` must
        be stable around it, and ``step`` last four periods of the VCO.
    outputs
        Signals of the outputs: ``first``, ``second``, ``shifted``, ``lock``.
    """
    coarse, fine = divmod(shift % pll.turn, STEPS)
    names = {"first": "CLKOP", "second": "CLKOS", "shifted": "CLKOS2", "lock": "LOCK"}
    parameters: dict[str, Any] = {
        "CLKI_DIV": pll.ref, "CLKFB_DIV": pll.fb, "FEEDBK_PATH": "CLKOP",
        "PLLRST_ENA": "DISABLED", "INTFB_WAKE": "DISABLED", "STDBY_ENABLE": "DISABLED",
        "DPHASE_SOURCE": "ENABLED", "OUTDIVIDER_MUXA": "DIVA", "OUTDIVIDER_MUXB": "DIVB",
        "OUTDIVIDER_MUXC": "DIVC", "OUTDIVIDER_MUXD": "DIVD",
    }  # fmt: skip
    phases = {"CLKOP": (pll.first, 0, 0), "CLKOS": (pll.second, 0, 0),
              "CLKOS2": (pll.first, coarse, fine)}  # fmt: skip
    for name, (divider, behind, part) in phases.items():
        parameters |= {
            f"{name}_ENABLE": "ENABLED", f"{name}_DIV": divider,
            f"{name}_CPHASE": (divider - 1 + behind) % 128, f"{name}_FPHASE": part,
        }  # fmt: skip
    # The third output is number 1 of PHASESEL; PHASEDIR 0 moves it later.
    return Instance(
        "EHXPLLL",
        a_FREQUENCY_PIN_CLKI=f"{pll.clki:g}",
        a_FREQUENCY_PIN_CLKOP=f"{pll.first_mhz:g}",
        a_FREQUENCY_PIN_CLKOS=f"{pll.second_mhz:g}",
        a_FREQUENCY_PIN_CLKOS2=f"{pll.first_mhz:g}",
        a_ICP_CURRENT="12",
        a_LPF_RESISTOR="8",
        a_MFG_ENABLE_FILTEROPAMP="1",
        a_MFG_GMCREF_SEL="2",
        **{f"p_{name}": value for name, value in parameters.items()},
        i_CLKI=clki,
        i_CLKFB=outputs["first"],
        i_RST=Const(0), i_STDBY=Const(0), i_PLLWAKESYNC=Const(0),
        i_PHASESEL0=Const(1), i_PHASESEL1=Const(0), i_PHASEDIR=~later, i_PHASESTEP=step,
        i_PHASELOADREG=Const(0),
        i_ENCLKOP=Const(0), i_ENCLKOS=Const(0), i_ENCLKOS2=Const(0), i_ENCLKOS3=Const(0),
        **{f"o_{names[name]}": signal for name, signal in outputs.items()},
    )  # fmt: skip
