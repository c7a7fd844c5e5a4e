"""CLIP's towers give what transformers gives, in any number of pieces, with and without inserted tokens."""

import pytest
import torch
from naive_clip import image_features, text_features
from tiny_models import EOS, HEADS, SIZE, build_clip
from torch import Tensor
from torch.testing import assert_close

from overtone.models.clip import LEGACY_EOS, ClipImageTower, ClipTextTower
from overtone.models.tower import Tower

both = pytest.mark.parametrize("attention", ["sdpa", "eager"])
DEPTH, COUNT = 3, 5


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def ids() -> Tensor:
    """Texts of several lengths, padded with the EOT itself, as OpenAI's tokenizer does."""
    ids = torch.randint(1, 290, (4, 16), generator=torch.Generator().manual_seed(3))
    ids[:, 0] = 298
    for row, length in enumerate([4, 9, 6, 10]):
        ids[row, length - 1 :] = EOS
    return ids


@both
def test_image_features(attention: str, pixels: Tensor) -> None:
    model = build_clip(attention)
    with torch.no_grad():
        assert_close(ClipImageTower(model)(pixels), model.get_image_features(pixels).pooler_output, atol=1e-5, rtol=0)


@both
@pytest.mark.parametrize("eos", [EOS, LEGACY_EOS])
def test_text_features(attention: str, eos: int, ids: Tensor) -> None:
    model = build_clip(attention, eos)
    with torch.no_grad():
        assert_close(ClipTextTower(model)(ids), model.get_text_features(ids).pooler_output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("eos", [EOS, LEGACY_EOS])
def test_mask_ends_with_the_first_eot(eos: int, ids: Tensor) -> None:
    _, mask = ClipTextTower(build_clip(eos=eos)).embed(ids)
    assert mask.sum(-1).tolist() == [4, 9, 6, 10]
    assert mask.dtype == torch.bool
    assert all(row.tolist() == sorted(row.tolist(), reverse=True) for row in mask)


def test_padding_with_another_id(ids: Tensor) -> None:
    """LAION's checkpoints pad with 0; what stands after the EOT must not matter."""
    tower = ClipTextTower(build_clip())
    other = torch.where(tower.embed(ids)[1], ids, 0)
    with torch.no_grad():
        assert_close(tower(other), tower(ids), atol=1e-6, rtol=0)


# float64: rounding is all that is left; but transformers' eager attention takes its softmax in float32, and how a
# processor sums a row there depends on its length
@pytest.mark.parametrize(("attention", "tolerance"), [("sdpa", 1e-13), ("eager", 1e-6)])
def test_cutting_text_at_the_longest_eot_is_exact(attention: str, tolerance: float, ids: Tensor) -> None:
    tower = ClipTextTower(build_clip(attention).double())
    with torch.no_grad():
        assert_close(tower(ids[:, :10]), tower(ids), atol=tolerance, rtol=0)


@both
@pytest.mark.parametrize("kind", ["image", "text"])
def test_blocks_in_two_pieces(attention: str, kind: str, pixels: Tensor, ids: Tensor) -> None:
    tower, inputs = _tower(kind, attention, pixels, ids)
    with torch.no_grad():
        tokens, mask = tower.embed(inputs)
        whole = tower.blocks(tokens, mask)
        for cut in range(DEPTH + 1):
            assert_close(tower.blocks(tower.blocks(tokens, mask, 0, cut), mask, cut), whole, atol=0, rtol=0)
        assert tower.blocks(tokens, mask, 1, 1) is tokens


@both
@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("first", range(DEPTH))
def test_inserted_tokens_equal_the_naive_forward(
    attention: str, kind: str, first: int, pixels: Tensor, ids: Tensor
) -> None:
    """Tokens stand right after CLS or BOS from block `first` on and are replaced, not propagated (MMRL, section 3)."""
    tower, inputs = _tower(kind, attention, pixels, ids)
    generator = torch.Generator().manual_seed(4)
    inserted = {index: torch.randn(COUNT, tower.width, generator=generator) for index in range(first, DEPTH)}
    state = build_clip().state_dict()
    with torch.no_grad():
        if kind == "image":
            expected, expected_tokens = image_features(state, inputs, HEADS, inserted)
        else:
            expected, expected_tokens = text_features(state, inputs, HEADS, EOS, inserted)
        features, tokens = _with_inserted(tower, inputs, inserted)
        assert_close(features, expected, atol=1e-5, rtol=1e-5)
        if kind == "image":
            assert_close(tokens, expected_tokens, atol=1e-5, rtol=1e-5)
        assert (features - tower(inputs)).abs().max() > 1e-3  # the tokens do matter


@pytest.mark.parametrize("kind", ["image", "text"])
def test_naive_forward_without_tokens(kind: str, pixels: Tensor, ids: Tensor) -> None:
    tower, inputs = _tower(kind, "sdpa", pixels, ids)
    state = build_clip().state_dict()
    naive = image_features(state, inputs, HEADS) if kind == "image" else text_features(state, inputs, HEADS, EOS)
    with torch.no_grad():
        assert_close(tower(inputs), naive[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_norm_and_projection_give_the_embedding(kind: str, pixels: Tensor, ids: Tensor) -> None:
    tower, inputs = _tower(kind, "sdpa", pixels, ids)
    with torch.no_grad():
        tokens, mask = tower.embed(inputs)
        tokens = tower.blocks(tokens, mask)
        pooled = tokens[:, 0] if mask is None else tokens[range(len(tokens)), mask.sum(-1) - 1]
        assert_close(tower.norm(pooled) @ tower.projection_weight.T, tower.pool(tokens, mask), atol=1e-6, rtol=1e-5)
    assert tower.projection_weight.shape == (tower.features, tower.width)


def test_no_weight_exists_twice() -> None:
    model = build_clip()
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    towers = [ClipImageTower(model), ClipTextTower(model)]
    held = [parameter.data_ptr() for tower in towers for parameter in tower.parameters()]
    assert set(held) <= weights
    assert weights - set(held) == {model.logit_scale.data_ptr()}


def _tower(kind: str, attention: str, pixels: Tensor, ids: Tensor) -> tuple[Tower, Tensor]:
    model = build_clip(attention)
    return (ClipImageTower(model), pixels) if kind == "image" else (ClipTextTower(model), ids)


def _with_inserted(tower: Tower, inputs: Tensor, inserted: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
    tokens, mask = tower.embed(inputs)
    first, lead = min(inserted), tower.leading
    tokens = tower.blocks(tokens, mask, 0, first)
    head, tail = tokens[:, :lead], tokens[:, lead:]
    longer = mask if mask is None else torch.cat([mask.new_ones(len(mask), COUNT), mask], dim=1)
    for index in range(first, tower.depth):
        tokens = torch.cat([head, inserted[index].expand(len(head), -1, -1), tail], dim=1)
        tokens = tower.blocks(tokens, longer, index, index + 1)
        head, own, tail = tokens.split([lead, COUNT, tail.shape[1]], dim=1)
    return tower.pool(torch.cat([head, tail], dim=1), mask), own
