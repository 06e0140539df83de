"""Hidden values of an MLP in integers."""

import numpy as np

from lightmamba.numerics.mlp import GatedSilu, SquaredRelu
from lightmamba.numerics.tables import Q5_11

A_EXP, B_EXP, HIDDEN = -12, -11, -16


def test_gated_silu_over_every_input():
    a = np.arange(-32768, 32768)
    b = np.resize(np.array([-32768, 32767, 1, 0, -777]), a.shape)
    hidden, lost = GatedSilu()(a, b, Q5_11 - A_EXP, HIDDEN - A_EXP - B_EXP)
    x = a * 2.0**A_EXP
    wanted = x / (1 + np.exp(-x)) * b * 2.0**B_EXP
    assert lost == 0
    assert np.abs(hidden * 2.0**HIDDEN - wanted).max() < 6e-3  # the steps of a and of the table


def test_gated_silu_saturates_and_counts():
    hidden, lost = GatedSilu()(np.array([32767]), np.array([32767]), 1, 0)
    assert (hidden.tolist(), lost) == ([(1 << 23) - 1], 1)


def test_squared_relu_over_every_input():
    a = np.arange(-32768, 32768)
    hidden, lost = SquaredRelu()(a, 6)
    wide = (np.maximum(a, 0) ** 2 + 32) >> 6
    assert lost == np.count_nonzero(wide > (1 << 23) - 1) == 32767 - 23170
    assert (hidden == np.minimum(wide, (1 << 23) - 1)).all()
    assert (hidden[a < 0] == 0).all()


def test_worked_values():
    assert SquaredRelu()(np.array([-3, 3, 5]), 0)[0].tolist() == [0, 9, 25]
    assert GatedSilu()(np.array([0, 0]), np.array([5, -5]), 1, 0)[0].tolist() == [0, 0]
