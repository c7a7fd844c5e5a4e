"""SigLIP's towers give what transformers gives."""

import pytest
import torch
from tiny_models import SIZE, build_siglip
from torch.testing import assert_close
from transformers import SiglipConfig, SiglipModel

from overtone.models.siglip import SiglipImageTower, SiglipTextTower

both = pytest.mark.parametrize("attention", ["sdpa", "eager"])


@both
def test_image_features(attention: str) -> None:
    model, pixels = build_siglip(attention), torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        assert_close(SiglipImageTower(model)(pixels), model.get_image_features(pixels).pooler_output, atol=1e-5, rtol=0)


@both
def test_text_features(attention: str) -> None:
    model, ids = build_siglip(attention), torch.randint(0, 50, (3, 12))
    with torch.no_grad():
        assert_close(SiglipTextTower(model)(ids), model.get_text_features(ids).pooler_output, atol=1e-5, rtol=0)


@both
def test_blocks_in_two_pieces_with_tokens_in_front(attention: str) -> None:
    """With no special token at the start, inserted tokens come first; pooling the last position ignores them."""
    tower = SiglipTextTower(build_siglip(attention))
    assert tower.leading == SiglipImageTower(build_siglip()).leading == 0
    with torch.no_grad():
        tokens, mask = tower.embed(torch.randint(0, 50, (2, 12)))
        tokens = torch.cat([torch.randn(2, 4, tower.width), tokens], dim=1)
        whole = tower.blocks(tokens, mask)
        assert_close(tower.blocks(tower.blocks(tokens, mask, 0, 2), mask, 2), whole, atol=0, rtol=0)
        assert_close(tower.pool(whole[:, 4:], mask), tower.pool(whole, mask), atol=0, rtol=0)


@both
def test_masked_tokens_are_not_seen(attention: str) -> None:
    tower = SiglipTextTower(build_siglip(attention))
    tokens, mask = torch.randn(2, 6, tower.width), torch.tensor([[True] * 4 + [False] * 2] * 2)
    changed = torch.where(mask.unsqueeze(-1), tokens, torch.randn_like(tokens))
    with torch.no_grad():
        assert_close(tower.blocks(changed, mask)[:, :4], tower.blocks(tokens, mask)[:, :4], atol=1e-6, rtol=0)


def test_projection_weights() -> None:
    model = build_siglip()
    assert_close(SiglipImageTower(model).projection_weight, torch.eye(32))
    assert SiglipTextTower(model).projection_weight is model.text_model.head.weight


def test_a_model_without_a_head_is_refused() -> None:
    config = SiglipConfig(
        text_config={"num_hidden_layers": 1, "hidden_size": 12, "vocab_size": 9, "intermediate_size": 4},
        vision_config={"num_hidden_layers": 1, "hidden_size": 12, "intermediate_size": 4, "vision_use_head": False},
    )
    with pytest.raises(ValueError, match="vision_use_head"):
        SiglipImageTower(SiglipModel(config))
