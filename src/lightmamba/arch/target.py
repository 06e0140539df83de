"""Targets: what a board gives and what is chosen for it, read from TOML."""

import logging
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from lightmamba.arch.channel import KINDS, Channel
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.ports import of_token, widths
from lightmamba.common.errors import InputError
from lightmamba.common.plain import build, checked, options

__all__ = ["CHOICES", "KINDS", "Channel", "Power", "Resources", "Target", "target_names"]

T = TypeVar("T")
log = logging.getLogger(__name__)
_NAMES = [each.name for each in fields(ArchConfig)]
CHOICES = tuple(_NAMES[: _NAMES.index("weight_bits")])  # what a target decides; models the rest
TOP = ("name", "about", "clock_mhz", "board")
PARTS = ("machine", "channel", "resources", "power")
FASTEST_MHZ = 10_000.0
SLOWEST = 2.0**-16  # bytes per cycle; the fastest is as far above 1
EXAMPLES = {
    "": "clock_mhz = 100",
    "machine": "lanes = 4",
    "channel": 'ports = ["lane0", "lane1"]',
    "resources": "lut = 83640",
    "power": "static_watts = [6.4, 12, 25]",
}


@dataclass(frozen=True)
class Resources:
    """Cells of the device.

    Parameters
    ----------
    lut, ff, dsp, bram18, uram : int
    lut_scale : float
        LUTs of the device for each 6-input LUT of the area model.
    source : str
        Where the numbers are from.
    """

    lut: int
    ff: int
    dsp: int
    bram18: int
    uram: int
    source: str
    lut_scale: float = 1.0

    def __post_init__(self) -> None:
        if low := [n for n, v in asdict(self).items() if isinstance(v, int) and v < 0]:
            raise ValueError(f"resources: {low[0]} must not be negative")
        if not 0 < self.lut_scale < math.inf:
            raise ValueError(f"resources: lut_scale must be above 0, not {self.lut_scale}; try 1")
        if not self.source.strip():
            raise ValueError("resources: say in source where the numbers are from")


@dataclass(frozen=True)
class Power:
    """Static power, and the process of the device.

    Parameters
    ----------
    static_watts : (low, likely, high)
        Leakage, and the rest of the board that cannot be switched off.
    cell_scale : float
        Energy of a cell of the fabric against one of UltraScale+ (16 nm).
    """

    static_watts: tuple[float, ...]
    source: str
    cell_scale: float = 1.0

    def __post_init__(self) -> None:
        if len(self.static_watts) != 3 or not (
            0 <= self.static_watts[0] <= self.static_watts[1] <= self.static_watts[2] < math.inf
        ):
            raise ValueError(
                f"power: static_watts must be low, likely and high in this order, for example "
                f"[6.4, 12, 25], not {list(self.static_watts)}"
            )
        if not self.cell_scale > 0:
            raise ValueError(f"power: cell_scale must be above 0, not {self.cell_scale}; try 1")
        if not self.source.strip():
            raise ValueError("power: say in source where the numbers are from")


@dataclass(frozen=True)
class Target:
    """A board, or the idea of one.

    Parameters
    ----------
    machine : ArchConfig
        Holds the choices (:data:`CHOICES`); what models decide has its defaults.
    per_kind : {kind of layers: {choice: value}}
        Choices that replace those of ``machine`` where it has such layers: :meth:`for_kinds`.
    resources : Resources or None
        None where no device is meant.
    power : Power or None
        None where nothing is known of it.
    board : str
        Name of the board that packages are made for; empty where there is none.

    Raises
    ------
    ValueError
        One sentence that names what is wrong and what would be right.
    """

    name: str
    about: str
    clock_mhz: float
    machine: ArchConfig
    channels: tuple[Channel, ...]
    resources: Resources | None = None
    power: Power | None = None
    board: str = ""
    per_kind: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.clock_mhz <= FASTEST_MHZ:
            raise ValueError(
                f"clock_mhz must be above 0, and at most {FASTEST_MHZ:g}, not {self.clock_mhz}; "
                f"try 100"
            )
        for channel in self.channels:
            every, pause = channel.refresh_cycles(self.clock_mhz)
            if pause and pause >= every:
                raise ValueError(
                    f"channel {channel.name}: at {self.clock_mhz} MHz its refresh takes {pause} of "
                    f"every {every} cycles; raise clock_mhz"
                )
            rate = channel.bytes_per_cycle(self.clock_mhz)
            if not SLOWEST <= rate <= 1 / SLOWEST:
                raise ValueError(
                    f"channel {channel.name}: {rate:g} bytes per cycle are out of range; "
                    f"look at attainable_gb_per_s and clock_mhz"
                )
        names = [channel.name for channel in self.channels]
        if len(set(names)) < len(names):
            raise ValueError(f"channels need names of their own, not {', '.join(names)}")
        wanted = list(widths(self.machine))
        given = [port for channel in self.channels for port in channel.ports]
        if unknown := [port for port in given if port not in wanted]:
            raise ValueError(
                f"there is no port {unknown[0]}; the ports of this machine are {', '.join(wanted)}"
            )
        for port in wanted:
            most = 2 if port.startswith("state_") else 1
            if not 1 <= given.count(port) <= most:
                raise ValueError(
                    f"port {port} is on {given.count(port)} channels, but must be on one"
                    + (", or on two that each hold a copy of the state" if most == 2 else "")
                )
        pairs = [
            (of_token("state_read", n), of_token("state_write", n))
            for n in range(0 if self.machine.shared_port else self.machine.state_ports)
        ]
        if any(self.channels_of(read) != self.channels_of(write) for read, write in pairs):
            raise ValueError(
                "state_read and state_write must be on the same channels: "
                "a token reads what the last one wrote"
            )
        for kind in self.per_kind:
            self.for_kinds([kind])

    def for_kinds(self, kinds: Collection[str]) -> "Target":
        """Target whose machine has layers of these kinds, with the choices for them.

        Where several kinds choose, the largest value counts.

        Raises
        ------
        ValueError
            If its choices do not go together.
        """
        if not self.per_kind:
            return self
        tables = {kind: self.per_kind[kind] for kind in self.per_kind if kind in kinds}
        chosen: dict[str, Any] = {}
        for name, value in (item for table in tables.values() for item in table.items()):
            chosen[name] = max(value, chosen.get(name, value))
        try:
            return replace(self, machine=replace(self.machine, **chosen), per_kind={})
        except ValueError as error:
            names = " and ".join(f"[machine.{kind}]" for kind in tables)
            raise ValueError(f"with {names}, {error}") from error

    def channels_of(self, port: str) -> tuple[Channel, ...]:
        """The channel that a port is on; both of them where the state has a copy on each."""
        return tuple(channel for channel in self.channels if port in channel.ports)

    def channel_of(self, port: str) -> Channel:
        """The first channel that a port is on."""
        return self.channels_of(port)[0]

    def per_channel(
        self, moved: Mapping[str, tuple[float, float]]
    ) -> dict[str, tuple[float, float]]:
        """Bytes of a token by channel from (read, written) by port.

        The two copies of a state take turns, so each has half of its traffic, in the mean.
        """
        found = {channel.name: (0.0, 0.0) for channel in self.channels}
        for port, (read, written) in moved.items():
            channels = self.channels_of(port)
            for channel in channels:
                before = found[channel.name]
                share = read / len(channels), written / len(channels)
                found[channel.name] = before[0] + share[0], before[1] + share[1]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest; :meth:`from_dict` takes them back."""
        machine = asdict(self.machine)
        values: dict[str, Any] = {
            "name": self.name,
            "about": self.about,
            "clock_mhz": self.clock_mhz,
            "machine": {name: machine[name] for name in CHOICES}
            | {kind: dict(choices) for kind, choices in self.per_kind.items()},
            "channel": [asdict(c) | {"ports": list(c.ports)} for c in self.channels],
        }
        if self.board:
            values["board"] = self.board
        if self.resources:
            given = asdict(self.resources)
            values["resources"] = {n: v for n, v in given.items() if (n, v) != ("lut_scale", 1)}
        if self.power:
            values["power"] = asdict(self.power) | {"static_watts": [*self.power.static_watts]}
        return values

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Target":
        """Build from plain values.

        A channel with a ``count`` describes that many channels, with the number for each * in its
        texts. A table such as [machine.attention] has choices for machines with layers of that
        kind. With ``like``, the name of a shipped target, what is not said is as there: of
        [machine] each choice, of the other tables the whole. A choice that [machine] says replaces
        that of the shipped target for all kinds.

        Raises
        ------
        ValueError
            One sentence, as for the class; unknown keys are refused.
        """
        if unknown := [name for name in values if name not in (*TOP, *PARTS, "like")]:
            names = ", ".join((*TOP, *PARTS, "like"))
            raise ValueError(f"there is no key {unknown[0]}; known are {names}")
        values = _completed(values)
        top = {name: value for name, value in values.items() if name in TOP}
        types = {each.name: each.type for each in fields(ArchConfig)}
        known = {name: types[name] for name in CHOICES}
        own, tables = _split(values)
        machine = options(own, known, "machine", EXAMPLES["machine"])
        per_kind = {
            kind: options(table, known, f"machine.{kind}", EXAMPLES["machine"])
            for kind, table in tables.items()
        }
        entries = checked(values.get("channel", []), list, "channel")
        resources, power = values.get("resources"), values.get("power")
        return build(
            Target, top, "", EXAMPLES[""], machine=ArchConfig(**machine), per_kind=per_kind,
            channels=tuple(channel for entry in entries for channel in _channels(entry)),
            resources=None if resources is None else _part(Resources, resources, "resources"),
            power=None if power is None else _part(Power, power, "power"),
        )  # fmt: skip

    @staticmethod
    def parse(text: str, where: str) -> "Target":
        """Read TOML.

        Raises
        ------
        InputError
            One sentence that begins with ``where``.
        """
        try:
            return Target.from_dict(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{where} is not TOML: {error}") from error
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
        except RecursionError as error:
            raise InputError(f"{where}: its brackets are nested too deeply") from error

    @staticmethod
    def load(name: str) -> "Target":
        """Read a shipped target by name, or a TOML file.

        Raises
        ------
        InputError
            If there is none of that name, or it is not right.
        """
        path = Path(name)
        if name in target_names():
            path = _folder() / f"{name}.toml"
            text = path.read_text(encoding="utf-8")
        elif path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
            except ValueError as error:
                raise InputError(f"{name} is not UTF-8 text; give a TOML file") from error
        else:
            if path.suffix == ".toml":
                raise InputError(f"{name} does not exist; give a TOML file, or a shipped target")
            shipped = ", ".join(target_names())
            raise InputError(
                f"there is no target {name}{_nearest(name)}; shipped are {shipped}, or give a TOML"
            )
        log.info("target %s from %s", name, path)
        return Target.parse(text, name)


def target_names() -> list[str]:
    """Names of the shipped targets."""
    names = [entry.name for entry in _folder().iterdir()]
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def _folder() -> Any:
    return resources.files("lightmamba.arch") / "targets"


def _nearest(name: str) -> str:
    """Hint at the shipped target that a name begins with, or else is most like."""
    names = target_names()
    begun = [each for each in names if name.startswith(f"{each}-")]
    near = begun[-1:] or get_close_matches(name, names, 1)
    return f"; use {near[0]}" if near else ""


def _split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Choices of the table [machine], and its tables for kinds of layers."""
    given = checked(values.get("machine", {}), dict, "machine")
    tables = {n: v for n, v in given.items() if isinstance(v, dict) and n not in CHOICES}
    return {n: v for n, v in given.items() if n not in tables}, tables


def _completed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values of a target with those of the one that it is like."""
    if "like" not in values:
        return values
    name = checked(values["like"], str, "like")
    if name not in target_names():
        raise ValueError(f"like must be a shipped target, one of {', '.join(target_names())}")
    own = {key: value for key, value in values.items() if key != "like"}
    base = Target.load(name).to_dict()
    (before, inherited), (machine, tables) = _split(base), _split(own)
    for kind, choices in inherited.items():
        rest = {name: value for name, value in choices.items() if name not in machine}
        tables[kind] = rest | tables.get(kind, {})
    return base | own | {"machine": before | tables | machine}


def _part(kind: type[T], values: Any, name: str) -> T:
    """Dataclass of one of the tables that :data:`EXAMPLES` knows."""
    return build(kind, values, name, EXAMPLES[name])


def _channels(entry: Any) -> list[Channel]:
    """The channels that one [[channel]] describes."""
    table = dict(checked(entry, dict, "channel"))
    count = checked(table.pop("count", 1), int, "channel.count")
    if not 1 <= count <= 64:
        raise ValueError(f"channel.count must be in 1..64, not {count}")
    one = _part(Channel, table, "channel")
    if count == 1:
        return [one]
    return [
        Channel(
            **asdict(one)
            | {
                "name": one.name.replace("*", str(n)),
                "ports": tuple(port.replace("*", str(n)) for port in one.ports),
            }
        )
        for n in range(count)
    ]
