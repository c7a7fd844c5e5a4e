"""Perceivers for pictures: published size, positions, symmetry, save and load, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
    PreTrainedModel,
)
from transformers import PerceiverConfig as TheirConfig

from overtone.models import ImagePerceiverConfig, PerceiverForDenseOutput, PerceiverForImageClassification
from overtone.nn import FourierFeatures

LITTLE = {"image_size": 8, "bands": 3, "latents": 6, "dim": 16, "blocks": 3, "cross_attends": 2, "self_attends": 1}
LITTLE |= {"heads": 4, "num_labels": 5}
CLASSES = [PerceiverForImageClassification, PerceiverForDenseOutput]
VARIANTS = [
    (PerceiverForImageClassification, {}),
    (PerceiverForImageClassification, {"head": "query", "positions": "learned", "embed_dim": 4}),
    (PerceiverForDenseOutput, {}),
    (PerceiverForDenseOutput, {"queries": "inputs", "positions": "learned", "cross_dim": 8, "cross_heads": 2}),
]


def little(kind: type = PerceiverForImageClassification, **changes) -> PreTrainedModel:
    """Return a network of weights large enough that all parts matter."""
    torch.manual_seed(0)
    model = kind(ImagePerceiverConfig(**LITTLE | changes)).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def pictures(*size: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *(size or (8, 8)), generator=torch.Generator().manual_seed(1))


def test_the_published_network_has_45_million_parameters_and_without_sharing_326() -> None:
    """Perceiver, arXiv 2103.03206v2, table 6 and section 4.1: 44.9 M shared, 326.2 M not."""
    with torch.device("meta"):
        model = PerceiverForImageClassification(ImagePerceiverConfig(num_labels=1000))
    whole = model.num_parameters()
    assert whole == pytest.approx(44.9e6, rel=0.005)
    cross, block = (sum(p.numel() for p in part.parameters()) for part in (model.encoder.first, model.encoder.block))
    assert whole + 6 * cross + 7 * block == pytest.approx(326.2e6, rel=0.005)


@pytest.mark.parametrize(("kind", "changes"), VARIANTS)
def test_every_parameter_learns(kind: type, changes: dict) -> None:
    model = little(kind, **changes).train()
    dense = kind is PerceiverForDenseOutput
    found = model(pictures(), torch.randint(0, 5, (2, 8, 8) if dense else (2,)))
    assert found.logits.shape == ((2, 5, 8, 8) if dense else (2, 5))
    found.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("kind", "changes"), VARIANTS)
@pytest.mark.parametrize("size", [(8, 8), (5, 13), (1, 2)])
def test_takes_any_resolution(kind: type, changes: dict, size: tuple[int, int]) -> None:
    logits = little(kind, **changes)(pictures(*size)).logits
    assert logits.shape == ((2, 5, *size) if kind is PerceiverForDenseOutput else (2, 5))
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(8, 8), (9, 20)])
def test_positions_are_the_projects_fourier_features_of_the_pictures_own_grid(size: tuple[int, int]) -> None:
    x = pictures(*size)
    inputs, positions = little(resolution=(8, 6)).inputs(x)
    expected = FourierFeatures.perceiver(2, 3, (8, 6)).on_grid(*size)
    assert_close(positions[0], expected, atol=1e-6, rtol=0)  # of phases computed in float32
    assert torch.equal(inputs[1, :, 3:], positions[0])
    assert torch.equal(inputs[1, :, :3], x[1].flatten(1).T)


def test_half_precision_does_not_reach_the_phases() -> None:
    """Frequencies in bfloat16 would be wrong by up to 1 in 256, a tenth of a turn and more."""
    low, full = (little(resolution=224, bands=64).to(dtype).inputs for dtype in (torch.bfloat16, torch.float32))
    (_, found), (_, expected) = low(pictures(30, 30).bfloat16()), full(pictures(30, 30))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


def test_learned_positions_are_their_table_and_between_its_entries_its_interpolation() -> None:
    inputs = little(positions="learned").inputs
    table = inputs.learned[0].flatten(1).T
    assert torch.equal(inputs(pictures())[1][0], table)
    finer = inputs(pictures(15, 15))[1][0].view(15, 15, -1)
    assert_close(finer[::2, ::2].flatten(0, 1), table, atol=1e-6, rtol=1e-6)  # every second one is an entry
    assert_close(finer[1, ::2], (finer[0, ::2] + finer[2, ::2]) / 2, atol=1e-6, rtol=1e-6)


def shuffled(order: Tensor) -> Callable[[nn.Module, tuple, tuple], tuple]:
    """Return a hook that puts pixels with their positions in another order."""
    return lambda module, given, made: (made[0][:, order], made[1])


@given(seed=st.integers(0, 10_000), head=st.sampled_from(["mean", "query"]), learned=st.booleans())
@settings(max_examples=20, deadline=None)
def test_pixels_that_move_with_their_positions_change_nothing(seed: int, head: str, learned: bool) -> None:
    model = little(head=head, positions="learned" if learned else "fourier").double()
    before = model(pictures().double()).logits
    order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
    model.inputs.register_forward_hook(shuffled(order))
    assert_close(model(pictures().double()).logits, before, atol=1e-11, rtol=0)  # sums in another order, in float64


def test_pixels_that_move_alone_change_the_answer() -> None:
    model, x = little(), pictures()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    moved = x.flatten(2)[:, :, order].view_as(x)
    assert (model(moved).logits - model(x).logits).abs().max() > 1e-2


@pytest.mark.parametrize("queries", ["positions", "inputs"])
def test_the_output_at_a_position_needs_no_other_query(queries: str) -> None:
    model, some = little(PerceiverForDenseOutput, queries=queries), [3, 17, 60]
    inputs, positions = model.inputs(pictures())
    asked = (inputs if queries == "inputs" else positions)[:, some]
    values = model.output(model.decoder(asked, model.encoder(inputs)))
    assert_close(values.transpose(1, 2), model(pictures()).logits.flatten(2)[:, :, some], atol=1e-5, rtol=0)


def test_dense_losses() -> None:
    model, x = little(PerceiverForDenseOutput), pictures()
    logits, classes = model(x).logits, torch.randint(0, 5, (2, 8, 8))
    by_hand = -logits.log_softmax(1).gather(1, classes[:, None])[:, 0]
    assert_close(model(x, classes).loss, by_hand.mean())
    classes[0] = 255
    assert_close(model(x, classes).loss, by_hand[1].mean())
    values = torch.randn(2, 5, 8, 8)
    assert_close(model(x, values).loss, (logits - values).square().mean())


@pytest.mark.parametrize(("kind", "changes"), VARIANTS)
def test_what_is_saved_comes_back(tmp_path: Path, kind: type, changes: dict) -> None:
    model, auto = little(kind, resolution=(8, 6), **changes), AutoModelForSemanticSegmentation
    auto = AutoModelForImageClassification if kind is PerceiverForImageClassification else auto
    model.save_pretrained(tmp_path)
    assert [file.suffix for file in tmp_path.iterdir() if "model" in file.name] == [".safetensors"]
    again = auto.from_pretrained(tmp_path).eval()
    assert type(again) is kind
    assert again.config.to_dict() == AutoConfig.from_pretrained(tmp_path).to_dict()
    for (name, weight), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(weight, other), name
    # The same weights lie otherwise in memory, which can change the order of sums.
    assert_close(again(pictures(9, 7)).logits, model(pictures(9, 7)).logits, atol=1e-5, rtol=0)


def test_transformers_own_perceiver_is_still_theirs() -> None:
    assert isinstance(AutoConfig.for_model("perceiver"), TheirConfig)
    assert isinstance(AutoConfig.for_model("overtone-perceiver"), ImagePerceiverConfig)


def test_what_is_looked_up_is_drawn_small_and_does_not_decay() -> None:
    model = PerceiverForImageClassification(
        ImagePerceiverConfig(**LITTLE | {"latents": 400, "dim": 64, "positions": "learned", "head": "query"})
    )
    assert model.no_weight_decay() == {"encoder.latents", "inputs.learned", "head.query"}
    for name in ("encoder.latents", "inputs.learned"):
        assert model.get_parameter(name).std().item() == pytest.approx(0.02, rel=0.1)  # 900 draws and more
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            expected = module.in_features**-0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.15), name  # 320 draws and more


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latents": 0}, "latents must be 1 or more, got 0"),
        ({"self_attends": 0}, "self_attends must be 1 or more, got 0"),
        ({"bands": 0}, "bands must be 1 or more, got 0"),
        ({"num_channels": 0}, "num_channels must be 1 or more, got 0"),
        ({"cross_dim": 0}, "cross_dim must be 1 or more, got 0"),
        ({"embed_dim": -1}, "embed_dim must be 0 or more, got -1"),
        ({"cross_attends": 4}, "cross_attends must be from 1 to blocks=3, got 4"),
        ({"cross_attends": 0}, "cross_attends must be from 1 to blocks=3, got 0"),
        ({"heads": 3}, "dim=16 and heads=3"),
        ({"cross_heads": 2}, "cross_dim must be a multiple of cross_heads=2, got 17"),
        ({"resolution": 1}, "at least 2, for one or both axes, got 1"),
        ({"resolution": (8, 8, 8)}, "at least 2, for one or both axes"),
        ({"positions": "sine"}, "positions must be one of fourier, learned, got 'sine'"),
        ({"head": "cls"}, "head must be one of mean, query, got 'cls'"),
        ({"queries": "none"}, "queries must be one of positions, inputs, got 'none'"),
    ],
)
def test_refuses_what_cannot_be(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ImagePerceiverConfig(**LITTLE | changes)
