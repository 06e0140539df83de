"""The integer engine: token ids in, logits out, every intermediate named and exact.

This is the golden model: gates and boards are held to it by equality.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.errors import InputError
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.primitives import Ints, round_shift
from lightmamba.numerics.ssm import Discretize
from lightmamba.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.qmodel.model import RMS_SHIFT

from lightmamba.engine.reference import Reference, Scan
from lightmamba.engine.state import State

__all__ = ["Engine", "Observe"]

INT16, INT32 = IntFormat(16), IntFormat(32)
DISCRETIZE = Discretize()
Observe = Callable[[str, NDArray[Any]], None]


class Engine:
    """Run a quantized model.

    Parameters
    ----------
    model : QuantizedModel
    compiled : bool
        Use the compiled operations; they give the same integers, faster.
    threads : int
        Sequences of a batch are shared among them.
    """

    def __init__(self, model: QuantizedModel, *, compiled: bool = True, threads: int = 1) -> None:
        self.model = model
        self.config, self.formats = model.config, model.formats
        self.vocab_size, self.valid_vocab = model.config.vocab_size, model.valid_vocab
        self.logit_exponent = model.logit_exp
        self.threads = threads
        self.ops: Any = Reference()
        if compiled:
            from lightmamba.engine.compiled import Compiled

            self.ops = Compiled()
        self.counters: Counter[str] = Counter()  # what saturated, by kind

    def empty_state(self, batch: int) -> State:
        """State of ``batch`` sequences that have not begun."""
        return State.empty(self.model, batch)

    def step(self, ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.int32], State]:
        """Logits (batch, vocab_size) after one token each, (batch,)."""
        logits, state = self.forward(ids[:, None], state)
        return logits[:, 0], state

    def logits(self, ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float64], State]:
        """Real-valued logits of every position, for evaluation."""
        logits, state = self.forward(ids, state, last_only=False)
        return logits * 2.0**self.logit_exponent, state

    def forward(
        self,
        ids: NDArray[np.int64],
        state: State,
        *,
        last_only: bool = True,
        observe: Observe | None = None,
    ) -> tuple[NDArray[np.int32], State]:
        """Feed (batch, seqlen) token ids.

        Returns
        -------
        logits : (batch, 1 or seqlen, vocab_size)
            In units of ``2**logit_exponent``.
        state : State
            A new one; the one given is left as it is.

        Raises
        ------
        InputError
            If an id is outside the vocabulary, or there is none.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.size == 0:
            raise InputError(f"ids must be (batch, seqlen) with at least one token, not {ids.shape}")
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            bad = ids[(ids < 0) | (ids >= self.vocab_size)][0]
            raise InputError(f"token id {bad} is outside the vocabulary of {self.vocab_size}")
        batch = len(ids)
        workers = min(self.threads, batch)
        if workers == 1 or observe is not None:
            logits, after, lost = self._run(ids, state.take(slice(None)), last_only, observe)
            self.counters.update(lost)
            return logits, after
        edges = [batch * w // workers for w in range(workers + 1)]
        rows = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]
        with ThreadPoolExecutor(workers) as pool:
            parts = list(
                pool.map(lambda r: self._run(ids[r], state.take(r), last_only, None), rows)
            )
        for _, _, lost in parts:
            self.counters.update(lost)
        return np.concatenate([p[0] for p in parts]), State.join([p[1] for p in parts])

    def _run(
        self, ids: NDArray[np.int64], state: State, last_only: bool, observe: Observe | None
    ) -> tuple[NDArray[np.int32], State, Counter[str]]:
        lost: Counter[str] = Counter()
        u = self.embed(ids, lost)
        if observe:
            observe("embedding", u)
        for i in range(self.config.n_layer):
            u = self.layer(i, u, state, lost, observe)
        state.position += ids.shape[1]
        return self.head(u[:, -1:] if last_only else u, lost, observe), state, lost

    def embed(self, ids: NDArray[np.int64], lost: Counter[str]) -> Ints:
        """Residual stream (batch, seqlen, d_model) of token ids."""
        table, f = self.model.embedding, self.formats
        scale = np.repeat(f.projection.scale.multiplier(table.code[ids]), f.group, axis=-1)
        wide = round_shift(
            table.q[ids].astype(np.int64) * scale, self.model.residual_exp - table.base
        )[..., : self.config.d_model]
        lost["embedding"] += INT32.overflows(wide)
        return INT32(wide)

    def head(self, u: Ints, lost: Counter[str], observe: Observe | None = None) -> NDArray[np.int32]:
        """Logits (batch, seqlen, vocab_size) of the last residual stream."""
        m, op = self.model, self.formats.head
        flat = u.reshape(-1, u.shape[-1])
        rms = self.ops.rms(flat, RMS_SHIFT, 1, m.eps)
        q, code = self._quantize(op.act, m.head, flat, rms, lost, "head")
        shift = np.full(self.vocab_size, m.head_shift())
        rows, over = self.ops.linear(op, m.head, q, code, rms, shift, INT32)
        lost["head"] += over
        if observe:
            for name, value in {"q": q, "code": code, "logits": rows}.items():
                observe(f"head.{name}", value)
        return rows.reshape(*u.shape[:-1], -1).astype(np.int32)

    def _quantize(
        self, act: Any, linear: QuantizedLinear, x: Ints, rms: Any, lost: Counter[str], kind: str
    ) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
        """Quantize the input of a projection, zero-padded to its columns."""
        width = linear.q.shape[1] - x.shape[1]
        padded = np.pad(x, [(0, 0), (0, width)]) if width else x
        if not linear.plain:
            from lightmamba.engine.comparison import rescale_input

            padded, over = rescale_input(linear, padded, rms)
            lost[f"{kind}.input"] += over
        q, code, clipped, clamped = self.ops.quantize(act, padded, linear.act_base)
        lost["clipped"] += clipped
        lost[f"{kind}.scale"] += clamped
        return q, code

    def in_proj(
        self, i: int, u: Ints, lost: Counter[str]
    ) -> tuple[Ints, dict[str, NDArray[Any]]]:
        """Rows z, x, B, C, dt, (vectors, d_in_proj), of (vectors, d_model)."""
        layer, op = self.model.layers[i], self.formats.projection
        rms = self.ops.rms(u, RMS_SHIFT, 1, self.model.eps)
        q, code = self._quantize(op.act, layer.in_proj, u, rms, lost, "in_proj")
        shift = self.model.in_shift(layer)
        rows, over = self.ops.linear(op, layer.in_proj, q, code, rms, shift, INT16)
        if layer.in_proj.bias is not None:
            rows = rows + layer.in_proj.bias
            over += INT16.overflows(rows)
            rows = INT16(rows)
        lost["in_proj"] += over
        names = {"rms": rms[0], "rms_shift": rms[1], "q": q, "code": code, "rows": rows}
        return rows, {f"in_proj.{n}": v for n, v in names.items()}

    def mix(
        self, i: int, rows: Ints, state: State, lost: Counter[str]
    ) -> tuple[Ints, dict[str, NDArray[Any]]]:
        """Convolution, SSM and y of (batch, seqlen, d_in_proj) rows; advances the state."""
        c, f, layer = self.config, self.formats, self.model.layers[i]
        e, split = layer.exponents, c.splits()
        silu_shift = self.model.silu_shift(e.of_conv(c))
        xBC = rows[..., split["x"].start : split["C"].stop]
        xBC, state.conv[i], lost_in, lost_out = self.ops.conv(layer, xBC, state.conv[i], silu_shift)
        lost["conv.input"] += lost_in
        lost["conv"] += lost_out
        dt, dt_shift, decay, over = DISCRETIZE(
            rows[..., split["dt"]], layer.dt_bias.astype(np.int64), self.model.dt_limits,
            layer.A.astype(np.int64), layer.A_shift.astype(np.int64),
        )  # fmt: skip
        lost["dt"] += over
        ssm = f.ssm(c)
        lead = rows.shape[:-1]
        edge = c.d_inner + c.ngroups * c.d_state
        blocks = {
            "x": self._blocks(f.x_block(c), xBC[..., : c.d_inner].reshape(*lead, c.nheads, -1)),
            "B": self._blocks(
                self._bc_block(), xBC[..., c.d_inner : edge].reshape(*lead, c.ngroups, -1)
            ),
            "C": self._blocks(self._bc_block(), xBC[..., edge:].reshape(*lead, c.ngroups, -1)),
        }
        scan = Scan(dt, dt_shift, decay, **blocks)
        y, lost_h, lost_y = self.ops.scan(
            ssm, scan, state.h[i], state.h_exp[i], state.position, c.headdim,
            e.state - e.conv_x - e.conv_B, e.y - e.state - e.conv_C,
            layer.D.astype(np.int64), e.y - e.D - e.conv_x,
        )  # fmt: skip
        lost["ssm.h"] += lost_h
        lost["ssm.y"] += lost_y
        names = {"conv.out": xBC, "conv.state": state.conv[i], "ssm.dt": dt, "ssm.decay": decay}
        for name, (q, exp) in blocks.items():
            names |= {f"ssm.{name}": q, f"ssm.{name}_exp": exp}
        names |= {"ssm.h": state.h[i], "ssm.h_exp": state.h_exp[i], "ssm.y": y}
        return y.reshape(*lead, c.d_inner), names

    def _bc_block(self) -> Any:
        from lightmamba.numerics.blocks import Pow2Block

        return Pow2Block(8, self.formats.ssm(self.config).block)

    def _blocks(self, op: Any, x: Ints) -> tuple[Ints, Ints]:
        width = -x.shape[-1] % op.block
        padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width)]) if width else x
        return self.ops.blocks(op, padded)

    def gate(
        self, i: int, y: Ints, z: Ints, lost: Counter[str]
    ) -> tuple[Ints, tuple[Ints, Ints], dict[str, NDArray[Any]]]:
        """Input of out_proj before quantization, and its rms, of (vectors, d_inner)."""
        c, layer = self.config, self.model.layers[i]
        e = layer.exponents
        g, weighted, over = self.ops.gate(
            y, z, self.model.silu_shift(e.z), e.gate - e.y - e.z,
            layer.gate_weight.astype(np.int64), e.weighted - e.gate - e.gate_weight,
        )  # fmt: skip
        lost["gate"] += over
        rms = self.ops.rms(g, 0, c.ngroups, layer.eps_gate)
        mixed, over = self.formats.transform(weighted, c.ngroups, e.hadamard_shift)
        lost["hadamard"] += over
        return mixed, rms, {"gate.g": g, "gate.weighted": weighted, "hadamard.out": mixed}

    def out_proj(
        self, i: int, x: Ints, rms: tuple[Ints, Ints], u: Ints, lost: Counter[str]
    ) -> tuple[Ints, dict[str, NDArray[Any]]]:
        """Residual stream (vectors, d_model) after the layer."""
        layer, op = self.model.layers[i], self.formats.projection
        q, code = self._quantize(op.act, layer.out_proj, x, rms, lost, "out_proj")
        shift = np.full(self.config.d_model, self.model.out_shift(layer))
        rows, over = self.ops.linear(op, layer.out_proj, q, code, rms, shift, INT32)
        if layer.out_proj.bias is not None:
            rows = rows + layer.out_proj.bias
        total = u + rows
        lost["out_proj"] += over
        lost["residual"] += INT32.overflows(total)
        return INT32(total), {
            "out_proj.rms": rms[0], "out_proj.rms_shift": rms[1], "out_proj.q": q,
            "out_proj.code": code, "out_proj.rows": rows,
        }  # fmt: skip

    def layer(
        self, i: int, u: Ints, state: State, lost: Counter[str], observe: Observe | None = None
    ) -> Ints:
        """Residual stream (batch, seqlen, d_model) after layer ``i``; advances its state."""
        c = self.config
        lead, flat = u.shape[:-1], u.reshape(-1, c.d_model)
        rows, first = self.in_proj(i, flat, lost)
        y, second = self.mix(i, rows.reshape(*lead, -1), state, lost)
        mixed, rms, third = self.gate(
            i, y.reshape(-1, c.d_inner), rows[:, c.splits()["z"]], lost
        )
        out, fourth = self.out_proj(i, mixed, rms, flat, lost)
        if observe:
            for name, value in {**first, **second, **third, **fourth, "residual": out}.items():
                observe(f"layer.{i}.{name}", value)
        return out.reshape(u.shape)
