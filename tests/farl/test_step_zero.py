"""At step 0 the Fourier path changes nothing, value for value; after one step it does."""

import pytest
import torch
from farl_samples import BACKBONES, model_of, states
from torch import Tensor

from overtone.farl import FarlModel, ImageStates, TextStates
from overtone.farl.injection import encode_with_tokens

every_backbone = pytest.mark.parametrize("name", BACKBONES)
readings = pytest.mark.parametrize("injection", ["by_modality", "by_depth"])
LABELS = torch.tensor([0, 1, 2, 0, 1])


@torch.no_grad()
def outputs(model: FarlModel, images: ImageStates, texts: TextStates, fourier: bool) -> list[Tensor]:
    streams = model.read(images) if fourier else None
    f_c, f_r = model.image_features(images, streams)
    w = model.text_features(texts, None if streams is None else tuple(s.mean(0, keepdim=True) for s in streams))
    return [f_c, f_r, w, model.logits(f_c, f_r, w, seen=True), model.logits(f_c, f_r, w, seen=False)]


@every_backbone
@readings
@pytest.mark.parametrize("width", [16, 512])
def test_step_zero_equals_the_model_without_fourier_path(name: str, injection: str, width: int) -> None:
    backbone = BACKBONES[name]()
    model = model_of(backbone, injection, width=width)
    images, texts = states(backbone, injection)
    streams = model.read(images)
    assert streams is not None
    assert min(s.abs().max() for s in streams) > 1e-4  # not equal because there is nothing in them
    pairs = zip(outputs(model, images, texts, True), outputs(model, images, texts, False), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@every_backbone
@readings
def test_one_step_on_the_fusion_makes_a_difference(name: str, injection: str) -> None:
    backbone = BACKBONES[name]()
    model = model_of(backbone, injection)
    images, texts = states(backbone, injection)
    optimizer = torch.optim.AdamW([*model.tokens.W_S.parameters(), *model.tokens.W_T.parameters()], lr=0.1)
    model(images, texts, LABELS)["loss"].backward()
    optimizer.step()
    with_path, without = outputs(model, images, texts, True), outputs(model, images, texts, False)
    changed = [not torch.equal(one, other) for one, other in zip(with_path, without, strict=True)]
    in_image = injection == "by_depth"  # by_modality gives the image encoder plain tokens
    assert changed == [in_image, in_image, True, True, True]


@every_backbone
def test_plain_has_no_fourier_path_at_all(name: str) -> None:
    """With the same seed, MMRL and FARL start from the same R and maps, hence from the same outputs."""
    backbone = BACKBONES[name]()
    plain, farl = model_of(backbone, "plain"), model_of(backbone, "by_modality")
    images, texts = states(backbone, "by_modality")
    assert not any("query" in key or "W_" in key for key in plain.state_dict())
    pairs = zip(outputs(plain, images, texts, True), outputs(farl, images, texts, True), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@every_backbone
def test_a_step_without_tokens_is_the_frozen_tower(name: str) -> None:
    """Tokens do matter: the features move away from the frozen ones, which `states` hold."""
    backbone = BACKBONES[name]()
    model = model_of(backbone, "plain")
    images, _ = states(backbone, "plain")
    with torch.no_grad():
        f_c, _ = model.image_features(images, None)
        ten_times = [10 * tokens for tokens in model.tokens.for_image(None)]
        more, _ = encode_with_tokens(backbone.image, images.tokens, None, ten_times)
    assert not torch.equal(f_c, images.frozen)
    assert not torch.equal(torch.nn.functional.normalize(more, dim=-1), f_c)
