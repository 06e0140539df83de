"""Names and clocks of the system on a ULX3S.

Nothing here needs Amaranth, so drivers, packages and simulations can use it without.
"""

from dataclasses import dataclass

from lightmamba.common.errors import InputError

__all__ = [
    "CORE_RESET", "INSIDE", "MEMORY_RESET", "OSCILLATOR", "OSCILLATOR_MHZ", "RESETS", "SHIFT",
    "STEPS", "TOP", "Pll",
]  # fmt: skip

TOP = "ulx3s"  # module with the board's pins
INSIDE = "inside"  # module of all that is simulated: everything but the PLL and the pads
CORE_RESET = "core_reset"  # register that resets the accelerator, in the module of the system
MEMORY_RESET = "memory_reset"  # that of the memory's controller, in the module of all within
RESETS = (f"{INSIDE}.system.{CORE_RESET}", f"{INSIDE}.{MEMORY_RESET}")  # names in the netlist
OSCILLATOR, OSCILLATOR_MHZ = "clk_25mhz", 25.0  # pin, and frequency
SHIFT = 0.5  # of its period, by which the chip's clock is behind the controller's at first

VCO_LEAST, VCO_MOST = 400.0, 800.0  # MHz: Lattice FPGA-DS-02012, ECP5 family data sheet
DIVIDERS = range(1, 129)
STEPS = 8  # of the VCO's period: a step of the phase
NEAR = 1e-6  # share by which a clock may miss what was asked for


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
                f"try clock_mhz = {near[0] if near else first:.9g}"
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
