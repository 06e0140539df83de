"""Simulate some tokens, compare them with the engine, and store the result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lightmamba.arch.artifact import Artifact
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.counters import CYCLES
from lightmamba.arch.ports import ports
from lightmamba.arch.target import Target
from lightmamba.config import ModelConfig
from lightmamba.errors import DeviceError
from lightmamba.formats import Formats
from lightmamba.sim.activity import Activity, activity
from lightmamba.sim.device import SimDevice
from lightmamba.sim.observe import Record
from lightmamba.sim.opened import Opened
from lightmamba.sim.twin import TwinStep

__all__ = ["Simulation", "chained", "machine_of", "simulate"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Simulation:
    """Some tokens on the gates.

    Parameters
    ----------
    machine : dict
        What ran, as :func:`machine_of` says it.
    token_ids : ids
        What the gates generated, as far as they agreed with the engine.
    matches_engine : bool
        Every observable of every token was equal.
    tokens, cycles : int
        Of the whole run, the prompt's included.
    cycles_per_token : float
        Mean over tokens with logits, without a sequence's first, which reads no state, where there
        are others; so are the next two.
    stalls_per_token : {name: cycles}
        By what the lanes did (``arch.counters.CYCLES``).
    bytes_per_token : {channel: bytes}
        Read and written.
    counters : {name: count}
        Over the whole run.
    memory_stalls : float
        Probability with which each channel did nothing in a cycle, which no memory of the machine
        would.
    chain : int
        Tokens of a chain, without the host in between, that cycles and stalls are of; 0: those
        that were compared.
    difference : str or None
        The first one, where there is one.
    activity : Activity or None
        Which unit worked when in the last token, if that was asked for.
    """

    machine: Mapping[str, Any]
    token_ids: tuple[int, ...]
    matches_engine: bool
    tokens: int
    cycles: int
    cycles_per_token: float
    stalls_per_token: Mapping[str, float]
    bytes_per_token: Mapping[str, float]
    counters: Mapping[str, int]
    memory_stalls: float = 0.0
    chain: int = 0
    difference: str | None = None
    activity: Activity | None = None

    @property
    def stalls(self) -> dict[str, int]:
        """Cycles of the whole run by what the lanes did in them."""
        return {name: self.counters[name] for name in CYCLES}

    @property
    def tokens_per_second(self) -> float:
        """Greedy decoding at the machine's clock."""
        return float(self.machine["clock_mhz"]) * 1e6 / self.cycles_per_token

    def with_chain(self, device: SimDevice, tokens: int) -> "Simulation":
        """The same with cycles and stalls of a chain on that device, behind as many tokens more."""
        cycles, means = chained(device, tokens, tokens)
        stalls = {name: means[name] for name in CYCLES}
        return replace(self, cycles_per_token=cycles, stalls_per_token=stalls, chain=tokens)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`from_dict` takes them back."""
        values = asdict(self) | {"stalls": self.stalls}
        return {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Simulation":
        """Build from plain values.

        Raises
        ------
        ValueError
            If something is missing, or not of its type.
        """
        try:
            seen = values.get("activity")
            return Simulation(
                machine=dict(values["machine"]),
                token_ids=tuple(map(int, values["token_ids"])),
                matches_engine=bool(values["matches_engine"]),
                tokens=int(values["tokens"]),
                cycles=int(values["cycles"]),
                cycles_per_token=float(values["cycles_per_token"]),
                stalls_per_token={k: float(values["stalls_per_token"][k]) for k in CYCLES},
                bytes_per_token={k: float(v) for k, v in values["bytes_per_token"].items()},
                counters={k: int(v) for k, v in values["counters"].items()},
                memory_stalls=float(values.get("memory_stalls", 0.0)),
                chain=int(values.get("chain", 0)),
                difference=values.get("difference"),
                activity=None if seen is None else Activity.from_dict(seen),
            )
        except KeyError as error:
            raise ValueError(f"key {error} is missing") from error
        except (TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error


def machine_of(
    target: Target, arch: ArchConfig, order: str, config: ModelConfig, formats: Formats
) -> dict[str, Any]:
    """What a simulation is of, in plain values: two runs of equal machines are comparable."""
    return {
        "target": target.name,
        "clock_mhz": target.clock_mhz,
        "order": order,
        "arch": asdict(arch),
        "attainable_gb_per_s": {c.name: c.attainable_gb_per_s for c in target.channels},
        "turn_ns": {c.name: c.turn_ns for c in target.channels},
        "config": config.as_dict(),
        "formats": asdict(formats),
    }


def simulate(
    opened: Opened,
    prompt: Sequence[int],
    tokens: int,
    *,
    watch: bool = False,
    progress: Progress | None = None,
) -> Simulation:
    """Feed a prompt and go on greedily, ``tokens`` in all; the first difference ends it.

    Each token is started by itself, to be compared; a machine of several takes a prompt in chunks,
    but for its last token. Those of a chain are faster: see :func:`chained`.

    Parameters
    ----------
    opened
        Gates and engine; left at the end of the sequence.
    prompt : ids
        At least one; logits are wanted from its last token on.
    tokens : int
        Fed in all.
    watch
        Keep which unit worked when in the last token.
    progress
        Called with tokens done and tokens in all.

    Raises
    ------
    InputError
        If the prompt is empty.
    """
    artifact, twin, model = opened.device.artifact, opened.twin, opened.model
    assert artifact is not None, "open_beside loads a build"
    steps: list[TwinStep] = []
    fed = 0  # tokens
    seen: Mapping[str, Record] = {}

    def keep(records: Mapping[str, Record]) -> None:
        nonlocal seen
        seen = records

    twin.watch = keep if watch else None
    failed: str | None = None
    try:
        for step in twin.run(prompt, tokens):
            steps.append(step)
            fed += step.tokens
            if progress is not None:
                progress(fed, tokens)
    except DeviceError as error:
        failed = f"token {fed}: {error}"
    finally:
        twin.watch = None
    if steps and (difference := steps[-1].difference) is not None:
        cycle = steps[-1].cycle
        where = "" if cycle is None else f" (cycle {cycle:,})"
        failed = f"{difference}{where}; here is the engine, there the gates"
    with_head = [step for step in steps if step.next_token >= 0] or steps
    if len(with_head) == len(steps) > 1:
        with_head = with_head[1:]
    mean = 1 / max(1, len(with_head))
    return Simulation(
        machine=machine_of(
            artifact.target, artifact.arch, artifact.order, model.config, model.formats
        ),
        token_ids=tuple(s.next_token for s in steps if s.next_token >= 0 and s.difference is None),
        matches_engine=failed is None,
        tokens=fed,
        cycles=sum(step.cycles for step in steps),
        cycles_per_token=mean * sum(step.cycles for step in with_head),
        stalls_per_token={k: mean * sum(s.counters[k] for s in with_head) for k in CYCLES},
        bytes_per_token=_bytes(artifact, with_head),
        counters={k: sum(step.counters[k] for step in steps) for k in twin.names},
        difference=failed,
        activity=activity(seen, model.config.n_layer) if seen and failed is None else None,
    )


def chained(device: SimDevice, warm: int, tokens: int) -> tuple[float, dict[str, float]]:
    """Cycles and counts of a token of a chain: the difference of two, one ``tokens`` longer.

    Neither the beginning with empty queues nor the end counts. A chain needs no host in between,
    and reads the state of its next token while the head runs. Its probes are off: nobody compares
    these tokens, and their records take about 70 MB per token of a 2.7B model.
    """
    runs = []
    device.simulator.probing(False)
    try:
        for length in (warm, warm + tokens):
            before = device.counters()
            device.start(0, chain=length - 1)
            cycles, after = device.wait(), device.counters()
            runs.append((cycles, {name: after[name] - before[name] for name in after}))
    finally:
        device.simulator.probing(True)
    (short, less), (long, more) = runs
    return (long - short) / tokens, {name: (more[name] - less[name]) / tokens for name in more}


def _bytes(artifact: Artifact, steps: Sequence[TwinStep]) -> dict[str, float]:
    """Mean bytes of a token by channel."""
    moved = {}
    for port in ports(artifact.arch):
        size = port.bits // 8 / max(1, len(steps))
        read, written = (
            size * sum(step.counters[f"{port.name}.beats_{way}"] for step in steps)
            for way in ("read", "written")
        )
        moved[port.name] = read, written
    return {name: sum(both) for name, both in artifact.target.per_channel(moved).items()}
