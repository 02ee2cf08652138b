"""The loss and its gradient are PyTorch's own, whose kernel makes several arrays of the logits' size on the way."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from configs import UserError
from transformer_torch import cross_entropy
from transformer_torch.losses import disagreement


def logits_and_labels(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """More rows than are worked on at a time; of some nothing is asked."""
    random = torch.Generator().manual_seed(0)
    logits_BTV = torch.randn(7, 90, 50, generator=random, dtype=torch.float64).mul(3).to(dtype).requires_grad_()
    labels_BT = torch.randint(0, 50, (7, 90), generator=random)
    labels_BT[:, ::3] = -100
    return logits_BTV, labels_BT


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 2 * 2**-8)])
def test_loss_and_gradient_are_pytorchs(dtype: torch.dtype, tolerance: float, label_smoothing: float) -> None:
    """In bfloat16 the gradient is rounded twice, by 2^-8 at most, and on average by nothing."""
    logits_BTV, labels_BT = logits_and_labels(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    exact_NV = logits_BTV.detach().flatten(0, 1).to(wide).requires_grad_()
    expected = F.cross_entropy(exact_NV, labels_BT.flatten(), reduction="sum", label_smoothing=label_smoothing)
    found = cross_entropy(logits_BTV, labels_BT, label_smoothing)
    assert found.dtype == wide
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)
    (expected / 7).backward()
    (found / 7).backward()
    assert logits_BTV.grad is not None
    assert logits_BTV.grad.dtype == dtype
    gradient_NV = logits_BTV.grad.flatten(0, 1).to(wide)
    torch.testing.assert_close(gradient_NV, exact_NV.grad, rtol=tolerance, atol=tolerance / 1000)
    assert exact_NV.grad is not None
    assert float((gradient_NV * exact_NV.grad).sum() / exact_NV.grad.square().sum()) == pytest.approx(1.0, abs=max(tolerance / 10, 1e-6))


def test_where_nothing_is_asked_there_is_no_loss() -> None:
    logits_BTV, labels_BT = logits_and_labels(torch.float32)
    loss = cross_entropy(logits_BTV, torch.full_like(labels_BT, -100), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits_BTV.grad is not None
    assert not logits_BTV.grad.any()


@pytest.mark.parametrize("shape", [(2, 4), (2, 6), (10,), (1, 5)], ids=str)
def test_labels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """Both would be flattened, and every label behind the first row be asked of another token."""
    import tensorflow as tf

    import transformer_tf

    with pytest.raises(UserError, match=r"labels have shape \(.*, and the logits are for \(2, 5\); give one label for each"):
        cross_entropy(torch.zeros(2, 5, 7), torch.zeros(shape, dtype=torch.long))
    with pytest.raises(UserError, match="give one label for each"):
        transformer_tf.cross_entropy(tf.zeros((2, 5, 7)), tf.zeros(shape, tf.int64))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5), (torch.bfloat16, 2 * 2**-8)])
def test_readings_disagree_by_the_mean_of_both_divergences(dtype: torch.dtype, tolerance: float) -> None:
    """PyTorch's kl_div takes the reference second."""
    first_BTV, labels_BT = logits_and_labels(dtype)
    second_BTV = (first_BTV.detach() + torch.randn(first_BTV.shape, generator=torch.Generator().manual_seed(1)).to(dtype)).requires_grad_()
    wide = torch.promote_types(dtype, torch.float32)
    exact = [logits_BTV.detach().to(wide).requires_grad_() for logits_BTV in (first_BTV, second_BTV)]
    log_p, log_q = (logits_BTV.log_softmax(-1)[labels_BT != -100] for logits_BTV in exact)
    there, back = (F.kl_div(*pair, log_target=True, reduction="sum") for pair in ((log_q, log_p), (log_p, log_q)))
    expected, found = (there + back) / 2, disagreement(first_BTV, second_BTV, labels_BT)
    torch.testing.assert_close(found, expected, rtol=max(tolerance / 10, 1e-6), atol=0.0)
    compiled = torch.compile(disagreement, backend="eager")(first_BTV, second_BTV, labels_BT)
    torch.testing.assert_close(compiled, expected, rtol=max(tolerance / 10, 1e-6), atol=0.0)
    for computed in (expected, found):
        (computed / 7).backward()
    for logits_BTV, exact_BTV in zip((first_BTV, second_BTV), exact, strict=True):
        assert logits_BTV.grad is not None
        torch.testing.assert_close(logits_BTV.grad.to(wide), exact_BTV.grad, rtol=tolerance, atol=tolerance / 100)


def test_a_second_derivative_is_refused() -> None:
    """What is kept is the gradient alone, in which the softmax would pass for a constant."""
    logits_BTV, labels_BT = logits_and_labels(torch.float64)
    for loss in (cross_entropy(logits_BTV, labels_BT), disagreement(logits_BTV, 2 * logits_BTV, labels_BT)):
        with pytest.raises(UserError, match=r"no second derivative \(create_graph=True\)"):
            torch.autograd.grad(loss, logits_BTV, create_graph=True)


def test_torch_func_takes_the_loss_apart() -> None:
    logits_BTV, labels_BT = logits_and_labels(torch.float64)
    expected = torch.autograd.grad(cross_entropy(logits_BTV, labels_BT), logits_BTV)[0]
    found = torch.func.grad(lambda logits_BTV: cross_entropy(logits_BTV, labels_BT))(logits_BTV.detach())
    torch.testing.assert_close(found, expected)


def test_labels_are_integers() -> None:
    logits_BTV, labels_BT = logits_and_labels(torch.float32)
    with pytest.raises(UserError, match=r"labels are of type torch\.float32; expected integers"):
        cross_entropy(logits_BTV, labels_BT.float())
