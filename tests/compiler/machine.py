"""A machine that knows a build directory and nothing of the model it came from.

It carries out the program, instruction by instruction, on the bytes of the regions, in numpy. If
its logits are the engine's, images, program and registers say the model. Nothing is shared with the
compiler: memory is taken apart bit by bit, as docs/developer/hardware-units.md describes it.
"""

from collections import defaultdict
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.program import Condition, Op
from lightmamba.numerics.blocks import Pow2Block
from lightmamba.numerics.conv import CausalConv, Silu
from lightmamba.numerics.formats import INT16, INT24, INT32
from lightmamba.numerics.gate import Gate, OnlineHadamard
from lightmamba.numerics.linear import Epilogue, RmsNorm
from lightmamba.numerics.primitives import Ints, round_shift, saturate
from lightmamba.numerics.ssm import Discretize, SsmStep
from tests.support.machine import Kind

__all__ = ["Lane", "Machine", "signed"]

Fields = dict[str, int]


def signed(word: int, at: int, bits: int) -> int:
    """A field of a word."""
    value = (word >> at) & ((1 << bits) - 1)
    return value - (1 << bits) if value >> (bits - 1) else value


class Lane:
    """The straight line of one lane, read beat by beat."""

    def __init__(self, data: bytes, port_bits: int, weight_bits: int) -> None:
        self.data, self.beat, self.bits = data, port_bits // 8, weight_bits
        self.period = {4: 64, 8: 128}[weight_bits]
        self.at = 0

    def take(self) -> bytes:
        """The next beat."""
        found = self.data[self.at : self.at + self.beat]
        assert len(found) == self.beat, "the image is too short"
        self.at += self.beat
        return found

    def job(
        self, slots: int, words: int, parts: int, split: int = 0
    ) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
        """Weights (slots, channels) and codes (slots, channels / 128) of one projection.

        Those that are ``split`` come in two beats, upper nibbles first.
        """
        weights, codes, left = bytearray(), bytearray(), 0
        for _ in range(slots * parts * words):
            if left == 0:
                codes += self.take()
                left = self.period
            for _ in range(1 + split):
                weights += self.take()
            left -= 1
        low = [signed(byte, at, self.bits) for byte in weights for at in range(0, 8, self.bits)]
        q = np.array(low, dtype=np.int8).reshape(slots, -1)
        if split:
            words_of = q.reshape(slots, -1, 2, self.beat * 2)
            q = (16 * words_of[:, :, 0] + words_of[:, :, 1]).reshape(slots, -1)
        groups = q.size // 128
        assert not any(codes[groups:]), "a scale beat is padded with zeros"
        return q, np.frombuffer(bytes(codes[:groups]), dtype=np.uint8).reshape(slots, -1)


class Machine:
    """Memory, registers, and what is carried out on them."""

    def __init__(self, artifact: Artifact) -> None:
        bases = {channel.name: 0 for channel in artifact.target.channels}
        settings = artifact.settings(bases)
        self.arch, self.registers = artifact.arch, cast(dict[str, int], settings)
        self.lane_bases = cast(list[int], settings["lane_base"])
        self.program = artifact.program()
        self.shared = self.arch.shared_port
        self.target = artifact.target
        self.memory: dict[str, bytearray] = defaultdict(bytearray)
        for region in artifact.regions:
            assert region.address % 4096 == 0
            channel = self.memory[region.channel]
            assert len(channel) <= region.address, "regions overlap"
            channel += bytes(region.address - len(channel))
            data = artifact.image(region).tobytes()
            channel += data + bytes(region.bytes - len(data))
        self.residual = np.zeros(0, dtype=np.int64)
        self.next = -1  # the likeliest id after the last token whose logits were wanted
        self.state: dict[tuple[str, int], Any] = {}

    def bytes_at(self, port: str, address: int, count: int) -> bytes:
        """Memory as a port sees it."""
        channel = self.target.channel_of("memory" if self.shared else port).name
        found = bytes(self.memory[channel][address : address + count])
        assert len(found) == count, "outside the regions"
        return found

    def words(self, name: str, index: int = 0) -> list[int]:
        """64-bit words of a stream for one token."""
        base = self.registers[f"{name}_base"] + index * self.registers["embedding_stride"]
        count = self.registers[f"{name}_words"]
        data = self.bytes_at("aux", base, 8 * count)
        return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]

    def step(self, token: int, position: int, head: bool = True) -> Ints:
        """Run one token; its logits, if they are wanted."""
        beat = self.arch.port_bits // 8
        beats = self.registers["layers_beats"] + self.registers["head_beats"] * head
        self.lanes = [
            Lane(self.bytes_at(f"lane{n}", base, beats * beat), beat * 8, self.arch.weight_bits)
            for n, base in enumerate(self.lane_bases)
        ]
        names = "conv_params", "head_params", "gate_params"
        self.streams = {name: iter(self.words(name)) for name in names}
        self.token, self.position, self.layer = token, position, 0
        logits = np.zeros(0, dtype=np.int64)
        for instruction in self.program:
            skip = {Condition.HEAD: not head, Condition.NO_HEAD: head}
            if skip.get(instruction.when, False):
                continue
            commands = {unit: dict(fields) for unit, fields in instruction.commands.items()}
            match instruction.op:
                case Op.EMBED:
                    self.embed(commands)
                case Op.IN:
                    self.in_proj(commands)
                    self.layer += 1
                case Op.OUT | Op.LAST_OUT:
                    rows = self.project(commands)
                    assert set(self.kinds(commands["epilogue"])) == {Kind.OUT}
                    self.add(commands, rows)
                case Op.HEAD:
                    assert self.for_head
                    logits = self.project(commands)
                    assert len(logits) == commands["head"]["rows"]
                    self.next = int(np.argmax(logits[: commands["head"]["valid"]]))
        assert all(lane.at == len(lane.data) for lane in self.lanes), "beats are left over"
        assert not any(list(stream) for stream in self.streams.values()), "words are left over"
        assert self.layer == self.registers["layers"]
        return logits

    def embed(self, commands: dict[str, Fields]) -> None:
        fields, words = commands["embed"], self.words("embedding", self.token)
        values = []
        for group in range(fields["groups"]):
            code, *rest = words[17 * group : 17 * group + 17]
            scale = (32 + (code & 31)) << (code >> 5)
            values += [signed(word, at, 8) * scale for word in rest for at in range(0, 64, 8)]
        wide = round_shift(np.array(values[: fields["count"]]), fields["shift"])
        self.add(commands, INT32(wide))

    def add(self, commands: dict[str, Fields], rows: Ints) -> None:
        """Residual stream, and what goes on to the next projection."""
        fields = commands["residual"]
        assert fields["count"] == len(rows)
        self.residual = INT32(self.residual + rows) if fields["add"] else rows
        if fields["emit"]:
            norm, quant = commands["rms_in"], commands["quant_in"]
            self.for_head = quant["head"] and not quant.get("projection", 0)
            self.rms_in = RmsNorm()(self.residual, 8, norm["count"], norm["eps"])
            self.vector_in = self.quantize(quant, self.residual)
        else:
            assert "rms_in" not in commands

    def quantize(self, fields: Fields, values: Ints) -> tuple[Any, Any, int]:
        """Integers, codes, and whether they have the head's format."""
        assert fields["count"] == len(values)
        op = self.arch.head if fields["head"] else self.arch.projection
        q, code, _, _ = op.act(np.pad(values, (0, fields["pad"])), fields["base"])
        return q, code, fields["head"]

    def project(self, commands: dict[str, Fields]) -> Ints:
        """Rows of a projection, in the order in which they come."""
        fields, out = commands["lanes"], commands["epilogue"]
        assert fields["parts"] == out["parts"]
        assert fields["gated"] == out["gated"]
        given = fields["slots"], fields["words"], fields["parts"], fields.get("split", 0)
        jobs = [lane.job(*given) for lane in self.lanes]
        q, codes = (np.stack(part, axis=1) for part in zip(*jobs, strict=True))
        q, codes = q.reshape(-1, q.shape[-1]), codes.reshape(-1, codes.shape[-1])
        assert not q[out["rows"] :].any(), "missing rows are zero"
        vector, code, wide = self.vector_out if fields["gated"] else self.vector_in
        mantissa, j = self.rms_out if fields["gated"] else self.rms_in
        assert wide or Kind.LOGIT not in self.kinds(out)
        assert fields["twice"] == (wide and self.arch.multiplier_bits == 4)
        acc = self.arch.projection(vector[None], code[None], q, codes, fields["parts"])[0]
        shift = np.array(
            [out[f"shift_{kind if kind < Kind.OUT else 0}"] for kind in self.kinds(out)]
        )
        rows, _ = Epilogue()(
            acc[:, : out["rows"]], out["acc_shift"], mantissa[:, None], j[:, None] + shift,
            INT16 if out["narrow"] else INT32,
        )  # fmt: skip
        total: Ints = rows.sum(0)
        return total

    @staticmethod
    def kinds(fields: Fields) -> list[int]:
        """Kind of each row of a projection."""
        found: list[int] = []
        for section in ("first", "second", "third", "fourth", "fifth", "sixth"):
            kind, count = fields[f"{section}_kind"], fields[f"{section}_end"] - len(found)
            assert count >= 0
            assert kind != Kind.XZ or count % 2 == 0
            found += [Kind.X, Kind.Z] * (count // 2) if kind == Kind.XZ else [kind] * count
        assert len(found) == fields["rows"]
        return found

    def in_proj(self, commands: dict[str, Fields]) -> None:
        rows, kinds = self.project(commands), np.array(self.kinds(commands["epilogue"]))
        heads = self.discretize(commands["discretize"], rows[kinds == Kind.DT])
        conv = np.isin(kinds, [Kind.X, Kind.B, Kind.C])
        mixed = self.convolve(commands["conv"], rows[conv], kinds[conv])
        assert commands["blocks"]["count"] == len(mixed)
        blocked = {
            kind: self.blocks(mixed[kinds[conv] == kind], commands["blocks"][width])
            for kind, width in ((Kind.B, "d_state"), (Kind.C, "d_state"), (Kind.X, "headdim"))
        }
        y = self.scan(commands["ssm"], commands["bc"], blocked, heads)
        self.gate(commands, y, rows[kinds == Kind.Z])

    def discretize(self, fields: Fields, dt: Ints) -> tuple[Ints, ...]:
        assert fields["count"] == len(dt)
        words = [next(self.streams["head_params"]) for _ in dt]
        bias, A, A_shift, D = (
            np.array([signed(word, at, bits) for word in words])
            for at, bits in ((0, 16), (16, 16), (32, 8), (40, 16))
        )
        limits = fields["low"], fields["high"]
        return *Discretize()(dt, bias, limits, A, A_shift)[:3], D

    def convolve(self, fields: Fields, x: Ints, kinds: NDArray[np.int64]) -> Ints:
        count, stream = fields["count"], self.streams["conv_params"]
        assert count == len(x)
        out_shift, words = [], []
        for at in range(0, count, 8):
            header, few = next(stream), min(8, count - at)
            assert header >> (8 * few) == 0
            out_shift += [signed(header, 8 * i, 8) for i in range(few)]
            words += [next(stream) for _ in range(few)]
        taps = np.array([[signed(word, 8 * k, 8) for word in words] for k in range(4)])
        bias = np.array([signed(word, 32, 24) for word in words])
        in_shift = np.array([(word >> 56) & 15 for word in words])
        assert all(word >> 60 == 0 for word in words)
        state = self.state.get(("conv", self.layer), np.zeros((1, 3, count), dtype=np.int8))
        out, after, _ = CausalConv()(
            x[None, None], state, in_shift, taps, bias, np.array(out_shift)
        )
        self.state["conv", self.layer] = after
        names = {Kind.B: "silu_B", Kind.C: "silu_C", Kind.X: "silu_x"}
        return Silu()(out[0, 0], np.array([fields[names[Kind(kind)]] for kind in kinds]))

    @staticmethod
    def blocks(values: Ints, width: int) -> tuple[Ints, Ints]:
        """(runs, width padded to whole blocks), and exponents; a block ends with its run."""
        runs = values.reshape(-1, width)
        return Pow2Block(8, 32)(np.pad(runs, [(0, 0), (0, -width % 32)]))

    def scan(
        self, fields: Fields, bc: Fields, blocked: dict[Kind, Any], heads: tuple[Ints, ...]
    ) -> Ints:
        dt, dt_shift, decay, D = heads
        width = fields["words"] * self.arch.bc_elements
        assert width == -(-bc["d_state"] // 32) * 32
        assert len(blocked[Kind.B][0]) == bc["groups"] == fields["heads"] // fields["per_group"]
        B, B_exp, C, C_exp = (
            np.repeat(v, fields["per_group"], axis=0) for k in (Kind.B, Kind.C) for v in blocked[k]
        )
        x, x_exp = blocked[Kind.X]
        x_exp = np.repeat(x_exp, 32, axis=-1)[:, : fields["headdim"]]
        x = x[:, : fields["headdim"]]
        shape = fields["heads"], fields["headdim"], width
        zero = np.zeros(shape, dtype=np.int64), np.zeros((*shape[:2], width // 32), dtype=np.int64)
        h, h_exp = self.state.get(("h", self.layer), zero)
        shift = fields["frame"] + dt_shift[:, None, None] - x_exp[..., None] - B_exp[:, None]
        # The dither counts rows of ``stride`` elements; what a row has behind them is zero.
        stride = fields["stride"]
        assert not h[..., stride:].any()
        assert not B[..., stride:].any()
        step = SsmStep(8, min(32, stride), "dither" if fields["dither"] else "half_up")
        q, e, _ = step.update(
            h[None, ..., :stride], h_exp[None], decay[None], (dt[:, None] * x)[None],
            B[None, ..., :stride], np.clip(shift, -31, 62)[None], np.array([self.position]),
        )  # fmt: skip
        q, e = np.pad(q[0], ((0, 0), (0, 0), (0, width - stride))), e[0]
        self.state["h", self.layer] = q, e
        sums = (q * C[:, None]).reshape(*shape[:2], -1, 32).sum(-1)
        y = INT24(round_shift((sums << (e + C_exp[:, None])).sum(-1), fields["y"]))
        skip = round_shift(D[:, None] * x, saturate(fields["D_shift"] - x_exp, -31, 62))
        return INT24(y + skip).ravel()

    def gate(self, commands: dict[str, Fields], y: Ints, z: Ints) -> None:
        fields, mix = commands["gate"], commands["hadamard"]
        assert fields["count"] == len(y) == len(z)
        words = [next(self.streams["gate_params"]) for _ in range(-(-len(y) // 4))]
        weights = [signed(word, at, 16) for word in words for at in (0, 16, 32, 48)]
        assert not any(weights[len(y) :])
        g, weighted, _ = Gate()(
            y, z, fields["silu"], fields["shift"], np.array(weights[: len(y)]), fields["weighted"]
        )
        norm = commands["rms_out"]
        assert fields["group_dim"] == mix["group_dim"]
        assert norm["count"] == mix["groups"]
        self.rms_out = RmsNorm()(g, 0, norm["count"], norm["eps"])
        assert (mix["group_dim"] + mix["pad"]) % 128 == 0
        transform = OnlineHadamard(1 << mix["order_log2"], mix["group_dim"] + mix["pad"])
        mixed, _ = transform(weighted, mix["groups"], mix["shift"])
        self.vector_out = self.quantize(commands["quant_out"], mixed)
