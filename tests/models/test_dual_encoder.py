"""The embedded model's architecture, on tiny random weights; its shipped weights are tested elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import scatter
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from overtone.models.backbone import digest_of, load_backbone
from overtone.models.dual_encoder import DualEncoder, DualEncoderConfig, load_embedded

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "cat", "dog", "on", "grass"]
TEXT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
TEXTS = ("cat", "a red dog on grass", "a cat")


def config() -> DualEncoderConfig:
    text = TEXT | {"vocab_size": len(WORDS), "max_position_embeddings": 12}
    return DualEncoderConfig(image_size=32, stem=(8, 16), width=40, depth=4, heads=4, text=text, features=24)


@pytest.fixture
def model() -> DualEncoder:
    torch.manual_seed(0)
    return scatter(DualEncoder(config()))  # type: ignore[return-value]


@pytest.fixture
def folder(model: DualEncoder, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "dual")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(tmp_path / "dual" / "tokenizer.json"))
    return tmp_path / "dual"


def ids(texts: Sequence[str] = TEXTS) -> Tensor:
    rows = [[2, *(WORDS.index(word) for word in text.split()), 3] for text in texts]
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def pixels(size: int = 32) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


# The whole


@torch.no_grad()
def test_forward_is_the_scaled_cosine(model: DualEncoder) -> None:
    image, text = model.image(pixels()).double(), model.text(ids()).double()
    cosine = (image @ text.T) / (image.norm(dim=-1)[:, None] * text.norm(dim=-1))
    assert_close(model(pixels(), ids()).double(), 30 * cosine, atol=1e-4, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("auto", [False, True])
def test_saved_and_read_it_is_the_same(model: DualEncoder, auto: bool, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = (AutoModel if auto else DualEncoder).from_pretrained(tmp_path)
    assert isinstance(again, DualEncoder)
    ours, theirs = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (model, again))
    assert ours.keys() == theirs.keys()  # buffers that are not saved are among them
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(again(pixels(), ids()), model(pixels(), ids()))
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == again.config.to_dict()
    assert not again.training


def test_a_new_model_keeps_what_its_layers_chose() -> None:
    torch.manual_seed(3)
    plain = torch.nn.Linear(40, 24, bias=False)
    made = DualEncoder(config())
    assert made.logit_scale.exp().item() == pytest.approx(30)
    assert made.image.projection.weight.std().item() == pytest.approx(plain.weight.std().item(), rel=0.1)


# The image encoder


@torch.no_grad()
@pytest.mark.parametrize("size", [16, 32, 48, 40])
def test_any_resolution(model: DualEncoder, size: int) -> None:
    tokens, mask = model.image.embed(pixels(size))
    assert tokens.shape == (3, 1 + (size // 8) ** 2, 40)
    assert mask is None
    assert model.image(pixels(size)).shape == (3, 24)


@torch.no_grad()
def test_patches_know_where_they_are(model: DualEncoder) -> None:
    """With nothing of the picture left, the tokens are a map of [cos, sin](2 pi b.v) at the patches' centres."""
    tower = model.image
    tower.stem = torch.nn.Conv2d(3, 40, 8, stride=8)
    tower.stem.weight.zero_()
    tokens, _ = tower.embed(torch.randn(1, 3, 16, 24))
    for i in range(2):
        for j in range(3):
            phase = 2 * torch.pi * (tower.positions.frequencies * torch.tensor([(i + 0.5) / 2, (j + 0.5) / 3])).sum(-1)
            where = tower.position_map(torch.cat([phase.cos(), phase.sin()]))
            assert_close(tokens[0, 1 + 3 * i + j], tower.stem.bias + where, atol=1e-5, rtol=1e-5)
    assert_close(tokens[0, 0], tower.cls + tokens[0, 1:].mean(0))


@torch.no_grad()
def test_positions_are_exact_under_autocast(model: DualEncoder) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens, _ = model.image.embed(pixels(40))
    expected, _ = model.image.embed(pixels(40))
    assert (tokens - expected).abs().max() < 0.05 * expected.abs().max()


@torch.no_grad()
def test_half_precision_weights(model: DualEncoder) -> None:
    assert model.image.to(torch.bfloat16)(pixels().bfloat16()).dtype == torch.bfloat16


@torch.no_grad()
@pytest.mark.parametrize("kind", ["image", "text"])
def test_blocks_in_two_pieces(model: DualEncoder, kind: str) -> None:
    tower, inputs = (model.image, pixels()) if kind == "image" else (model.text, ids())
    tokens, mask = tower.embed(inputs)
    whole = tower.blocks(tokens, mask)
    for cut in range(tower.depth + 1):
        assert torch.equal(tower.blocks(tower.blocks(tokens, mask, 0, cut), mask, cut), whole)
    assert torch.equal(tower.pool(whole, mask), tower(inputs))
    assert tower.projection_weight.shape == (tower.features, tower.width)


# The text encoder


@torch.no_grad()
def test_text_equals_berts_mean_token_projected(model: DualEncoder) -> None:
    """BertModel itself, one unpadded text at a time, and a mean taken by hand."""
    bert = BertModel(BertConfig(**model.config.text), add_pooling_layer=False).eval()
    bert.load_state_dict(model.text.bert.state_dict())
    expected = [bert(ids([text])).last_hidden_state[0].mean(0) @ model.text.projection.weight.T for text in TEXTS]
    assert_close(model.text(ids()), torch.stack(expected), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_text_does_not_depend_on_its_neighbours(model: DualEncoder) -> None:
    together = model.text(ids())
    for row, text in enumerate(TEXTS):
        assert_close(model.text(ids([text]))[0], together[row], atol=1e-5, rtol=1e-5)
    more = torch.nn.functional.pad(ids(), (0, 5))
    assert_close(model.text(more), together, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_tokens_in_front_are_seen_and_padding_is_not(model: DualEncoder) -> None:
    tokens, mask = model.text.embed(ids())
    assert mask.tolist() == [[True] * n + [False] * (7 - n) for n in (3, 7, 4)]
    noise = torch.where(mask.unsqueeze(-1), tokens, torch.randn_like(tokens))
    ours, theirs = model.text.blocks(noise, mask), model.text.blocks(tokens, mask)
    assert_close(ours[mask], theirs[mask], atol=1e-6, rtol=0)
    longer = torch.cat([torch.ones(3, 2, dtype=torch.bool), mask], dim=1)
    seen = model.text.blocks(torch.cat([torch.randn(3, 2, 32), tokens], dim=1), longer)[:, 2:]
    assert (seen - theirs)[mask].abs().max() > 1e-3


# As a backbone


@torch.no_grad()
def test_loaded_as_a_backbone(model: DualEncoder, folder: Path) -> None:
    backbone = load_embedded(folder)
    assert backbone.tokenize(TEXTS).tolist() == ids().tolist()
    assert backbone.tokenize(["zebra " * 40]).tolist() == [[2] + [1] * 10 + [3]]  # cut to what the model takes
    assert_close(backbone.text(ids()), model.text(ids()), atol=1e-6, rtol=0)
    assert_close(backbone.image(pixels()), model.image(pixels()), atol=1e-6, rtol=0)
    assert backbone.logit_scale == pytest.approx(30)
    assert (backbone.name, backbone.size) == ("embedded", 32)
    assert backbone.digest == digest_of((name, t) for name, t in model.state_dict().items())
    assert load_backbone(str(folder)).name == str(folder)
    assert not any(p.requires_grad for p in (*backbone.image.parameters(), *backbone.text.parameters()))


def test_a_picture_covers_the_square_and_is_cut_on_both_sides(folder: Path) -> None:
    backbone = load_embedded(folder)
    wide = np.zeros((32, 96, 3), dtype=np.uint8)
    wide[:, 32:64] = (255, 0, 51)
    x = backbone.pixels(Image.fromarray(wide))
    assert x.shape == (3, 32, 32)
    assert x.dtype == torch.float32
    inner = x[:, :, 4:-4]
    assert_close(inner, torch.tensor([1.0, 0.0, 0.2])[:, None, None].expand_as(inner))
    assert_close(backbone.normalize(inner)[0], torch.full((32, 24), 2.0))
    assert backbone.pixels(Image.new("L", (5, 7))).shape == (3, 32, 32)


@torch.no_grad()
def test_the_embedding_is_what_the_features_say(folder: Path) -> None:
    backbone = load_embedded(folder)
    assert backbone.image.features == backbone.text.features == 24
    cosine = normalize(backbone.image(pixels()), dim=-1) @ normalize(backbone.text(ids()), dim=-1).T
    assert cosine.shape == (3, 3)
    assert cosine.abs().max() <= 1 + 1e-6
