"""Cross-attention and the two readings of injection, against formulas written out here."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from overtone.farl import Injection, RepresentationTokens

K, WIDTH, HEADS, IMAGE, TEXT = 3, 8, 2, (12, 5), (10, 4)


def tokens(injection: Injection) -> RepresentationTokens:
    torch.manual_seed(0)
    module = RepresentationTokens(K, WIDTH, HEADS, IMAGE, TEXT, injection)
    for parameter in module.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    return module


def streams(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 7, IMAGE[0], generator=generator), torch.randn(batch, 7, IMAGE[0], generator=generator)


def naive_attention(R: Tensor, z: Tensor, module: nn.MultiheadAttention) -> tuple[Tensor, Tensor]:
    """Return the unit output (K, width) and the attention weights (heads, K, length) for one picture."""
    z = (z - z.mean(-1, keepdim=True)) / (z.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    assert module.in_proj_bias is not None
    biases = module.in_proj_bias.chunk(3)
    q = R @ module.q_proj_weight.T + biases[0]
    k = z @ module.k_proj_weight.T + biases[1]
    v = z @ module.v_proj_weight.T + biases[2]
    size = WIDTH // HEADS
    weights, values = [], []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        weights.append((q[:, part] @ k[:, part].T / size**0.5).softmax(-1))
        values.append(weights[-1] @ v[:, part])
    out = torch.cat(values, -1) @ module.out_proj.weight.T + module.out_proj.bias
    return out / out.norm(dim=-1, keepdim=True), torch.stack(weights)


@torch.no_grad()
def test_reading_equals_the_naive_cross_attention() -> None:
    module, (phase, amplitude) = tokens("by_modality"), streams(4)
    S, T = module.read(phase, amplitude)
    maps = module.attention(phase, amplitude)
    for i in range(4):
        structure, structure_weights = naive_attention(module.R, phase[i], module.query_structure)
        style, style_weights = naive_attention(module.R, amplitude[i], module.query_style)
        assert_close(S[i], structure)
        assert_close(T[i], style)
        assert_close(maps[0][i], structure_weights.mean((0, 1)))
        assert_close(maps[1][i], style_weights.mean((0, 1)))
    assert_close(maps[0].sum(-1), torch.ones(4))
    assert_close(maps[1].sum(-1), torch.ones(4))


@torch.no_grad()
def test_by_modality_enriches_the_text_tokens_alone() -> None:
    module, read = tokens("by_modality"), (torch.randn(1, K, WIDTH), torch.randn(1, K, WIDTH))
    enriched = module.R + read[0] @ module.W_S.weight.T + read[1] @ module.W_T.weight.T
    assert len(module.for_image(read)) == IMAGE[1]
    for into, new in zip(module.to_image, module.for_image(read), strict=True):
        assert_close(new, (module.R @ into.weight.T + into.bias).unsqueeze(0))
    for into, new in zip(module.to_text, module.for_text(read), strict=True):
        assert_close(new, enriched @ into.weight.T + into.bias)


@torch.no_grad()
def test_by_depth_puts_style_in_front_and_structure_behind() -> None:
    """Five layers: style into the first two, structure into the last three; in both towers."""
    module, read = tokens("by_depth"), (torch.randn(6, K, WIDTH), torch.randn(6, K, WIDTH))
    structure, style = module.R + read[0] @ module.W_S.weight.T, module.R + read[1] @ module.W_T.weight.T
    for layer, (into, new) in enumerate(zip(module.to_image, module.for_image(read), strict=True)):
        assert_close(new, (style if layer < 2 else structure) @ into.weight.T + into.bias)
    mean = read[0].mean(0, keepdim=True), read[1].mean(0, keepdim=True)
    structure, style = structure.mean(0, keepdim=True), style.mean(0, keepdim=True)
    for layer, (into, new) in enumerate(zip(module.to_text, module.for_text(mean), strict=True)):
        assert_close(new, (style if layer < 2 else structure) @ into.weight.T + into.bias)


@torch.no_grad()
@pytest.mark.parametrize("injection", ["plain", "by_modality", "by_depth"])
def test_without_streams_every_layer_gets_plain_tokens(injection: Injection) -> None:
    module = tokens(injection)
    for maps, new in ((module.to_image, module.for_image(None)), (module.to_text, module.for_text(None))):
        for into, one in zip(maps, new, strict=True):
            assert_close(one, (module.R @ into.weight.T + into.bias).unsqueeze(0))


def test_start_is_as_published() -> None:
    torch.manual_seed(0)
    module = RepresentationTokens(50, 512, 8, IMAGE, TEXT, "by_depth")
    assert module.R.std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(module.R.mean().item()) < 1e-3
    assert not module.W_S.weight.any()
    assert not module.W_T.weight.any()
