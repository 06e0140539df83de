"""The integer exponential of the sampler."""

import decimal

import numpy as np

from lightmamba.numerics import exp2
from lightmamba.numerics.exp2 import exp2_weight

ONE = 1 << 31  # weight of the most probable id


def test_exp2_weight_over_all_inputs():
    x = np.arange(33 << 16)
    exact = 2.0 ** (31 - x / (1 << 16))
    error = np.abs(exp2_weight(x) - exact)
    assert error.max() <= 1.4
    assert (error / exact)[: 1 << 16].max() <= 1.1e-9
    assert not exp2_weight(x[32 << 16 :]).any()
    assert (np.diff(exp2_weight(x)) <= 0).all()


def test_exp2_weight_worked_values():
    x = np.array([0, 1 << 16, 31 << 16, 1 << 15, 1 << 40])
    # 2**31 / sqrt(2) = 1518500249.99
    np.testing.assert_array_equal(exp2_weight(x), [ONE, ONE >> 1, 1, 1518500250, 0])


def test_exp2_tables_do_not_depend_on_the_decimal_context():
    tables = exp2._exp2_tables()
    exp2._exp2_tables.cache_clear()
    with decimal.localcontext(prec=3, rounding=decimal.ROUND_UP):
        for again, table in zip(exp2._exp2_tables(), tables, strict=True):
            np.testing.assert_array_equal(again, table)
