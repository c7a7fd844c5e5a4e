"""Backbones: loaded from a directory or the hub's cache, wrapped by hand, and every way a name can be wrong."""

import json
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import EOS, SIZE, build_clip, build_siglip
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import CLIPModel

import overtone.data.hub as hub
import overtone.models.backbone as module
import overtone.models.preparation as preparation
from overtone.errors import UserError
from overtone.models.backbone import Backbone, digest_of, digest_of_files, load_backbone
from overtone.models.tower import Tower


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the hub's empty cache on a machine that was told to stay offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


# What is loaded


def test_clip_directory(clip_directory: Path, picture: Image.Image) -> None:
    backbone = load_backbone(str(clip_directory))
    model = CLIPModel.from_pretrained(clip_directory).eval()
    ids = backbone.tokenize(["cat", "a dog"])
    pixels = backbone.preprocess(picture).unsqueeze(0)
    with torch.no_grad():
        assert_close(backbone.text(ids), model.get_text_features(ids).pooler_output, atol=1e-5, rtol=0)
        assert_close(backbone.image(pixels), model.get_image_features(pixels).pooler_output, atol=1e-5, rtol=0)
    assert (backbone.name, backbone.size) == (str(clip_directory), SIZE)
    assert backbone.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert json.dumps(backbone.preprocessing)


def test_everything_is_frozen(clip_directory: Path) -> None:
    backbone = load_backbone(str(clip_directory))
    for tower in (backbone.image, backbone.text):
        assert not tower.training
        assert not any(parameter.requires_grad for parameter in tower.parameters())


def test_dtype(clip_directory: Path) -> None:
    backbone = load_backbone(str(clip_directory), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in backbone.image.parameters()} == {torch.bfloat16}
    assert backbone.digest == load_backbone(str(clip_directory)).digest


def test_clip_tokens_are_cut_at_the_longest_text(clip_directory: Path) -> None:
    tokenize = load_backbone(str(clip_directory)).tokenize
    ids = tokenize(["cat", "a Dog"])
    assert ids.tolist() == [[298, 54, EOS, EOS], [298, 27, 56, EOS]]
    assert tokenize(["cat dog " * 40]).shape == (1, 16)
    assert tokenize(["cat dog " * 40])[0, -1] == EOS  # what is cut still ends in its EOT


def test_clip_pixels_are_the_middle_of_the_picture(clip_directory: Path, picture: Image.Image) -> None:
    backbone = load_backbone(str(clip_directory))
    pixels = backbone.pixels(picture)
    resized = picture.resize((round(64 * SIZE / 40), SIZE), Image.Resampling.BICUBIC)
    left = (resized.width - SIZE) // 2
    expected = np.asarray(resized.crop((left, 0, left + SIZE, SIZE)), dtype=np.float32) / 255
    assert_close(pixels, torch.tensor(expected).permute(2, 0, 1), atol=1e-6, rtol=0)
    shifted = backbone.normalize(pixels).mul(torch.tensor(backbone.std).view(3, 1, 1)).mean((1, 2))
    assert_close(shifted, pixels.mean((1, 2)) - torch.tensor(backbone.mean), atol=1e-5, rtol=0)
    assert_close(backbone.normalize(pixels.expand(2, 3, -1, -1))[1], backbone.preprocess(picture))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_pictures_of_any_mode(clip_directory: Path, picture: Image.Image, mode: str) -> None:
    assert load_backbone(str(clip_directory)).pixels(picture.convert(mode)).shape == (3, SIZE, SIZE)


def test_siglip_directory(siglip_directory: Path, picture: Image.Image) -> None:
    backbone = load_backbone(str(siglip_directory))
    ids = backbone.tokenize(["a red cat", "A Dog"])
    assert ids.tolist() == [[3, 4, 5, 2, *[0] * 8], [3, 6, 2, *[0] * 9]]  # full length, lower case
    squashed = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    expected = torch.tensor(np.asarray(squashed, dtype=np.float32) / 255).permute(2, 0, 1)
    assert_close(backbone.pixels(picture), expected, atol=1e-6, rtol=0)
    assert_close(backbone.preprocess(picture), expected * 2 - 1, atol=1e-5, rtol=0)
    model = build_siglip()
    with torch.no_grad():
        assert_close(backbone.text(ids), model.get_text_features(ids).pooler_output, atol=1e-5, rtol=0)


def test_hub_model_in_the_cache_while_offline(offline: Path, clip_directory: Path) -> None:
    _put_in_cache(offline, clip_directory)
    backbone = load_backbone("someone/tiny-clip")
    assert backbone.name == "someone/tiny-clip"
    assert backbone.digest == load_backbone(str(clip_directory)).digest


def test_unreachable_hub_still_finds_the_cache(
    offline: Path, clip_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(socket, "create_connection", _unreachable)
    _put_in_cache(offline, clip_directory)
    assert load_backbone("someone/tiny-clip").size == SIZE
    with pytest.raises(UserError, match=r"cannot be reached"):
        load_backbone("someone/other")


def test_embedded_and_directories_of_its_kind_go_to_the_dual_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load_embedded(directory: Path | None = None) -> Backbone:
        asked.append(directory)
        return _wrapped()

    monkeypatch.setattr("overtone.models.dual_encoder.load_embedded", load_embedded)
    (tmp_path / "config.json").write_text('{"model_type": "overtone-dual-encoder"}')
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        load_backbone(str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "tokenizer.json").touch()
    load_backbone("embedded")
    assert load_backbone(str(tmp_path)).name == str(tmp_path)
    assert asked == [None, tmp_path]


# The digest


def test_digest_is_stable_and_sees_every_change(clip_directory: Path) -> None:
    before = load_backbone(str(clip_directory)).digest
    assert before == load_backbone(str(clip_directory)).digest
    assert len(before) == 64
    weights = load_file(clip_directory / "model.safetensors")
    weights["visual_projection.weight"][0, 0] += 1e-6
    save_file(weights, clip_directory / "model.safetensors", metadata={"format": "pt"})
    assert load_backbone(str(clip_directory)).digest != before


def test_digest_does_not_depend_on_order_or_files(clip_directory: Path, tmp_path: Path) -> None:
    weights = build_clip().state_dict()
    assert digest_of(weights.items()) == digest_of(reversed(list(weights.items())))
    assert digest_of(weights.items()) == load_backbone(str(clip_directory)).digest
    sharded = tmp_path / "sharded"
    build_clip().save_pretrained(sharded, max_shard_size="40KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    assert digest_of_files(module.weight_files(sharded)) == digest_of(weights.items())


@pytest.mark.parametrize(
    "other",
    [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3, dtype=torch.int32)},
        {"a": torch.ones(2, 3)},
        {"a": torch.zeros(2, 3), "b": torch.tensor(1.0)},
    ],
)
def test_digest_sees_names_shapes_dtypes_and_values(other: dict[str, Tensor]) -> None:
    assert digest_of(other.items()) != digest_of([("a", torch.zeros(2, 3))])


# A pair of one's own


class OwnTower(Tower):
    """A plain torch transformer as a tower: what a user writes."""

    def __init__(self, into: nn.Module, width: int = 16) -> None:
        super().__init__()
        self.into = into
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, 2, 32, batch_first=True), 2, enable_nested_tensor=False
        )
        self.depth, self.width, self.features = 2, width, width

    def embed(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        if inputs.is_floating_point():
            return self.into(inputs).flatten(2).transpose(1, 2), None
        return self.into(inputs), inputs != 0

    def blocks(self, tokens: Tensor, mask: Tensor | None, start: int = 0, stop: int | None = None) -> Tensor:
        for layer in self.encoder.layers[start:stop]:
            tokens = layer(tokens, src_key_padding_mask=None if mask is None else ~mask)
        return tokens

    def pool(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        real = torch.ones(tokens.shape[:2]) if mask is None else mask.float()
        return (tokens * real.unsqueeze(-1)).sum(1) / real.sum(1, keepdim=True)


def letters(texts: Sequence[str]) -> Tensor:
    longest = max(map(len, texts))
    return torch.tensor([[ord(c) % 64 + 1 for c in text] + [0] * (longest - len(text)) for text in texts])


def to_pixels(image: Image.Image) -> Tensor:
    return torch.tensor(np.asarray(image.resize((16, 16)), dtype=np.float32) / 255).permute(2, 0, 1)


def _wrapped(text_width: int = 16) -> Backbone:
    torch.manual_seed(0)
    return Backbone(
        name="mine",
        image=OwnTower(nn.Conv2d(3, 16, 4, stride=4)),
        text=OwnTower(nn.Embedding(65, text_width), text_width),
        tokenize=letters,
        pixels=to_pixels,
        size=16,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )


def test_towers_of_ones_own(picture: Image.Image) -> None:
    backbone = _wrapped()
    image = backbone.image(backbone.preprocess(picture).unsqueeze(0))
    text = backbone.text(backbone.tokenize(["cat", "a dog"]))
    assert torch.cosine_similarity(image, text).shape == (2,)
    assert_close(backbone.text(backbone.tokenize(["cat"])), text[:1], atol=1e-5, rtol=1e-5)  # padding is not seen
    assert_close(backbone.image.projection_weight, torch.eye(16))
    assert backbone.image.norm(image) is image
    assert backbone.image.leading == 0
    assert not any(parameter.requires_grad for parameter in backbone.image.parameters())


def test_digest_of_towers_of_ones_own() -> None:
    before = _wrapped().digest
    assert before == _wrapped().digest
    changed = _wrapped()
    changed.text.into.weight[3, 3] += 1
    again = Backbone("mine", changed.image, changed.text, letters, to_pixels, 16)
    assert again.digest != before


def test_towers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="16 features and the text tower 8"):
        _wrapped(text_width=8)


# What can be wrong


def _unreachable(*_: object, **__: object) -> None:
    raise OSError("no route")


def _put_in_cache(cache: Path, directory: Path) -> None:
    repository = cache / "models--someone--tiny-clip"
    commit = "0" * 40
    shutil.copytree(directory, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


def _error(name: object) -> str:
    with pytest.raises(UserError) as caught:
        load_backbone(str(name))
    message = str(caught.value)
    assert "\n" not in message
    assert str(name) in message
    return message


@pytest.mark.parametrize("name", ["embeded", "Embedded", "embeddded"])
def test_misspelt_embedded(name: str) -> None:
    assert "Did you mean 'embedded'?" in _error(name)


def test_misspelt_directory(clip_directory: Path) -> None:
    assert f"Did you mean '{clip_directory}'?" in _error(clip_directory.with_name("tiny-clp"))


@pytest.mark.parametrize("name", ["", " ", "x" * 5000, "a/b/c", "/no/such/place", "./nothing", "~none/x", "a\0b"])
def test_names_that_lead_nowhere(name: str) -> None:
    with pytest.raises(UserError, match="no such directory"):
        load_backbone(name)


def test_an_adapter_instead_of_a_model(tmp_path: Path) -> None:
    for file in ("config.json", "adapter.json"):
        (tmp_path / file).write_text("{}")
    assert "this is the run folder of an adapter. Name the model that it was fitted to" in _error(tmp_path)


def test_a_file_instead_of_a_directory(clip_directory: Path) -> None:
    assert "Name the directory that holds it" in _error(clip_directory / "model.safetensors")


def test_hub_model_while_offline(offline: Path) -> None:
    message = _error("openai/clip-vit-base-patch16")
    assert "--model embedded" in message
    assert "local directory" in message


def test_directory_without_config(tmp_path: Path) -> None:
    assert "no config.json in this directory, which is empty" in _error(tmp_path)
    (tmp_path / "photo.png").touch()
    assert "which holds photo.png" in _error(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_broken_config(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert "its config.json" in _error(tmp_path)


@pytest.mark.parametrize("model_type", ["bert", "siglip2", None, ["clip"]])
def test_unknown_model_type(tmp_path: Path, model_type: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    message = _error(tmp_path)
    assert f"model_type is {model_type!r}; supported are clip, siglip, overtone-dual-encoder" in message
    assert "wrapped from Python" in message
    assert ("fixed-resolution" in message) == (model_type == "siglip2")


def test_pickled_weights_are_not_opened(clip_directory: Path) -> None:
    (clip_directory / "model.safetensors").unlink()
    (clip_directory / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    message = _error(clip_directory)
    assert "no model.safetensors" in message
    assert "never opened" in message


def test_truncated_weights(clip_directory: Path) -> None:
    path = clip_directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "weights cannot be read" in _error(clip_directory)


def test_missing_tensors(clip_directory: Path) -> None:
    weights = load_file(clip_directory / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, clip_directory / "model.safetensors", metadata={"format": "pt"})
    assert "1 tensors are missing from its weights, text_projection.weight" in _error(clip_directory)


def test_weights_of_another_shape(clip_directory: Path, edit_json: Callable[..., None]) -> None:
    edit_json(clip_directory / "config.json", projection_dim=20)
    assert "weights cannot be read" in _error(clip_directory)


def test_missing_shard(clip_directory: Path) -> None:
    (clip_directory / "model.safetensors").unlink()
    build_clip().save_pretrained(clip_directory, max_shard_size="40KB")
    sorted(clip_directory.glob("*.safetensors"))[0].unlink()
    assert "weights are incomplete, model-00001" in _error(clip_directory)


def test_missing_tokenizer(clip_directory: Path) -> None:
    (clip_directory / "tokenizer.json").unlink()
    assert "the tokenizer is missing" in _error(clip_directory)


def test_broken_tokenizer(clip_directory: Path) -> None:
    (clip_directory / "tokenizer.json").write_text("{}")
    assert "the tokenizer cannot be read" in _error(clip_directory)


def test_siglip_tokenizer_without_sentencepiece(
    siglip_directory: Path, edit_json: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_json(siglip_directory / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    monkeypatch.setattr(preparation, "is_sentencepiece_available", lambda: False)
    assert "pip install sentencepiece protobuf" in _error(siglip_directory)


def test_missing_preprocessor(clip_directory: Path) -> None:
    (clip_directory / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json is missing" in _error(clip_directory)


def test_broken_preprocessor(clip_directory: Path) -> None:
    (clip_directory / "preprocessor_config.json").write_text("{")
    assert "preprocessor_config.json cannot be read" in _error(clip_directory)


def test_preprocessor_of_another_size(clip_directory: Path, edit_json: Callable[..., None]) -> None:
    edit_json(clip_directory / "preprocessor_config.json", crop_size={"height": 48, "width": 48})
    assert f"pictures of 48 x 48 and its image encoder takes {SIZE} x {SIZE}" in _error(clip_directory)
