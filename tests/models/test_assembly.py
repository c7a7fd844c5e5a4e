"""Dual encoders put together of any two sides: the round trip into adapt's backbone, locking, and what cannot be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import SIZE, SIZES, build_clip, build_siglip, clip_tokenizer, siglip_tokenizer
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn.functional import normalize
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextModel,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    SiglipImageProcessorPil,
    SiglipTextModel,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

from overtone.errors import UserError
from overtone.farl.injection import encode_with_tokens
from overtone.models.assembly import NEW_IMAGE, Assembly, Side, assemble, read_side
from overtone.models.backbone import load_backbone
from overtone.models.dual_encoder import DualEncoder, DualEncoderConfig
from overtone.models.preparation import plain_processor

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["[PAD]", "[UNK]", "[CLS]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
VISION = SIZES | {"image_size": SIZE, "patch_size": 8, "hidden_size": 48}
TEXTS = ("cat", "a longer text", "dog")
OURS = {
    "conv": {"image_size": SIZE, "stem": (8, 16), "width": 40, "depth": 3, "heads": 4},
    "shfin": {
        "image_size": SIZE,
        "shfin": {"stem": 2, "dims": (8, 16), "depths": (1, 1), "patches": (4, 4), "kept": (3, 3), "rank": 2},
        "width": 40,
        "depth": 3,
        "heads": 4,
    },
}


def scattered(model: Any) -> Any:
    """Give every weight a random value: at their start biases, norms and class tokens hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def letter_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def bert_config(**changes: Any) -> BertConfig:
    return BertConfig(**(SIZES | {"vocab_size": len(WORDS), "max_position_embeddings": 24} | changes))


def roberta_config() -> RobertaConfig:
    sizes = SIZES | {"vocab_size": len(WORDS), "max_position_embeddings": 20, "pad_token_id": 0, "type_vocab_size": 1}
    return RobertaConfig(**sizes)


def built(name: str) -> PreTrainedModel:
    """A tiny encoder of transformers with random weights."""
    torch.manual_seed(0)
    clip, siglip = build_clip().config, build_siglip().config
    makers: dict[str, Callable[[], PreTrainedModel]] = {
        "clip-vision": lambda: CLIPVisionModel(clip.vision_config),
        "clip-projected": lambda: CLIPVisionModelWithProjection(clip.vision_config),
        "siglip-vision": lambda: SiglipVisionModel(siglip.vision_config),
        "vit": lambda: ViTModel(ViTConfig(**VISION)),
        "dinov2": lambda: Dinov2Model(Dinov2Config(**VISION)),
        "bert": lambda: BertModel(bert_config()),
        "roberta": lambda: RobertaModel(roberta_config()),
        "clip-text": lambda: CLIPTextModel(clip.text_config),
        "siglip-text": lambda: SiglipTextModel(siglip.text_config),
    }
    return scattered(makers[name]())


def tokenizer_for(name: str) -> Any:
    return {"clip-text": clip_tokenizer, "siglip-text": siglip_tokenizer}.get(name, letter_tokenizer)()


@pytest.fixture
def saved(tmp_path: Path, clip_directory: Path, siglip_directory: Path) -> Callable[[str], Path]:
    """Return what saves an encoder by name, a text encoder with its tokenizer."""

    def save(name: str) -> Path:
        whole = {"clip": clip_directory, "siglip": siglip_directory}
        if name in whole:
            return whole[name]
        folder = tmp_path / name
        built(name).save_pretrained(folder)
        if name in ("bert", "roberta", "clip-text", "siglip-text"):
            tokenizer_for(name).save_pretrained(folder)
        return folder

    return save


def our_side(kind: str) -> Side:
    return Side(kind, OURS[kind], plain_processor(SIZE))


def new_text() -> Side:
    return Side("new", bert_config().to_dict(), letter_tokenizer())


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(256, size=(40, 56, 3)).astype(np.uint8))


def pixels(assembly: Assembly) -> Tensor:
    preparation = assembly.preparation
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preparation.mean, preparation.std))
    return ((preparation.pixels(picture()) - mean) / std)[None]


@torch.no_grad()
def check_round_trip(assembly: Assembly, folder: Path) -> None:
    """Saved, it is read as adapt reads it, gives the same features, and takes FARL's tokens."""
    assembly.model.eval()
    assembly.save(folder)
    backbone = load_backbone(str(folder))
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} <= names
    ids = backbone.tokenize(TEXTS)
    assert torch.equal(ids, assembly.preparation.tokenize(TEXTS))
    assert torch.equal(backbone.preprocess(picture())[None], pixels(assembly))
    # to rounding: sums may run in another order where weights lie elsewhere in memory
    torch.testing.assert_close(backbone.image(pixels(assembly)), assembly.model.image(pixels(assembly)))
    torch.testing.assert_close(backbone.text(ids), assembly.model.text(ids))
    assert backbone.logit_scale == pytest.approx(assembly.model.logit_scale.exp().item())
    ours, theirs = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (assembly.model, _again(folder)))
    assert ours.keys() == theirs.keys()  # buffers that are not saved are among them
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for tower, inputs in ((backbone.image, pixels(assembly)), (backbone.text, ids)):
        tokens, mask = tower.embed(inputs)
        halves = tower.blocks(tower.blocks(tokens, mask, 0, 1), mask, 1)
        torch.testing.assert_close(tower.pool(halves, mask), tower(inputs))
        new = torch.randn(1, 2, tower.width)
        f, last = encode_with_tokens(tower, tower.blocks(tokens, mask, 0, tower.depth - 1), mask, [new])
        assert f.shape == (len(inputs), backbone.image.features)
        assert last.shape == (len(inputs), 2, tower.width)
        assert tower.projection_weight.shape == (tower.features, tower.width)


def _again(folder: Path) -> DualEncoder:
    return DualEncoder.from_pretrained(folder)


IMAGES = ("clip", "siglip", "clip-vision", "clip-projected", "siglip-vision", "vit", "dinov2")
TEXT_SIDES = ("clip", "siglip", "bert", "roberta", "clip-text", "siglip-text")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_side_of_transformers_with_a_text_side_of_ours(
    name: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    assembly = assemble(read_side("image", str(saved(name))), new_text())
    assert not any(parameter.startswith("image.") for parameter in assembly.fresh)
    check_round_trip(assembly, tmp_path / "whole")


@pytest.mark.parametrize("name", TEXT_SIDES)
@pytest.mark.parametrize("ours", OURS)
def test_a_text_side_of_transformers_with_an_image_side_of_ours(
    name: str, ours: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    assembly = assemble(our_side(ours), read_side("text", str(saved(name))))
    assert not any(parameter.startswith("text.") for parameter in assembly.fresh)
    check_round_trip(assembly, tmp_path / "whole")


@torch.no_grad()
@pytest.mark.parametrize("name", ["clip-vision", "siglip-vision", "vit", "dinov2"])
def test_a_warm_image_tower_starts_as_what_it_was(name: str, saved: Callable[[str], Path]) -> None:
    """Its class token, or what its head gathers: mapped by the identity, where the widths allow it."""
    side = read_side("image", str(saved(name)))
    assembly = assemble(side, new_text())
    x = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    out = built(name)(pixel_values=x)
    expected = out.last_hidden_state[:, 0] if name in ("vit", "dinov2") else out.pooler_output
    torch.testing.assert_close(assembly.model.eval().image(x), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert", "roberta", "clip-text", "siglip-text"])
def test_a_warm_text_tower_starts_as_what_it_was(name: str, saved: Callable[[str], Path]) -> None:
    """Its mean token for a BERT, as sentence-transformers has it; its own pooling elsewhere. One text: no padding."""
    assembly = assemble(our_side("conv"), read_side("text", str(saved(name))))
    ids = assembly.preparation.tokenize(["a dog"])
    out = built(name)(input_ids=ids)
    expected = out.last_hidden_state.mean(1) if "bert" in name else out.pooler_output
    torch.testing.assert_close(assembly.model.eval().text(ids), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_both_sides_of_one_model_go_on_with_it(name: str, saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = str(saved(name))
    assembly = assemble(read_side("image", folder), read_side("text", folder), logit_bias=name == "siglip")
    whole = load_backbone(folder)
    ids = whole.tokenize(["cat"])
    assert torch.equal(assembly.preparation.tokenize(["cat"]), ids)
    assembly.model.eval()
    torch.testing.assert_close(assembly.model.image(pixels(assembly)), whole.image(pixels(assembly)))
    torch.testing.assert_close(assembly.model.text(ids), whole.text(ids))
    assert assembly.model.logit_scale.exp().item() == pytest.approx(whole.logit_scale)
    check_round_trip(assembly, tmp_path / "whole")
    again = assemble(*(read_side(side, str(tmp_path / "whole")) for side in ("image", "text")))  # type: ignore[arg-type]
    assert again.model.logit_scale.item() == pytest.approx(assembly.model.logit_scale.item())
    assert again.fresh <= {"logit_scale", "logit_bias"}


def test_widths_that_differ_get_a_projection(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """A SigLIP image tower of 32 into a BERT's 24; what has to be new is learned, also where the tower is locked."""
    folder = tmp_path / "narrow"
    scattered(BertModel(bert_config(hidden_size=24))).save_pretrained(folder)
    letter_tokenizer().save_pretrained(folder)
    text = read_side("text", str(folder))
    assembly = assemble(read_side("image", str(saved("siglip-vision"))), text)
    assert assembly.model.config.features == 24
    assert {name for name in assembly.fresh if name.startswith("image.")} == {"image.projection.weight"}
    check_round_trip(assembly, tmp_path / "whole")
    locked = assemble(read_side("image", str(saved("clip"))), text, lock="image").model
    assert locked.config.features == 24  # CLIP's projection, too: 24 in the tiny one
    locked = assemble(read_side("image", str(saved("vit"))), text, lock="text").model
    trained = {name for name, p in locked.named_parameters() if p.requires_grad}
    assert not any(name.startswith("text.") for name in trained)
    assert "image.projection.weight" in trained


@pytest.mark.parametrize(("lock", "other"), [("image", "text"), ("text", "image")])
def test_a_locked_side_takes_no_gradient(lock: Any, other: str, saved: Callable[[str], Path]) -> None:
    assembly = assemble(read_side("image", str(saved("vit"))), read_side("text", str(saved("bert"))), lock)
    trained = {name for name, p in assembly.model.named_parameters() if p.requires_grad}
    assert {name for name in trained if name.startswith(f"{lock}.")} == set()
    assert any(name.startswith(f"{other}.") for name in trained)
    assert assembly.model.config.features == (48 if lock == "image" else 32)
    assert f"{other}.projection.weight" in assembly.fresh  # it maps into the locked one's space
    assert "logit_scale" in trained


def test_new_parts_follow_from_the_seed() -> None:
    one, same, other = (assemble(our_side("shfin"), new_text(), seed=seed).model for seed in (1, 1, 2))
    weights = [model.image.projection.weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", NEW_IMAGE)
def test_new_image_towers_by_name(name: str) -> None:
    side = read_side("image", name)
    model = DualEncoder(DualEncoderConfig(**side.fields, text=bert_config().to_dict()))
    size = side.fields["image_size"]
    assert model.image(torch.randn(2, 3, size, size)).shape == (2, 384)
    tokens, _ = model.image.embed(torch.randn(1, 3, size, size))
    patches = tokens.shape[1] - model.image.leading
    assert round(patches**0.5) ** 2 == patches  # a square grid, over which the report lays attention out


def test_the_embedded_model_as_either_side() -> None:
    image, text = (read_side(side, "embedded") for side in ("image", "text"))  # type: ignore[arg-type]
    assembly = assemble(image, text)
    assert assembly.fresh == {"logit_scale"}
    embedded = load_backbone("embedded")
    assert assembly.model.logit_scale.exp().item() == pytest.approx(embedded.logit_scale, rel=1e-3)
    ids = embedded.tokenize(["a cat"])
    with torch.no_grad():
        assert torch.equal(assembly.model.eval().text(ids), embedded.text(ids))
    mixed = assemble(our_side("shfin"), text)
    assert mixed.model.config.features == 384
    assert mixed.model.logit_scale.exp().item() == pytest.approx(1 / 0.07)


def test_with_a_bias_it_starts_as_siglip_does(tmp_path: Path) -> None:
    assembly = assemble(our_side("conv"), new_text(), logit_bias=True)
    assert assembly.model.logit_scale.exp().item() == pytest.approx(10)
    assert assembly.model.logit_bias is not None
    assert assembly.model.logit_bias.item() == -10
    check_round_trip(assembly, tmp_path / "whole")
    x, ids = pixels(assembly), assembly.preparation.tokenize(TEXTS)
    with torch.no_grad():
        image, text = (normalize(f, dim=-1) for f in (assembly.model.image(x), assembly.model.text(ids)))
        torch.testing.assert_close(assembly.model(x, ids), 10 * image @ text.T - 10)


# New ones from a config's file


def write(path: Path, config: Any) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(config if isinstance(config, dict) else config.to_dict()))
    return str(path)


@pytest.mark.parametrize("config", [ViTConfig(**VISION), build_clip().config, build_siglip().config])
def test_a_new_image_tower_from_a_config(config: Any, tmp_path: Path) -> None:
    side = read_side("image", write(tmp_path / "config.json", config))
    assert not side.weights
    assembly = assemble(side, new_text())
    assert assembly.model.image(pixels(assembly)).shape == (1, 384)


def test_a_new_tower_of_ours_from_a_config(tmp_path: Path) -> None:
    config = DualEncoderConfig(**OURS["shfin"], text=bert_config(vocab_size=12_000).to_dict())
    path = write(tmp_path / "config.json", config)
    image, text = read_side("image", path), read_side("text", path)
    assert (image.fields["shfin"], image.fields["width"]) == (json.loads(json.dumps(OURS["shfin"]["shfin"])), 40)
    assert len(text.prepare) <= text.fields["vocab_size"]  # the embedded tokenizer's
    check_round_trip(assemble(image, text), tmp_path / "whole")


def test_what_lies_beside_a_config_stands_before_it(tmp_path: Path) -> None:
    clip_tokenizer().save_pretrained(tmp_path)
    SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(tmp_path)
    path = write(tmp_path / "config.json", build_clip().config)
    assembly = assemble(read_side("image", path), read_side("text", path))
    assert assembly.preparation.mean == (0.5, 0.5, 0.5)
    assert assembly.preparation.tokenize(["cat"])[0, 0] == 298


# What cannot be


def refused(*args: Any) -> str:
    with pytest.raises(UserError) as error:
        read_side(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_architecture(saved: Callable[[str], Path], tmp_path: Path) -> None:
    assert "this is a text encoder (bert)" in refused("image", str(saved("bert")))
    assert "this is an image encoder (vit)" in refused("text", str(saved("vit")))
    path = write(tmp_path / "gpt" / "config.json", {"model_type": "gpt2"})
    assert "model_type is 'gpt2'; supported are overtone-dual-encoder, clip" in refused("text", path)
    assert "Did you mean 'clip_vision_model'?" in refused(
        "image", write(tmp_path / "x.json", {"model_type": "clip_vison_model"})
    )


def test_names_that_are_nothing(tmp_path: Path) -> None:
    assert "Did you mean 'shfin'?" in refused("image", "shfn")
    assert "Give transformer, embedded, a folder, a hub id" in refused("text", "nothing here")
    (tmp_path / "empty").mkdir()
    assert "no config.json in this directory" in refused("image", str(tmp_path / "empty"))
    (tmp_path / "bad.json").write_text("{")
    assert "no config of transformers" in refused("image", str(tmp_path / "bad.json"))


OWN = {"model_type": "overtone-dual-encoder"}


@pytest.mark.parametrize(
    ("side", "config", "says"),
    [
        ("image", {"model_type": "clip"}, "nothing is called 'vision_config'"),
        ("text", OWN, "nothing is called 'text'"),
        ("text", OWN | {"text": {"num_hidden_layers": 2}}, "nothing is called 'max_position_embeddings'"),
        ("image", {"model_type": "vit", "image_size": "big"}, "Validation error for field 'image_size'"),
        ("image", OWN | {"image_size": "big"}, "image_size is 'big': give a whole number"),
        ("image", OWN | {"width": 33}, "dim must be a multiple of heads, got dim=33 and heads=4"),
        ("image", OWN | {"shfin": {"dimz": 3}}, "shfin has no 'dimz'. Did you mean 'dims'?"),
        ("text", {"model_type": "bert", "hidden_size": 30, "num_attention_heads": 4}, "The hidden size (30)"),
    ],
)
def test_a_config_that_no_tower_can_be_made_of(side: Any, config: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "tower.json", config)
    assert refused(side, path).startswith(f"--{side}-tower {path!r}: no tower can be made of it: {says}")


def test_weights_that_are_missing_or_of_other_sizes(saved: Callable[[str], Path]) -> None:
    folder = saved("vit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    assert "tensors are missing from its weights" in refused("image", str(folder))
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    assert "the weights cannot be read" in refused("image", str(folder))
    (folder / "model.safetensors").unlink()
    assert "no model.safetensors" in refused("image", str(folder))


def test_tokenizers_that_are_missing_or_too_large(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = saved("bert")
    (folder / "tokenizer.json").unlink()
    assert "the tokenizer is missing" in refused("text", str(folder))
    path = write(tmp_path / "alone" / "config.json", build_clip().config)
    assert "no tokenizer beside it" in refused("text", path)
    small = write(tmp_path / "small.json", bert_config())
    assert "vocab_size is 55, and its tokenizer has 10000" in refused("text", small)


def test_nothing_to_lock() -> None:
    with pytest.raises(UserError, match="--lock text: the text tower 'new' is new, there is nothing to keep"):
        assemble(our_side("conv"), new_text(), "text")


def test_types_that_are_not_known() -> None:
    with pytest.raises(ValueError, match=r"model_type must be one of bert, roberta, .* got 'gpt2'"):
        DualEncoderConfig(text={"model_type": "gpt2"})
    with pytest.raises(ValueError, match=r"model_type must be one of clip_vision_model, .* got None"):
        DualEncoderConfig(vision={"image_size": 32})
