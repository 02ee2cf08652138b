"""oneDNN's product in the place of MKL's: the same numbers, forward, backward and twice backward; and only where it is meant to be."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

from configs import load_model_config
from transformer_torch import Transformer, products

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
CONFIG = load_model_config("gpt2-character", ["num_layers=2", "width=32", "attention.num_heads=4", "feed_forward.width=48"])
IDS_BT = torch.arange(14).view(2, 7) % CONFIG.vocab_size


def tensors(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


@pytest.fixture
def amd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "is_amd", lambda: True)


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (2, 1, 3, 5)], ids=str)
@pytest.mark.parametrize("has_bias", [True, False])
def test_it_is_pytorchs_product_with_all_its_gradients(shape: tuple[int, ...], has_bias: bool, amd: None) -> None:
    hidden, weight, bias, gradient = tensors(shape, (4, 5), (4,), (*shape[:-1], 4))
    inputs = (hidden, weight, bias) if has_bias else (hidden, weight)
    outputs, expected = products.product(*inputs), F.linear(*inputs)
    assert "Product" in type(outputs.grad_fn).__name__
    torch.testing.assert_close(outputs, expected)
    for found, wanted in zip(torch.autograd.grad(outputs, inputs, gradient), torch.autograd.grad(expected, inputs, gradient), strict=True):
        torch.testing.assert_close(found, wanted)
    with torch.no_grad():
        assert torch.equal(products.product(*inputs), outputs)


def test_a_gradient_of_gradients_goes_through_it(amd: None) -> None:
    """As a gradient penalty takes it."""
    hidden, weight = tensors((6, 5), (4, 5))

    def penalty(of: torch.Tensor) -> torch.Tensor:
        (slope,) = torch.autograd.grad(of.tanh().sum(), hidden, create_graph=True)
        return torch.autograd.grad((slope**2).sum(), weight)[0]

    torch.testing.assert_close(penalty(products.product(hidden, weight)), penalty(F.linear(hidden, weight)))


def test_only_what_needs_a_gradient_is_computed(amd: None) -> None:
    hidden, weight = tensors((6, 5), (4, 5))
    products.product(hidden, weight.detach()).sum().backward()
    torch.testing.assert_close(hidden.grad, weight.detach().sum(0).expand(6, 5))
    assert weight.grad is None


def test_a_model_trains_the_same_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def losses_and_gradients() -> tuple[torch.Tensor, list[torch.Tensor]]:
        model = Transformer(CONFIG, seed=3)
        loss = model(IDS_BT).logsumexp(-1).mean()
        return loss, list(torch.autograd.grad(loss, list(model.parameters())))

    monkeypatch.setattr(products, "is_amd", lambda: False)
    expected = losses_and_gradients()
    monkeypatch.setattr(products, "is_amd", lambda: True)
    torch.testing.assert_close(losses_and_gradients(), expected)


@pytest.mark.parametrize(
    ("hidden", "weight", "said"),
    [
        (torch.zeros(6, 5), torch.zeros(4, 5), True),
        (torch.zeros(1, 5), torch.zeros(4, 5), False),
        (torch.zeros(0, 5), torch.zeros(4, 5), False),
        (torch.zeros(6, 5, dtype=torch.float64), torch.zeros(4, 5, dtype=torch.float64), False),
        (torch.zeros(6, 5, device="meta"), torch.zeros(4, 5, device="meta"), False),
    ],
)
def test_it_is_for_rows_of_float32_on_a_cpu(hidden: torch.Tensor, weight: torch.Tensor, said: bool, amd: None) -> None:
    assert products.takes_onednn(hidden, weight) is said


def test_autocast_and_compilers_choose_by_themselves(amd: None) -> None:
    hidden, weight = tensors((6, 5), (4, 5))
    with torch.autocast("cpu", torch.bfloat16):
        assert products.product(hidden, weight).dtype == torch.bfloat16
    compiled = torch.compile(products.product, backend="eager", fullgraph=True)
    assert "Product" not in type(compiled(hidden, weight).grad_fn).__name__


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transforms_and_traces_have_pytorchs_product(amd: None) -> None:
    """Gradients of each example alone, derivatives forward, and a model that `torch.jit.trace` has seen."""
    hidden, weight, bias = (tensor.detach() for tensor in tensors((6, 5), (4, 5), (4,)))

    def loss(weight: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        return products.product(row[None].expand(2, 5), weight, bias).tanh().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, hidden)
    for row, found in zip(hidden, each, strict=True):
        torch.testing.assert_close(found, torch.func.grad(loss)(weight, row))
    _, slope = torch.func.jvp(lambda values: products.product(values, weight), (hidden,), (torch.ones_like(hidden),))
    torch.testing.assert_close(slope, weight.sum(1).expand(6, 4))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(hidden, torch.ones_like(hidden))
        torch.testing.assert_close(forward_ad.unpack_dual(products.product(dual, weight)).tangent, slope)
    traced = torch.jit.trace(lambda values: products.product(values, weight, bias), hidden)
    assert "mkldnn" not in str(traced.graph)


@pytest.mark.filterwarnings("ignore:TF32")
def test_who_turns_onednn_off_is_heard(amd: None) -> None:
    hidden, weight = tensors((6, 5), (4, 5))
    with torch.backends.mkldnn.flags(enabled=False):
        assert not products.takes_onednn(hidden, weight)
    assert products.takes_onednn(hidden, weight)


def test_an_older_pytorch_that_does_not_tell_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert products.is_amd.__wrapped__() is False


def test_a_checkpoint_is_examined_with_hugging_faces_products(amd: None) -> None:
    """So that what `python -m parity` allows, a multiple of Hugging Face's own rounding, is the rounding of the same kernels."""
    from parity.sources import hugging_faces_products

    hidden, weight = tensors((6, 5), (4, 5))
    with hugging_faces_products():
        assert not products.takes_onednn(hidden, weight)
    assert products.takes_onednn(hidden, weight)
