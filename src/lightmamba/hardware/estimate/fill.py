"""Fill the lists of a running model from its units and its memory, and run it."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch import latency
from lightmamba.arch.clients import HEAD, MEMORY
from lightmamba.arch.hardware import cycles
from lightmamba.arch.steps import EMPTY, HELD, NONE, SINGLY, Column, Table, encode
from lightmamba.hardware.estimate.memory import Entry, MemorySide
from lightmamba.hardware.estimate.units import HELD_BEATS, LEAVE, Run, Walker, Walkers, base
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.hardware.machine.ports import clients
from lightmamba.hardware.machine.program import instructions
from lightmamba.hardware.machine.steps import COMMAND, FINISHED
from lightmamba.native.events import LISTS, Mode, walk

__all__ = ["COLD", "passes"]

Ints = NDArray[np.int64]
COLD = 1 << 20  # cycle of the first start: all that can be read ahead is there
SEQUENCER = 0  # its number; units begin after it
PACING = "lanes"  # unit of every projection, before which commands wait
LATENCIES = ("begin", "later", "reader", "address", "arbiter", "writer", "answer", "owed")


def passes(work: Workload, run: Run) -> Ints | None:
    """The log of passes that are run; None, if all of the machine waits for something.

    Returns
    -------
    (passes, 2 + two of each projection, 1 + kinds of cycles)
        The cycle, and the cycles before it by what they were: at the begin of a pass, in the middle
        and at the end of every projection, at the pass's end.
    """
    return _Filler(work, run).log()


class _Filler:
    """The lists while they are made."""

    def __init__(self, work: Workload, run: Run) -> None:
        self.work, self.walkers = work, Walkers(work, run)
        self.memory, self.each = MemorySide(self.walkers), self.walkers.each()
        self.unit = {walker.name: 1 + n for n, walker in enumerate(self.each)}
        self.streams = {stream.name: stream for stream in self.walkers.streams}
        self.by_head = [client.name for client in clients(work.arch, HEAD)]
        self.ahead = {work.graph.client(name).name for name in self.by_head}
        self.held: set[str] = set()  # streams whose items leave in blocks
        self.lists: dict[str, list[Entry]] = {name: [] for name in LISTS}
        self.steps = 0

    def log(self) -> Ints | None:
        """Run it."""
        takers, givers = self._ends()
        names = dict.fromkeys(name for name in (*takers, *givers) if not self._client(name))
        self.queue = {name: n for n, name in enumerate(names)}
        for name in self.queue:
            ends = {"source": givers.get(name, SEQUENCER), "target": takers.get(name, SEQUENCER)}
            self.lists["queues"].append(ends | self._depth(name))
        takers = {self._client(name): unit for name, unit in takers.items()}
        for client, _ in self.memory.readers.values():  # the number of a reader's is its own
            self.lists["queues"].append({"target": takers.get(client.name, SEQUENCER)})
        steps = np.concatenate([self._unit(walker) for walker in self.each])
        self.lists |= self.memory.lists(self.queue, self.unit)
        for queue, reader in zip(
            self.lists["queues"][len(names) :], self.lists["readers"], strict=True
        ):
            queue["room"] = reader["room"]
        self.lists["commands"] = list(self._commands())
        jobs, arch = self.walkers.pass_jobs, self.work.arch
        log = np.zeros((self.walkers.run.passes, 2 * jobs + 2, 1 + len(CYCLES)), np.int64)
        arrays = {"steps": steps, "clients": self.memory.clients, "log": log,
                  "parts": np.array(self.memory.parts, np.int64)}  # fmt: skip
        numbers = {
            "beats": len(names), "finished": self.queue[FINISHED], "passes": len(log),
            "pass_jobs": jobs, "head": int(self.work.head), "chained": int(self.work.chained),
            "cold": COLD,
        }  # fmt: skip
        latencies = {name: getattr(latency, name.upper()) for name in LATENCIES}
        latencies["fetch"] = instructions(arch.kinds, wide=arch.wide).fetch
        return log if walk(self.lists, arrays, numbers, latencies) else None

    def _commands(self) -> Iterator[Entry]:
        """Commands of a pass: those of a kind's unit come with the in_proj of its layers.

        Instructions are handed out in order, so they wait for room before the lanes.
        """
        for name, queue in self.queue.items():
            unit, _, what = name.partition(".")
            jobs = self.walkers.started(unit)
            for job in (jobs or range(self.walkers.pass_jobs)) if what == COMMAND else ():
                yield {"queue": queue, "job": job, "behind": latency.COMMANDS * bool(jobs)}

    def _client(self, name: str) -> str:
        """Client whose beats are taken or given by this name; empty, if it is a queue."""
        if name.startswith(f"{MEMORY}."):
            return name.split(".")[1]
        stream = self.streams.get(name)
        from_reader = stream is not None and stream.giver == MEMORY and name not in self.ahead
        return stream.source.split(".")[1] if stream and from_reader else ""

    def _ends(self) -> tuple[dict[str, int], dict[str, int]]:
        """Units that take from each queue or reader, and that give to each queue."""
        takers, givers = {FINISHED: SEQUENCER}, dict[str, int]()
        for walker in self.each:
            for job in {id(job): job for job in walker.jobs}.values():
                takers |= dict.fromkeys(map(base, job.takes), self.unit[walker.name])
                for name, items in job.gives.items():
                    if name.split(".")[0] not in (MEMORY, LEAVE):
                        givers[base(name)] = self.unit[walker.name]
                    if np.max(items) >= HELD:
                        self.held.add(name)
        return takers, givers

    def _depth(self, name: str) -> Entry:
        """Room and latency of a queue."""
        graph, arch = self.work.graph, self.work.arch
        inside = name.partition(".")[2]
        if inside == COMMAND:
            return {"room": self.walkers.pass_jobs, "back": 1}
        if inside:  # of what lies head by head: room is seen in the same cycle
            room = {"beat": self.walkers.word[1], "packed": HELD_BEATS, "group": 1}[inside]
            return {"room": room, "latency": 0 if inside == "group" else 1}
        if name == FINISHED:
            return {"room": 1, "latency": latency.DRAIN, "back": 1}
        stream, found = self.streams.get(name), {"back": 1}
        if stream and stream.taker == MEMORY and stream.target.split(".")[1] in self.by_head:
            found["watched"] = latency.STATE_SEEN
        if link := graph.link(name, arch):
            room, late = cycles(link.room, arch), cycles(link.latency, arch)
            return found | {"room": room, "latency": late, "first": link.first}
        if stream is None:
            raise ValueError(f"no stream or link is named {name}")
        # What is held back for its block comes out all at once, whatever waits behind.
        late = latency.QUEUE if stream.queue and name not in self.held else 0
        late += graph.latency(stream, arch)
        return found | {"room": graph.room(stream, arch), "latency": late}

    def _unit(self, walker: Walker) -> NDArray[np.uint8]:
        """A unit, its jobs and the rows of their steps; the numbers of these, job by job."""
        first, places, texts = len(self.lists["rows"]), dict[int, Entry](), []
        for job in walker.jobs:
            if id(job) in places:
                continue
            number, at = encode(job)
            texts.append(number + np.uint8(len(self.lists["rows"]) - first))
            for row in at:
                self._row(job, int(row))
            places[id(job)] = {"begin": self.steps, "end": self.steps + job.steps}
            self.steps += job.steps
        if (rows := len(self.lists["rows"]) - first) > 256:
            raise ValueError(f"{walker.name} has {rows} different steps, but a byte numbers 256")
        jobs = self.lists["jobs"]
        self.lists["units"].append({
            "jobs": len(jobs), "jobs_end": len(jobs) + len(walker.jobs), "rows": first,
            "hold": walker.hold, "split": int(walker.jobs[0].split),
            "pacing": int(walker.name == PACING),
        })  # fmt: skip
        jobs += [
            places[id(job)] | {"early": int(n == walker.early)} for n, job in enumerate(walker.jobs)
        ]
        return np.concatenate(texts)

    def _row(self, job: Table, at: int) -> None:
        """Row of a step: the items that it takes and gives."""
        takes, gives = self.lists["takes"], self.lists["gives"]
        row = {"takes": len(takes), "gives": len(gives), "why": _at(job.why, at),
               "pause": _at(job.pause, at), "mark": _at(job.mark, at)}  # fmt: skip
        for name, items in job.takes.items():
            if (count := _at(items, at)) != NONE:
                found = self._taken(base(name))
                takes.append(found | {"count": count, "why": job.missing.get(name, -1)})
        for name, items in job.gives.items():
            if (count := _at(items, at)) != NONE:
                why = row["why"] if count == EMPTY else job.missing.get(name, -1)
                gives.append(self._given(base(name), count) | {"why": why})
        self.lists["rows"].append(row | {"takes_end": len(takes), "gives_end": len(gives)})

    def _taken(self, name: str) -> Entry:
        """Queues that a step takes from."""
        if client := self._client(name):
            first, wide = self.memory.adjacent("source", client)
            return {"first": len(self.queue) + first, "wide": wide}
        return {"first": self.queue[name], "wide": 1}

    def _given(self, name: str, count: int) -> Entry:
        """Queues that a step gives to, by the code of its column."""
        kind, _, client = name.partition(".")
        if kind in (MEMORY, LEAVE):
            first, wide = self.memory.adjacent("target" if kind == MEMORY else "source", client)
            found = {"first": first, "wide": wide, "count": count}
            if kind == LEAVE:
                late = latency.STATE_TAKEN if client in self.by_head else latency.TABLE_WALK
                return found | {"mode": Mode.LEAVE, "release": late}
            return found | {"mode": Mode.STORE}
        found = {"first": self.queue[name], "count": count, "mode": Mode.LET}
        if count == EMPTY:
            found["mode"] = Mode.EMPTY
        elif count == SINGLY:
            found |= {"mode": Mode.SINGLY, "count": 2}
        elif count >= HELD:
            found |= {"mode": Mode.HOLD, "count": 1, "release": count - HELD}
        return found


def _at(items: Column, step: int) -> int:
    """A column's number of a step."""
    return items if isinstance(items, int) else int(items[step])
