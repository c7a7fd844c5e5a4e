"""Which settings a backbone gets when the user names none."""

from types import SimpleNamespace
from typing import Any

import pytest

from overtone.farl import recipe_for
from overtone.farl.recipes import PUBLISHED, PUBLISHED_PROTOTYPES, SMALL, SMALL_PROTOTYPES
from overtone.models.backbone import EMBEDDED, load_backbone


def towers(image: int, text: int) -> Any:
    return SimpleNamespace(image=SimpleNamespace(width=image), text=SimpleNamespace(width=text))


def test_the_embedded_model_has_the_small_recipe() -> None:
    backbone = load_backbone(EMBEDDED)
    assert recipe_for(backbone) is SMALL_PROTOTYPES
    assert recipe_for(backbone, prototypes=False) is SMALL


@pytest.mark.parametrize("widths", [(768, 512), (128, 512), (768, 256)])
def test_wide_towers_have_the_published_recipe(widths: tuple[int, int]) -> None:
    """CLIP's ViT-B/32 is 768 and 512 wide; one wide tower is enough."""
    assert recipe_for(towers(*widths)) is PUBLISHED
    assert recipe_for(towers(*widths), prototypes=True) is PUBLISHED_PROTOTYPES
