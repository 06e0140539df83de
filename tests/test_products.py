"""Products by oneDNN are those of torch; small ones and all that learn are left alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightmamba.model import products
from lightmamba.model.products import FastLinear, product


@pytest.fixture
def by_onednn(monkeypatch):
    """Whether oneDNN did each product, on any processor that has it."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    seen, own = [], products._gains

    def gains(x, w):
        seen.append(own(x, w))
        return seen[-1]

    monkeypatch.setattr(products, "has_fast_products", lambda: True)
    monkeypatch.setattr(products, "_gains", gains)
    return seen


@pytest.fixture
def values():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, generator=generator) for size in ((600, 400), (300, 400))]


def test_a_large_product(by_onednn, values):
    """Batches and strided matrices are multiplied, too."""
    x, w = values
    for first, second in ((x, w), (x.view(3, 200, 400), w), (x.T.contiguous().T, w)):
        torch.testing.assert_close(product(first, second), first @ second.T, rtol=0, atol=1e-4)
    with FastLinear():
        found = nn.Linear(400, 300, bias=False).requires_grad_(False)(x)
    assert found.shape == (600, 300)
    assert by_onednn == [True] * 4


@pytest.mark.parametrize("changed", ["small", "float64", "bfloat16", "learns"])
def test_what_oneDNN_does_not_do(by_onednn, values, changed):
    x, w = values
    if changed == "small":
        x = x[:20]
    elif changed == "learns":
        w.requires_grad_()
    else:
        x, w = (each.to(getattr(torch, changed)) for each in (x, w))
    wanted = F.linear(x, w)
    with FastLinear():
        found = F.linear(x, w)
    assert by_onednn == [False]
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert found.requires_grad == (changed == "learns")


def test_a_bias_is_left_to_torch(by_onednn, values):
    layer = nn.Linear(400, 300)
    with FastLinear():
        found = layer(values[0])
    assert not by_onednn
    assert torch.equal(found, layer(values[0]))


def test_which_processors(monkeypatch, tmp_path):
    """One that MKL does not know, with vectors that it would not use."""
    for text, wanted in {
        "vendor_id: AuthenticAMD\nflags: avx2 avx512f": True,
        "vendor_id: AuthenticAMD\nflags: avx2": False,
        "vendor_id: GenuineIntel\nflags: avx2 avx512f": False,
    }.items():
        (file := tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(products, "CPUINFO", file)
        products.has_fast_products.cache_clear()
        assert products.has_fast_products() is (wanted and torch.backends.mkldnn.is_available())
    monkeypatch.setattr(products, "CPUINFO", tmp_path / "none")
    products.has_fast_products.cache_clear()
    assert not products.has_fast_products()
    products.has_fast_products.cache_clear()
