"""Token injection against the naive CLIP, and for towers without a special token or a mask."""

import pytest
import torch
from farl_samples import hand_backbone, letters, pictures
from naive_clip import image_features, text_features
from tiny_models import EOS, HEADS, SIZE, build_clip
from torch import Tensor
from torch.testing import assert_close

from overtone.farl import encode_with_tokens, first_layer
from overtone.models.clip import ClipImageTower, ClipTextTower
from overtone.models.tower import Tower

K, DEPTH = 4, 3


def test_first_layer_is_the_sixth_of_twelve() -> None:
    assert [first_layer(depth) for depth in (1, 2, 3, 5, 12, 24)] == [0, 0, 1, 2, 5, 11]


def inserted(width: int, batch: int, first: int) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {layer: torch.randn(batch, K, width, generator=generator) for layer in range(first, DEPTH)}


def run(tower: Tower, inputs: Tensor, tokens: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
    embedded, mask = tower.embed(inputs)
    return encode_with_tokens(tower, tower.blocks(embedded, mask, 0, min(tokens)), mask, list(tokens.values()))


@pytest.mark.parametrize("first", range(DEPTH))
@pytest.mark.parametrize("batch", [1, 3])  # the same tokens for all, or each picture its own
@torch.no_grad()
def test_image_tower_equals_the_naive_clip(first: int, batch: int) -> None:
    model = build_clip()
    tower = ClipImageTower(model)
    images = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    tokens = inserted(tower.width, batch, first)
    expected = image_features(model.state_dict(), images, HEADS, tokens)
    for ours, theirs in zip(run(tower, images, tokens), expected, strict=True):
        assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first", range(DEPTH))
@torch.no_grad()
def test_text_tower_equals_the_naive_clip(first: int) -> None:
    """With texts of several lengths, the EOT of each moves back by K."""
    model = build_clip()
    tower = ClipTextTower(model)
    ids = torch.randint(1, 290, (4, 12), generator=torch.Generator().manual_seed(3))
    ids[:, 0] = 298
    for row, length in enumerate([3, 12, 7, 4]):
        ids[row, length - 1 :] = EOS
    tokens = inserted(tower.width, 1, first)
    features, last = run(tower, ids, tokens)
    naive_features, naive_last = text_features(model.state_dict(), ids, HEADS, EOS, tokens)
    assert_close(features, naive_features, atol=1e-5, rtol=1e-5)
    assert_close(last, naive_last, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_tokens_come_first_where_there_is_no_special_token() -> None:
    backbone = hand_backbone()
    ids = letters(["dog", "a blue bird"], 20)
    for tower, inputs in ((backbone.image, pictures(2)), (backbone.text, ids)):
        tokens, mask = tower.embed(inputs)
        new = [torch.randn(1, K, tower.width) for _ in range(tower.depth)]
        longer = None if mask is None else torch.cat([torch.ones(2, K, dtype=torch.bool), mask], dim=1)
        states = tokens
        for layer in range(tower.depth):
            states = tower.blocks(torch.cat([new[layer].expand(2, -1, -1), states], 1), longer, layer, layer + 1)
            last, states = states[:, :K], states[:, K:]
        features, tokens_out = encode_with_tokens(tower, tokens, mask, new)
        assert torch.equal(features, tower.pool(states, mask))
        assert torch.equal(tokens_out, last)


@torch.no_grad()
def test_only_the_last_layers_tokens_reach_the_output_of_the_tokens() -> None:
    """Replaced, not propagated: what the tokens became in one layer is gone in the next."""
    tower = hand_backbone().image
    tokens, _ = tower.embed(pictures(2))
    one = [torch.randn(1, K, tower.width) for _ in range(2)]
    start = tower.blocks(tokens, None, 0, tower.depth - 2)
    _, last = encode_with_tokens(tower, start, None, one)
    _, without_first = encode_with_tokens(tower, tower.blocks(start, None, 2, 3), None, one[1:])
    assert last.shape == without_first.shape == (2, K, tower.width)
    assert not torch.equal(last, without_first)  # the first layer's tokens act through the picture's own
