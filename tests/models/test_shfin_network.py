"""SHFIN networks: sizes, save and load, schedule, and what they refuse."""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageClassification

from overtone.counting import multiply_adds
from overtone.models import ShfinConfig, ShfinForImageClassification, shfin
from overtone.models.shfin import MIXERS, Cells
from overtone.nn import SHFIN, AdaptiveSHFIN, DeepSHFIN

LITTLE = {"image_size": 16, "stem": 2, "dims": (8, 16), "depths": (1, 2), "patches": (4, 4), "kept": (4, 6), "rank": 2}


def little(**changes) -> ShfinForImageClassification:
    torch.manual_seed(0)
    return ShfinForImageClassification(ShfinConfig(**LITTLE | {"num_labels": 3} | changes)).eval()


@pytest.mark.parametrize(
    ("config", "parameters", "work"),
    [(ShfinConfig.small(), 10.3e6, 2.0e9), (ShfinConfig.tiny(), 3.8e6, None)],
)
def test_sizes_are_within_two_percent_of_the_seed_s(config: ShfinConfig, parameters: float, work: float | None) -> None:
    model = ShfinForImageClassification(config).eval()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.02)
    if work:
        size = (1, 3, config.image_size, config.image_size)
        assert multiply_adds(model, torch.zeros(size)).multiply_adds == pytest.approx(work, rel=0.02)


def test_the_fast_one_does_less_than_half_of_small_s_work_with_as_many_parameters() -> None:
    x = torch.zeros(1, 3, 224, 224)
    small, fast = (
        multiply_adds(ShfinForImageClassification(config), x) for config in (ShfinConfig.small(), ShfinConfig.fast())
    )
    assert fast.multiply_adds < 0.45 * small.multiply_adds
    assert fast.parameters == pytest.approx(small.parameters, rel=0.01)


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_trains_in_the_same_network(mixer) -> None:
    model = little(mixer=mixer, dims=(32, 64), norm="pre").train()
    model.set_progress(0.1)
    found = model(torch.randn(2, 3, 16, 16), torch.tensor([0, 2]))
    found.loss.backward()
    assert found.logits.shape == (2, 3)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_is_saved_comes_back(tmp_path: Path, norm) -> None:
    model, x = little(norm=norm, shift=True, deep=(0, 1)), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, SHFIN):
                module.scores.normal_()
    model.save_pretrained(tmp_path)
    assert [file.suffix for file in tmp_path.iterdir() if "model" in file.name] == [".safetensors"]
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert isinstance(AutoConfig.from_pretrained(tmp_path), ShfinConfig)
    assert torch.equal(again(x).logits, model(x).logits)


@pytest.mark.parametrize("changes", [{}, {"deep": (1, 0)}, {"shift": True}, {"norm": "post"}, {"mixer": "attention"}])
def test_patch_by_patch_or_map_by_map_the_features_are_the_same(monkeypatch: pytest.MonkeyPatch, changes) -> None:
    model, x = little(**changes), torch.randn(2, 3, 16, 16)
    by_patch = model(x).logits.detach()
    monkeypatch.setattr(shfin, "CACHED", 1)
    with torch.no_grad():
        one_at_a_time = model(x).logits
    for stage in model.shfin.stages:
        stage.patch = None
    by_map = model(x).logits.detach()
    torch.testing.assert_close(one_at_a_time, by_patch)
    torch.testing.assert_close(by_map, by_patch)


@pytest.mark.parametrize("mixer", ["shfin", "conv", "attention", "afno", "fnet", "gfnet"])
@pytest.mark.parametrize("size", [(16, 16), (24, 20), (17, 13)])
def test_takes_any_resolution(mixer, size: tuple[int, int]) -> None:
    model = little(mixer=mixer, dims=(32, 64))
    assert model(torch.randn(1, 3, *size)).logits.isfinite().all()


# Content-adaptive K


def learned(model: ShfinForImageClassification, steps: int = 40) -> list[float]:
    """Train on eight pictures, set the progress before each step as the schedule asks, and return the losses."""
    x, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 3
    optimiser, losses = torch.optim.AdamW(model.train().parameters(), 3e-3), []
    for step in range(steps):
        model.set_progress(step / steps)
        optimiser.zero_grad()
        loss = model(x, labels).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_a_budget_is_a_share_of_each_stage_s_frequencies() -> None:
    layers = [m for m in little(budget=0.5, deep=(0, 1)).modules() if isinstance(m, SHFIN)]
    assert [type(layer) for layer in layers] == [AdaptiveSHFIN, DeepSHFIN, AdaptiveSHFIN]
    assert [layer.budget for layer in layers if isinstance(layer, AdaptiveSHFIN)] == [2.0, 3.0]
    assert [m.budget for m in little(budget=0.1).modules() if isinstance(m, AdaptiveSHFIN)] == [1.0] * 3
    assert not any(isinstance(m, AdaptiveSHFIN) for m in little(budget=1.0).modules())


def test_under_a_budget_it_learns_and_comes_back_as_it_was(tmp_path: Path) -> None:
    model, x = little(budget=0.5), torch.randn(2, 3, 16, 16)
    losses = learned(model)
    assert losses[-1] < 0.5 * losses[0]  # eight pictures are soon known by heart
    shares = [m.share for m in model.eval().modules() if isinstance(m, AdaptiveSHFIN)]
    assert all(0 < share < 1 for share in shares)
    assert len(model.chosen_frequencies()) == len(shares) == 3
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert again.config.budget == 0.5
    assert [m.share for m in again.modules() if isinstance(m, AdaptiveSHFIN)] == shares
    assert torch.equal(again(x).logits, model(x).logits)


def test_a_budget_anneals_the_same_layers() -> None:
    adaptive, plain = little(budget=0.5), little()
    for model in (adaptive, plain):
        model.set_progress(0.15)
    assert adaptive.no_weight_decay() == plain.no_weight_decay()
    for one, other in zip(filter(is_shfin, adaptive.modules()), filter(is_shfin, plain.modules()), strict=True):
        assert torch.equal(one.noise, other.noise)


def test_cells_are_a_strided_convolution() -> None:
    cells = Cells(3, 5, 4).double()
    weight = cells.reduce.weight.view(5, 4, 4, 3).permute(0, 3, 1, 2)
    x = torch.randn(2, 8, 12, 3, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), weight, cells.reduce.bias, stride=4)
    torch.testing.assert_close(cells(x), expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize(("stem", "size"), [(1, (9, 6)), (2, (17, 13)), (4, (17, 13)), (8, (33, 30))])
def test_overlapping_cells_make_maps_of_the_same_size_and_see_beyond_their_cells(stem: int, size) -> None:
    sizes = {"stem": stem, "patches": (2, 2), "kept": (2, 2), "image_size": 64}
    linear, overlapping = little(**sizes), little(**sizes, cells="overlapping")
    x = torch.randn(2, 3, *size)
    assert overlapping.shfin(x).shape == linear.shfin(x).shape
    one = overlapping.shfin.stem(x[:1].permute(0, 2, 3, 1))
    torch.testing.assert_close(overlapping.shfin.stem(x.permute(0, 2, 3, 1))[:1], one)  # a picture is itself in a batch
    nudged = x[:1].clone()
    nudged[..., stem - 1, stem - 1] += 1  # the last pixel of the first cell: the second sees it where cells overlap
    change = overlapping.shfin.stem(nudged.permute(0, 2, 3, 1)) - one
    assert change[0, 1, 1].abs().max() > 0


def test_an_overlapping_network_comes_back_as_it_was(tmp_path: Path) -> None:
    model, x = little(cells="overlapping"), torch.randn(2, 3, 16, 16)
    model.save_pretrained(tmp_path)
    assert torch.equal(AutoModelForImageClassification.from_pretrained(tmp_path).eval()(x).logits, model(x).logits)


def test_progress_sets_the_same_noise_whenever_it_is_the_same() -> None:
    first, second = little(), little()
    for model in (first, second):
        model.set_progress(0.15, seed=4)
    noise = [m.noise for m in first.modules() if isinstance(m, SHFIN)]
    assert all(torch.equal(a, b.noise) for a, b in zip(noise, filter(is_shfin, second.modules()), strict=True))
    assert not torch.equal(noise[1], noise[2])
    second.set_progress(0.15, seed=5)
    assert not torch.equal(noise[0], next(filter(is_shfin, second.modules())).noise)
    second.set_progress(1.0)
    assert all((m.noise == 0).all() for m in filter(is_shfin, second.modules()))


def is_shfin(module: torch.nn.Module) -> bool:
    return isinstance(module, SHFIN)


def test_chosen_frequencies_are_drawn_with_their_twins() -> None:
    maps = little().chosen_frequencies()
    assert len(maps) == 3
    expected = np.zeros((4, 4))
    expected[2, 2] = expected[1, 2] = expected[3, 2] = expected[2, 1] = expected[2, 3] = 1  # 0, and 1 along each axis
    assert (maps[0][1] >= expected).all()
    assert maps[0][1].sum() == 7  # zero frequency, and three pairs


def test_scores_and_gates_are_not_to_decay() -> None:
    names = little().no_weight_decay()
    assert {name.rsplit(".", 1)[-1] for name in names} == {"scores", "theta"}
    assert len(names) == 6


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patches": (16, 4)}, "stage 1 has a map of 8 x 8, got a patch of 16"),
        ({"depths": (1,)}, "each stage needs one of each"),
        ({"deep": (1,)}, "each stage needs one of each"),
        ({"mixer": "fft"}, "mixer must be one of shfin"),
        ({"cells": "round"}, "cells must be linear or overlapping, got 'round'"),
        ({"cells": "overlapping", "stem": 3}, "stem must be 1, 2, 4 or 8 with overlapping cells, got 3"),
        ({"budget": 0}, "budget must be above 0 and at most 1, got 0"),
        ({"budget": 1.5}, "budget must be above 0 and at most 1, got 1.5"),
        ({"kept": (11, 4)}, "kept must be from 1 to 10"),
        ({"kept": (2.5, 4)}, "kept must be a whole number, got 2.5"),
        ({"stem": 0}, "stem must be 1 or more, got 0"),
        ({"deep": (2, 0)}, r"deep must be from 0 to the blocks of each stage, \[1, 2\], got \[2, 0\]"),
    ],
)
def test_refuses_what_cannot_be(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        little(**changes)


PICTURES = torch.zeros(2, 3, 16, 16)


@pytest.mark.parametrize(
    ("pictures", "labels", "said"),
    [
        (PICTURES[0], None, r"pixel_values must be floating-point \(batch, 3, height, width\), got .* \(3, 16, 16\)"),
        (PICTURES[:, :1], None, r"got torch.float32 \(2, 1, 16, 16\)"),
        (PICTURES.byte(), None, r"got torch.uint8"),
        (PICTURES.where(PICTURES > 0, torch.nan), None, "pixel_values must be finite, got NaN or infinity"),
        (PICTURES, torch.tensor([0, 3]), "labels must be from 0 to 2, got 0 to 3"),
        (PICTURES, torch.tensor([-100, 1]), "labels must be from 0 to 2, got -100 to 1"),
    ],
)
def test_refuses_pictures_and_labels_that_cannot_be(pictures, labels, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        little()(pictures, labels)


@torch.no_grad()
def test_no_pictures_have_no_logits() -> None:
    assert little()(PICTURES[:0]).logits.shape == (0, 3)


def test_read_in_half_precision_it_keeps_the_same_frequencies(tmp_path: Path) -> None:
    model = little()
    with torch.no_grad():
        for layer in filter(is_shfin, model.modules()):
            layer.scores.copy_(1 + 1e-4 * torch.arange(len(layer.scores)))  # ties, once rounded
    model.save_pretrained(tmp_path)
    half = AutoModelForImageClassification.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    for (name, before), (_, after) in zip(model.chosen_frequencies(), half.chosen_frequencies(), strict=True):
        np.testing.assert_array_equal(after, before, name)
    assert half.classifier.weight.dtype == torch.bfloat16
    # bf16 has 8 bits; a few layers of it
    torch.testing.assert_close(half(PICTURES.bfloat16()).logits.float(), model(PICTURES).logits, atol=0.05, rtol=0)


EVERY_KIND = [{}, {"deep": (1, 1)}, {"budget": 0.5}, {"shift": True, "norm": "post"}, {"cells": "overlapping"}]


@pytest.mark.parametrize("changes", EVERY_KIND)
def test_exports_with_any_batch(changes) -> None:
    model, batch = little(**changes), torch.export.Dim("batch")
    exported = torch.export.export(model, (PICTURES,), dynamic_shapes=({0: batch},)).module()
    more = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(exported(more).logits, model(more).logits)


@pytest.mark.parametrize("changes", [{}, EVERY_KIND[3], {"deep": (1, 0), "shift": True, "cells": "overlapping"}])
def test_onnx_agrees(tmp_path: Path, changes) -> None:
    model, batch = little(**changes), torch.export.Dim("batch")
    file = tmp_path / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            model, (PICTURES,), file, dynamo=True, verbose=False, dynamic_shapes={"pixel_values": {0: batch}}
        )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    x = torch.randn(5, 3, 16, 16)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, model(x).logits.detach().numpy(), atol=1e-5)  # the bound
