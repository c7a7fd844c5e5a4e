"""The Perceiver's layers against numpy, the literal loop, and what the paper says of their cost and symmetry."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, softmax
from torch import Tensor, nn
from torch.testing import assert_close

from overtone.counting import multiply_adds
from overtone.nn import CrossAttention, LatentAttention, PerceiverEncoder

SIZES = {"context": 7, "latents": 5, "dim": 8, "cross_dim": 6, "blocks": 3, "self_attends": 2, "heads": 4}
ROUNDING = 1e-12  # of float64, in sums of a few dozen products of numbers around 1


def stirred(module: nn.Module) -> nn.Module:
    """Return the module in float64 with all parameters drawn anew: ones and zeros would hide a mistake."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.double().parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module


def encoder(**changes) -> PerceiverEncoder:
    return stirred(PerceiverEncoder(**{**SIZES, "cross_attends": 3, **changes}))


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numpy_linear(map_: nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ map_.weight.detach().numpy().T + map_.bias.detach().numpy()


def numpy_norm(norm: nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + norm.eps)
    return x * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def numpy_cross_attention(made: CrossAttention, x: np.ndarray, context: np.ndarray) -> np.ndarray:
    """One sample and head at a time, with the whole matrix of attention weights."""
    normed = numpy_norm(made.norm_context, context)
    Q, (K, V) = (
        numpy_linear(made.query, numpy_norm(made.norm_query, x)),
        np.split(numpy_linear(made.key_value, normed), 2, -1),
    )
    heads = [
        softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]), axis=-1) @ v
        for q, k, v in zip(*(np.split(part, made.heads, -1) for part in (Q, K, V)), strict=True)
    ]
    read = numpy_linear(made.out, np.concatenate(heads, -1))
    x = x + read if made.residual else read
    hidden = numpy_linear(made.feed_forward[0], numpy_norm(made.norm_feed_forward, x))
    return x + numpy_linear(made.feed_forward[2], hidden * (1 + erf(hidden / np.sqrt(2))) / 2)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("residual", [True, False])
def test_cross_attention_is_numpys(heads: int, residual: bool) -> None:
    made = stirred(CrossAttention(8, 5, 6, heads, residual))
    x, context = numbers(2, 4, 8), numbers(2, 9, 5, seed=1)
    expected = numpy_cross_attention(made, x.numpy(), context.numpy())
    np.testing.assert_allclose(made(x, context).detach(), expected, atol=ROUNDING)


def test_queries_of_one_sample_serve_all() -> None:
    made, x, context = stirred(CrossAttention(8, 5, 6)), numbers(1, 4, 8), numbers(3, 9, 5, seed=1)
    assert_close(made(x, context), made(x.expand(3, -1, -1), context), atol=ROUNDING, rtol=0)


def test_latent_attention_is_torchs_encoder_layer() -> None:
    made = stirred(LatentAttention(8, 4))
    theirs = nn.TransformerEncoderLayer(8, 4, 8, 0.0, "gelu", batch_first=True, norm_first=True).double().train()
    names = {
        "norm_attention": "norm1",
        "out": "self_attn.out_proj",
        "norm_feed_forward": "norm2",
        "feed_forward.0": "linear1",
        "feed_forward.2": "linear2",
    }
    weights = {
        "self_attn.in_proj_weight": made.query_key_value.weight,
        "self_attn.in_proj_bias": made.query_key_value.bias,
    }
    for ours, other in names.items():
        layer = made.get_submodule(ours)
        weights |= {f"{other}.weight": layer.weight, f"{other}.bias": layer.bias}
    theirs.load_state_dict(weights)
    x = numbers(2, 5, 8)
    assert_close(made(x), theirs(x), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize(("blocks", "cross_attends"), [(1, 1), (3, 1), (3, 2), (3, 3)])
def test_keys_and_values_computed_once_are_those_of_the_literal_loop(blocks: int, cross_attends: int) -> None:
    made, inputs = encoder(blocks=blocks, cross_attends=cross_attends), numbers(2, 9, 7)
    z = made.latents.expand(2, -1, -1)
    for number in range(blocks):
        if number < cross_attends:
            z = (made.shared if number else made.first)(z, inputs)
        z = made.block(z)
    assert_close(made(inputs), z, atol=ROUNDING, rtol=0)


@given(length=st.integers(1, 40), seed=st.integers(0, 10_000), cross_attends=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_inputs_changes_nothing(length: int, seed: int, cross_attends: int) -> None:
    made, inputs = encoder(cross_attends=cross_attends), numbers(2, length, 7, seed=seed)
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    # The sums are taken in another order.
    assert_close(made(inputs[:, order]), made(inputs), atol=ROUNDING, rtol=0)


@given(length=st.integers(1, 20), times=st.integers(2, 4), seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_inputs_repeated_are_inputs_once(length: int, times: int, seed: int) -> None:
    """Attention is a mean: it sees shares of the inputs, not how many there are."""
    made, inputs = encoder(), numbers(1, length, 7, seed=seed)
    assert_close(made(inputs.repeat(1, times, 1)), made(inputs), atol=ROUNDING, rtol=0)


def test_a_deeper_network_costs_as_much_more_on_few_inputs_as_on_many() -> None:
    """O(M N + L N^2), Perceiver, section 3.1: a function of M plus a function of L."""
    lengths, depths = (11, 90), (1, 4)
    work = {
        (M, L): multiply_adds(encoder(self_attends=L), numbers(1, M, 7)).multiply_adds for M in lengths for L in depths
    }
    few, many = ([work[M, L] for L in depths] for M in lengths)
    assert many[1] - many[0] == few[1] - few[0] > 0


def test_reading_again_costs_what_it_reads_but_no_second_keys_and_values() -> None:
    work = {
        n: multiply_adds(encoder(cross_attends=n, self_attends=1), numbers(1, 50, 7)).multiply_adds for n in (1, 2, 3)
    }
    keys_and_values = 50 * 7 * 2 * SIZES["cross_dim"]
    assert (work[2] - work[1]) - (work[3] - work[2]) == keys_and_values


def test_latents_are_drawn_as_published() -> None:
    latents = PerceiverEncoder(7, 512, 256, 7, 1, 1, 1).latents
    assert latents.std().item() == pytest.approx(0.02, rel=0.02)  # 131,072 draws: an error of 0.2 %
    assert latents.mean().item() == pytest.approx(0, abs=3e-4)


def test_gradcheck() -> None:
    made = encoder(blocks=2, cross_attends=2, self_attends=1, latents=2, dim=4)
    torch.autograd.gradcheck(made, numbers(1, 3, 7).requires_grad_())


@pytest.mark.parametrize("cross_attends", [0, 4, -1])
def test_as_many_cross_attentions_as_blocks_at_most(cross_attends: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to blocks=3, got {cross_attends}"):
        encoder(cross_attends=cross_attends)


def test_a_width_that_heads_do_not_divide() -> None:
    with pytest.raises(ValueError, match="width=6 and heads=4"):
        CrossAttention(8, 5, 6, heads=4)
