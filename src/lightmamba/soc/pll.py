"""PLL of an ECP5: dividers for the clocks of a board, and the cell."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const, Instance, Value

from lightmamba.errors import InputError

__all__ = ["STEPS", "Pll"]

VCO_LEAST, VCO_MOST = 400.0, 800.0  # MHz: Lattice FPGA-DS-02012, ECP5 family data sheet
DIVIDERS = range(1, 129)
STEPS = 8  # of the VCO's period: a step of the phase
NEAR = 1e-4  # share by which a clock may miss what was asked for


@dataclass(frozen=True)
class Pll:
    """Dividers of an EHXPLLL with feedback from its first output.

    Source: Lattice FPGA-TN-02200, sysCLOCK PLL/DLL.

    Parameters
    ----------
    clki : float
        Clock that comes in, MHz.
    fb, ref : int
        Dividers of the feedback and of the input.
    first, second : int
        Dividers of the VCO for the two clocks; the third output is the first clock again, shifted.
    """

    clki: float
    fb: int
    ref: int
    first: int
    second: int

    @classmethod
    def of(cls, clki: float, first: float, second: float) -> "Pll":
        """Dividers for two clocks, all in MHz, with the fastest VCO that has both.

        Raises
        ------
        InputError
            If no dividers give them: one sentence with clocks that are near.
        """
        found = [
            cls(clki, fb, ref, div, round(vco / second))
            for ref in range(1, 9)
            for fb in range(1, 81)
            if abs(clki * fb / ref - first) <= NEAR * first
            for div in DIVIDERS
            if VCO_LEAST <= (vco := first * div) <= VCO_MOST
            and round(vco / second) in DIVIDERS
            and abs(vco / round(vco / second) - second) <= NEAR * second
        ]
        if not found:
            near = sorted(
                {first * div / n for div in DIVIDERS for n in DIVIDERS
                 if VCO_LEAST <= first * div <= VCO_MOST},
                key=lambda mhz: abs(mhz - second),
            )  # fmt: skip
            raise InputError(
                f"a PLL makes no {second:g} MHz next to {first:g} MHz of {clki:g} MHz; "
                f"try clock_mhz = {round(near[0], 3) if near else first:g}"
            )
        return max(found, key=lambda pll: (pll.vco_mhz, -pll.ref))

    @property
    def first_mhz(self) -> float:
        """First clock."""
        return self.clki * self.fb / self.ref

    @property
    def vco_mhz(self) -> float:
        """Oscillator."""
        return self.first_mhz * self.first

    @property
    def second_mhz(self) -> float:
        """Second clock."""
        return self.vco_mhz / self.second

    @property
    def turn(self) -> int:
        """Steps of the shifted clock for a whole period."""
        return STEPS * self.first

    @property
    def step_ps(self) -> float:
        """Time of a step of the phase, in picoseconds."""
        return 1e6 / (STEPS * self.vco_mhz)

    def instance(
        self, *, clki: Value, shift: int, step: Value, later: Value, outputs: Mapping[str, Value]
    ) -> Instance:
        """Make the cell.

        Parameters
        ----------
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
        coarse, fine = divmod(shift % self.turn, STEPS)
        names = {"first": "CLKOP", "second": "CLKOS", "shifted": "CLKOS2", "lock": "LOCK"}
        parameters: dict[str, Any] = {
            "CLKI_DIV": self.ref, "CLKFB_DIV": self.fb, "FEEDBK_PATH": "CLKOP",
            "PLLRST_ENA": "DISABLED", "INTFB_WAKE": "DISABLED", "STDBY_ENABLE": "DISABLED",
            "DPHASE_SOURCE": "ENABLED", "OUTDIVIDER_MUXA": "DIVA", "OUTDIVIDER_MUXB": "DIVB",
            "OUTDIVIDER_MUXC": "DIVC", "OUTDIVIDER_MUXD": "DIVD",
        }  # fmt: skip
        phases = {"CLKOP": (self.first, 0, 0), "CLKOS": (self.second, 0, 0),
                  "CLKOS2": (self.first, coarse, fine)}  # fmt: skip
        for name, (divider, behind, part) in phases.items():
            parameters |= {
                f"{name}_ENABLE": "ENABLED", f"{name}_DIV": divider,
                f"{name}_CPHASE": (divider - 1 + behind) % 128, f"{name}_FPHASE": part,
            }  # fmt: skip
        # The third output is number 1 of PHASESEL; PHASEDIR 0 moves it later.
        return Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.clki:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.first_mhz:g}",
            a_FREQUENCY_PIN_CLKOS=f"{self.second_mhz:g}",
            a_FREQUENCY_PIN_CLKOS2=f"{self.first_mhz:g}",
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
