"""SHFIN with a gate: its equation, what it is with the gates open, and padding."""

import math

import pytest
import torch

from overtone.nn import SHFIN, GatedSHFIN

ROUNDING = 1e-10  # float64 through two transforms and a softmax
DIM, PATCH = 6, 8


def pair() -> tuple[GatedSHFIN, SHFIN]:
    """One of random weights, and SHFIN with the same."""
    torch.manual_seed(0)
    made, plain = (kind(DIM, PATCH, 3, 2, axes=1).double() for kind in (GatedSHFIN, SHFIN))
    with torch.no_grad():
        for parameter in (made.scores, made.theta):
            parameter.normal_()
    assert set(made.state_dict()) - set(plain.state_dict()) == {"gate.weight", "gate.bias", "out.weight"}
    plain.load_state_dict(made.state_dict(), strict=False)
    return made.eval(), plain.eval()


def test_it_is_the_equation() -> None:
    made, plain = pair()
    x = torch.randn(2, 2 * PATCH, DIM, dtype=torch.float64)
    W_g, b, W_o = (p.detach().numpy() for p in (made.gate.weight.T, made.gate.bias, made.out.weight.T))
    sigmoid = torch.special.expit(torch.from_numpy(x.numpy() @ W_g + b)).numpy()
    expected = (sigmoid * plain(x).detach().numpy()) @ W_o
    torch.testing.assert_close(made(x), torch.from_numpy(expected), atol=ROUNDING, rtol=0)


def test_with_open_gates_it_is_shfin() -> None:
    made, plain = pair()
    with torch.no_grad():
        made.gate.bias.fill_(100)
        made.out.weight.copy_(torch.eye(DIM))
    x = torch.randn(2, 2 * PATCH, DIM, dtype=torch.float64)
    torch.testing.assert_close(made(x), plain(x), atol=ROUNDING, rtol=0)


def test_gradcheck() -> None:
    x = torch.randn(1, PATCH, DIM, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pair()[0], x)


@pytest.mark.parametrize("held", [1.0, math.nan])
def test_padding_counts_as_zero_and_stays_zero(held: float) -> None:
    made, mask = pair()[0], torch.arange(2 * PATCH) < 11
    x = torch.randn(1, 2 * PATCH, DIM, dtype=torch.float64)
    mixed = made(x.masked_fill(~mask[:, None], held), mask[None])
    assert not mixed[:, 11:].any()
    torch.testing.assert_close(mixed[:, :11], made(x[:, :11]), atol=ROUNDING, rtol=0)


def test_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"x must be \(batch, axis 1, dim = 6\), got \(2, 8, 5\)"):
        pair()[0](torch.zeros(2, PATCH, 5, dtype=torch.float64))


def test_bfloat16_stays_near_float32() -> None:
    made, x = pair()[0].float(), torch.randn(2, 2 * PATCH, DIM)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = made(x)
    assert (mixed - made(x)).norm() < 2e-2 * made(x).norm()  # eight bits of mantissa, through six products
