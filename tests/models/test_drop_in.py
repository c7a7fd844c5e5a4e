"""Swapping mixers into models of transformers: what changes, what stays, and what the report says of both."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import (
    BertConfig,
    BertModel,
    ConvNextConfig,
    ConvNextForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTForMaskedImageModeling,
    ViTModel,
)

from overtone.counting import multiply_adds
from overtone.models.drop_in import OverMap, OverTokens, load_swapped, swap
from overtone.models.shfin import MIXERS, anneal, chosen_frequencies
from overtone.nn.mixers import Convolution
from overtone.nn.shfin import SHFIN

SIZE = 64
VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "patch_size": 8}


def vit(**changes: object) -> ViTForImageClassification:
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(**VIT | {"image_size": SIZE, "num_labels": 5} | changes)).eval()


def convnext() -> ConvNextForImageClassification:
    torch.manual_seed(0)
    # Layers scaled by 1 and not by the usual 1e-6: what a layer does shows in the logits.
    config = ConvNextConfig(
        num_stages=2, hidden_sizes=(32, 48), depths=(1, 2), image_size=SIZE, num_labels=5, layer_scale_init_value=1.0
    )
    return ConvNextForImageClassification(config).eval()


def resnet(layer_type: str = "bottleneck") -> ResNetForImageClassification:
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=32, hidden_sizes=(64, 128), depths=(1, 2), layer_type=layer_type, num_labels=5)
    return ResNetForImageClassification(config).eval()


MODELS: dict[str, Callable[[], PreTrainedModel]] = {"vit": vit, "convnext": convnext, "resnet": resnet}
every_model = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)


def pictures(batch: int = 2, height: int = SIZE, width: int = SIZE) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


# What is swapped and what stays


def test_vit() -> None:
    swapped = swap(model := vit())
    names = ["vit.layers.0.attention", "vit.layers.1.attention"]
    assert [change.name for change in swapped.changes] == names
    assert swapped.stays == {"vit.embeddings.patch_embeddings.projection": "stride 8"}
    for name in names:
        mixer = model.get_submodule(name).mixer
        assert (mixer.dim, mixer.patch, mixer.kept) == (32, (8, 8), 16)


def test_convnext() -> None:
    swapped = swap(model := convnext())
    layers = [(0, 0), (1, 0), (1, 1)]
    assert [c.name for c in swapped.changes] == [f"convnext.encoder.stages.{i}.layers.{j}.dwconv" for i, j in layers]
    assert swapped.stays == {
        "convnext.embeddings.patch_embeddings": "stride 4",
        "convnext.encoder.stages.1.downsampling_layer.1": "stride 2",
    }
    mixers = [module for module in model.modules() if isinstance(module, SHFIN)]
    assert [(m.dim, m.patch) for m in mixers] == [(32, (8, 8)), (48, (8, 8)), (48, (8, 8))]


def test_resnet() -> None:
    assert [c.name for c in swap(resnet(), kept=4).changes] == [
        "resnet.encoder.stages.0.layers.0.layer.1.convolution",
        "resnet.encoder.stages.1.layers.1.layer.1.convolution",
    ]
    swapped = swap(resnet("basic"), kept=4)
    assert [c.name.removeprefix("resnet.encoder.stages.") for c in swapped.changes] == [
        "0.layers.0.layer.1.convolution",
        "1.layers.0.layer.1.convolution",
        "1.layers.1.layer.0.convolution",
        "1.layers.1.layer.1.convolution",
    ]
    assert swapped.stays == {
        "resnet.embedder.embedder.convolution": "stride 2",
        "resnet.encoder.stages.0.layers.0.layer.0.convolution": "32 to 64 channels",
        "resnet.encoder.stages.1.layers.0.layer.0.convolution": "stride 2",
    }
    assert [c.grid for c in swapped.changes] == [(56, 56), (28, 28), (28, 28), (28, 28)]  # of 224 pixels


@pytest.mark.parametrize(("size", "sides"), [(64, (8, 8)), (112, (14, 14)), (120, (10, 8)), (224, (14, 14))])
def test_patches_cover_a_map_evenly(size: int, sides: tuple[int, int]) -> None:
    """Maps of a quarter and an eighth: 30 rows are three patches of 10, where patches of 14 would leave 12 empty."""
    swap(model := resnet(), kept=4, image_size=size)
    mixers = [module for module in model.modules() if isinstance(module, SHFIN)]
    assert [m.patch for m in mixers] == [(side, side) for side in sides]


@every_model
def test_everything_else_stays(build: Callable[[], PreTrainedModel]) -> None:
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gone = [change.name for change in swap(model, kept=4).changes]
    after = model.state_dict()
    rest = {name for name in before if not name.startswith(tuple(gone))}
    assert rest == {name for name in after if not name.startswith(tuple(gone))}
    assert all(torch.equal(after[name], before[name]) for name in rest)


def test_other_vits() -> None:
    config = ViTConfig(**VIT, image_size=SIZE, encoder_stride=8)
    assert len(swap(ViTModel(config)).changes) == 2
    assert len(swap(ViTForMaskedImageModeling(config)).changes) == 2
    oblong = ViTModel(ViTConfig(**VIT, image_size=(32, 64)))
    assert {change.grid for change in swap(oblong).changes} == {(4, 8)}
    assert oblong(pictures(height=32)).last_hidden_state.shape == (2, 33, 32)


# The report


@every_model
def test_counts_are_those_of_the_whole_models(build: Callable[[], PreTrainedModel]) -> None:
    model = build()
    size = 224 if build is resnet else SIZE
    before = multiply_adds(model, pictures(1, size, size))
    swapped = swap(model, kept=4)
    assert (swapped.before, swapped.after) == (before, multiply_adds(model, pictures(1, size, size)))
    for count in ("parameters", "multiply_adds"):
        differences = [after - before for before, after in (getattr(change, count) for change in swapped.changes)]
        assert sum(differences) == getattr(swapped.after, count) - getattr(swapped.before, count)


def test_the_attention_that_goes_is_four_projections_and_two_products() -> None:
    change = swap(vit()).changes[0]
    tokens, dim = 65, 32
    assert change.parameters[0] == 4 * (dim * dim + dim)
    assert change.multiply_adds[0] == 4 * tokens * dim * dim + 2 * tokens * tokens * dim


def test_the_report_in_print() -> None:
    lines = str(swap(convnext())).splitlines()
    assert lines[0] == "ConvNextForImageClassification: 3 layers, Conv2d -> SHFIN"
    assert " ".join(lines[1].split()) == (
        "convnext.encoder.stages.0.layers.0.dwconv parameters 1.60 K -> 1.35 K, multiply-adds 401 K -> 763 K"
    )
    assert " ".join(lines[4].split()) == "convnext.embeddings.patch_embeddings stays (stride 4)"
    assert lines[-1].startswith("in all: parameters ")


# What a swapped model computes


def test_convolutions_with_the_old_weights_give_the_old_model() -> None:
    """So axes and channels come in and go out as they should."""
    model, x = convnext(), pictures()
    expected = model(x).logits
    old = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (7, 7)]
    swap(model, "conv")
    assert not torch.allclose(model(x).logits, expected, atol=1e-3)
    new = [module for module in model.modules() if isinstance(module, Convolution)]
    for mixer, convolution in zip(new, old, strict=True):
        mixer.depthwise.load_state_dict(convolution.state_dict())
    assert_close(model(x).logits, expected, atol=1e-5, rtol=1e-5)  # the same sums, perhaps in another order


def test_patch_tokens_are_laid_out_as_their_patches() -> None:
    class Roll(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.roll(1, dims=1)

    tokens = torch.randn(2, 1 + 3 * 4, 6)
    mixed, weights = OverTokens(Roll(), (3, 4))(tokens)
    cls, patches = tokens[:, :1], tokens[:, 1:]
    rolled = torch.cat([patches[:, 8:], patches[:, :8]], dim=1)  # the last row of 4 comes first
    assert torch.equal(mixed[:, 1:], rolled)
    assert_close(mixed[:, :1], (patches + rolled).mean(1, keepdim=True))
    assert weights is None
    assert not torch.allclose(mixed[:, :1], cls)


def test_the_class_token_sees_the_patches_without_frequency_zero() -> None:
    swap(model := vit())
    for module in model.modules():
        if isinstance(module, SHFIN):
            module.scores.data[0] = -1.0  # of frequency zero
            assert (module.chosen != 0).any(-1).all()
    first, second = model(pictures()).logits
    assert (first - second).abs().max() > 1e-3


def test_a_map_goes_through_with_its_channels_first() -> None:
    x = torch.randn(2, 6, 5, 4)
    assert torch.equal(OverMap(nn.Identity())(x), x)


@every_model
@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_trains_in_every_model(build: Callable[[], PreTrainedModel], mixer: str) -> None:
    model = build().train()
    swapped = swap(model, mixer, kept=4, image_size=SIZE)  # type: ignore[arg-type]
    out = model(pixel_values=pictures(), labels=torch.tensor([0, 3]), output_hidden_states=True)
    assert out.logits.shape == (2, 5)
    out.loss.backward()
    for change in swapped.changes:
        module = model.get_submodule(change.name)
        assert module.training
        gradients = [parameter.grad for parameter in module.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        assert mixer == "fnet" or any(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_vit_asked_for_attention_weights_has_none(attention: str) -> None:
    model = vit(attn_implementation=attention)
    swap(model)
    assert not model(pictures(), output_attentions=True).attentions


def test_a_vit_at_another_resolution() -> None:
    swap(model := vit())
    assert model(pictures(height=96, width=96), interpolate_pos_encoding=True).logits.shape == (2, 5)
    for height, width, there in ((64, 96, "8 x 12"), (72, 128, "9 x 16")):  # as many patches as 12 x 12
        with pytest.raises(ValueError, match=f"{there} patches are not in proportion to the model's 8 x 8"):
            model(pictures(height=height, width=width), interpolate_pos_encoding=True)
    with pytest.raises(ValueError, match="96 patches are no grid in proportion to the model's 8 x 8"):
        OverTokens(nn.Identity(), (8, 8))(torch.zeros(1, 97, 3))


def test_a_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="attention_mask must be None"):
        OverTokens(nn.Identity(), (2, 2))(torch.zeros(1, 5, 3), torch.zeros(1, 1, 5, 5))


@every_model
def test_precision_and_mode_are_the_models(build: Callable[[], PreTrainedModel]) -> None:
    model = build().to(torch.bfloat16)
    swap(model, kept=4, image_size=SIZE)
    precise = {name for name, parameter in model.named_parameters() if parameter.dtype != torch.bfloat16}
    assert precise == {name for name, _ in model.named_parameters() if name.endswith((".scores", ".theta"))}
    assert not any(module.training for module in model.modules())
    assert model(pictures().bfloat16()).logits.dtype == torch.bfloat16


@every_model
def test_saved_weights_go_into_a_model_swapped_alike(build: Callable[[], PreTrainedModel]) -> None:
    model, other, x = build(), build(), pictures()
    swap(model, kept=4, image_size=SIZE)
    swap(other, kept=4, image_size=SIZE)
    assert not torch.equal(model(x).logits, other(x).logits)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(x).logits, other(x).logits)


@every_model
def test_what_is_saved_comes_back(build: Callable[[], PreTrainedModel], tmp_path: Path) -> None:
    model, x = build(), pictures()
    swap(model, kept=4, image_size=SIZE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".scores"):
                parameter.normal_()
    model.save_pretrained(tmp_path)
    again = load_swapped(tmp_path)
    assert type(again) is type(model)
    assert torch.equal(again(x).logits, model(x).logits)


def test_what_was_not_swapped_is_not_read_as_such(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not swapped: read it with from_pretrained"):
        load_swapped(tmp_path)


@every_model
def test_annealing_and_frequencies(build: Callable[[], PreTrainedModel]) -> None:
    swapped = swap(model := build(), kept=4, image_size=SIZE)
    anneal(model, 0.15, seed=3)
    mixers = [module for module in model.modules() if isinstance(module, SHFIN)]
    assert all(mixer.tau == 0.65 and mixer.noise.any() for mixer in mixers)
    chosen = chosen_frequencies(model)
    assert [name for name, _ in chosen] == [f"{change.name}.mixer" for change in swapped.changes]
    assert all(chosen_map.any() for _, chosen_map in chosen)


@every_model
def test_export(build: Callable[[], PreTrainedModel]) -> None:
    model, x = build(), pictures()
    swap(model, kept=4, image_size=SIZE)
    exported = torch.export.export(model, (x,)).module()
    assert_close(exported(x).logits, model(x).logits)


# Mistakes


def test_a_model_of_another_kind() -> None:
    with pytest.raises(ValueError, match=r"ViT, ConvNeXT or ResNet, got BertModel \(bert\)"):
        swap(BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)))


def test_an_unknown_mixer() -> None:
    with pytest.raises(ValueError, match=r"mixer must be one of shfin, .* got 'shfln'. Did you mean 'shfin'\?"):
        swap(vit(), "shfln")  # type: ignore[arg-type]


@every_model
def test_twice(build: Callable[[], PreTrainedModel]) -> None:
    swap(model := build(), kept=4)
    with pytest.raises(ValueError, match="has none left"):
        swap(model, kept=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # A 4 x 4 patch has 4 frequencies that are their own twins, and 12 that are twins of one another.
        (
            {"kept": 11, "image_size": 32},
            r"stages\.1\.layers\.1\.layer\.1\.convolution, on a map of 4 x 4: kept must be from 1 to 10",
        ),
        ({"kept": 4, "patch": 9}, r"stages\.1.*convolution, on a map of 8 x 8: patch must be at most 8, got 9"),
        ({"kept": 4, "rank": 0}, r"stages\.0.*convolution, on a map of 16 x 16: .*rank"),
    ],
)
def test_a_layer_that_does_not_fit_is_named_and_nothing_is_changed(settings: dict[str, int], message: str) -> None:
    model = resnet()
    before = str(model)
    with pytest.raises(ValueError, match=message):
        swap(model, **{"image_size": SIZE} | settings)  # type: ignore[arg-type]
    assert str(model) == before
