"""The attention block against torch's own multi-head attention, and its symmetry."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.testing import assert_close

from overtone.nn import AttentionBlock


def block(dim: int, heads: int) -> AttentionBlock:
    torch.manual_seed(0)
    made = AttentionBlock(dim, heads).double()
    for parameter in made.parameters():  # norms too: ones and zeros would hide a mistake
        parameter.data += 0.2 * torch.randn_like(parameter)
    return made


def reference(made: AttentionBlock, x: Tensor) -> Tensor:
    """Return x + MHA(LN x), then x + MLP(LN x), with torch's layers and copied weights."""
    dim = x.shape[-1]
    attention = nn.MultiheadAttention(dim, made.heads, batch_first=True).double()
    attention.load_state_dict(
        {
            "in_proj_weight": made.query_key_value.weight,
            "in_proj_bias": made.query_key_value.bias,
            "out_proj.weight": made.out.weight,
            "out_proj.bias": made.out.bias,
        }
    )
    first, second = made.feed_forward[0], made.feed_forward[2]
    normed = nn.functional.layer_norm(x, (dim,), made.norm_attention.weight, made.norm_attention.bias)
    x = x + attention(normed, normed, normed)[0]
    normed = nn.functional.layer_norm(x, (dim,), made.norm_feed_forward.weight, made.norm_feed_forward.bias)
    return x + gelu(normed @ first.weight.T + first.bias) @ second.weight.T + second.bias


@pytest.mark.parametrize(("dim", "heads"), [(12, 1), (12, 4), (10, 5)])
@pytest.mark.parametrize("length", [1, 7])
def test_equals_torch(dim: int, heads: int, length: int) -> None:
    made, x = block(dim, heads), torch.randn(3, length, dim, dtype=torch.float64)
    assert_close(made(x), reference(made, x), atol=1e-12, rtol=0)


def test_gradients_equal_torchs() -> None:
    made, x = block(12, 3), torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(made(x).sin().sum(), x)
    (theirs,) = torch.autograd.grad(reference(made, x).sin().sum(), x)
    assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_a_permutation_of_the_tokens_permutes_the_output() -> None:
    made, x = block(12, 3), torch.randn(2, 9, 12, dtype=torch.float64)
    order = torch.randperm(9)
    assert_close(made(x[:, order]), made(x)[:, order], atol=1e-12, rtol=0)


def test_a_width_that_heads_do_not_divide() -> None:
    with pytest.raises(ValueError, match="dim=10 and heads=3"):
        AttentionBlock(10, 3)
