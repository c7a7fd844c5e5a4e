"""Structure against style: what is exchanged, and scores of models that go by one of the two alone."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from overtone.data import ImageSet, Record
from overtone.farl import Adapter
from overtone.farl.methods.tokens import TokensFitted
from overtone.farl.methods.zero_shot import ZeroShot
from overtone.report import AdaptReport, write_classes_csv, write_metrics_json
from overtone.report.results import ClassRow
from overtone.tasks.reporting import build_report
from overtone.tasks.sensitivity import (
    MOST,
    choose,
    exchange,
    mean,
    measure,
    of_adapter,
    of_method,
    sensitivity,
    with_scores,
)

MODULE = sys.modules["overtone.tasks.sensitivity"]


def grey(count: int, side: int = 12) -> Tensor:
    """Pictures of so little contrast that no exchange leaves [0, 1], where values are cut."""
    return 0.5 + 0.01 * torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("side", [12, 13])
def test_what_is_exchanged(side: int) -> None:
    x, other = grey(2, side)[:1], grey(2, side)[1:]
    styled, structured = exchange(x, other)
    X, Y, S, T = (np.fft.fft2(t.double().numpy()) for t in (x, other, styled, structured))
    # float32 transforms of values near 1/2, whose spectra reach side^2 / 2
    np.testing.assert_allclose(np.abs(S), np.abs(Y), atol=1e-3)
    np.testing.assert_allclose(np.abs(T), np.abs(X), atol=1e-3)
    np.testing.assert_allclose(S / np.abs(S), X / np.abs(X), atol=2e-2)  # phases of weak bins are the least certain
    np.testing.assert_allclose(T / np.abs(T), Y / np.abs(Y), atol=2e-2)


def by(part: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a model that goes by one part of a picture's spectrum alone."""
    weight = torch.randn(4, 3, 12 * 7, generator=torch.Generator().manual_seed(1))
    weight[:, :, 0] = 0  # the mean, a hundred times the rest, would decide alone

    def predict(x: Tensor) -> Tensor:
        return (part(torch.fft.rfft2(x)).flatten(1) @ weight.flatten(1).T).softmax(-1)[None]

    return predict


def test_a_model_that_goes_by_amplitude_alone_and_one_that_goes_by_phase_alone() -> None:
    """The limit is float32's rounding, through logits of some tens."""
    pixels = grey(70)  # two batches
    amplitude, _ = measure(by(torch.abs), pixels)
    phase, _ = measure(by(lambda F: (F / F.abs()).real), pixels)
    assert amplitude.shape == phase.shape == (1, 2, 70)
    assert amplitude[0, 1].max() < 0.01 < 0.1 < amplitude[0, 0].mean()
    assert phase[0, 0].max() < 0.01 < 0.1 < phase[0, 1].mean()


def test_a_model_that_moves_all_the_way_and_one_that_does_not_move() -> None:
    pixels = grey(3)
    seen: list[Tensor] = []

    def restless(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.eye(3)[len(seen) - 1].expand(1, len(x), 3)

    moved, predicted = measure(restless, pixels)
    assert (moved == 1).all()
    assert predicted.tolist() == [[[0] * 3, [1] * 3, [2] * 3]]
    assert torch.equal(seen[0], pixels)
    still, _ = measure(lambda x: torch.full((2, len(x), 3), 1 / 3), pixels)
    assert (still == 0).all()
    with pytest.raises(ValueError, match="two pictures or more, got 1"):
        measure(restless, pixels[:1])


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 6), min_size=1, max_size=40), most=st.integers(1, 20))
def test_choosing(labels: list[int], most: int) -> None:
    images = ImageSet(tuple(Record(str(i), label) for i, label in enumerate(labels)), tuple("abcdefg"))
    chosen = choose(images, most)
    assert len(set(chosen)) == len(chosen) == min(most, len(labels))
    taken = [labels[i] for i in chosen]
    there = set(labels)
    assert len(set(taken)) == min(most, len(there))  # one of each class before any second
    firsts = taken[: len(there)]
    assert len(set(firsts)) == len(firsts)


def test_the_mean_and_its_interval() -> None:
    values = np.random.default_rng(0).beta(2, 5, 400)
    got = mean(values)
    assert got.value == pytest.approx(values.mean())
    half = 1.96 * values.std(ddof=1) / 20
    assert (got.low, got.high) == pytest.approx((got.value - half, got.value + half), abs=1e-5)
    edge = mean(np.array([1.0, 1.0, 0.9]))
    assert edge.high == 1


@pytest.fixture(scope="module")
def adapter(adapted: Path) -> Adapter:
    return Adapter.load(adapted)


@pytest.fixture
def images(drawings: dict[str, list[bytes]], adapter: Adapter) -> ImageSet:
    rows = [(style, file) for style in adapter.classes for file in drawings[style][10:14]]
    records = (Record(f"{i}", adapter.classes.index(style), None, file) for i, (style, file) in enumerate(rows))
    return ImageSet(tuple(records), adapter.classes)


def test_a_report_has_it_for_both_models_and_every_class(adapter: Adapter, images: ImageSet, tmp_path: Path) -> None:
    report = build_report("title", adapter, [(images, "seen")], [], [])
    found = report.sensitivity
    assert found is not None
    assert found.pictures == len(images) == 12
    for moved in (found.style, found.structure):
        for interval in (moved.zero_shot, moved.adapted):
            assert 0 <= interval.low <= interval.value <= interval.high <= 1
    style, structure = (np.array([getattr(row, name) for row in report.classes]) for name in ("style", "structure"))
    assert style.mean() == pytest.approx(found.style.adapted.value)  # four pictures of each class
    assert structure.mean() == pytest.approx(found.structure.adapted.value)
    assert [view.name for view in found.views] == [images.classes[i % 3] for i in (0, 3, 7, 11)]
    assert all(view.pictures[0].shape == (48, 48, 3) for view in found.views)
    with write_classes_csv(report.classes, tmp_path / "classes.csv").open() as file:
        assert [float(row["style"]) for row in csv.DictReader(file)] == pytest.approx(style, abs=1e-6)
    metrics = json.loads(write_metrics_json(report, tmp_path / "metrics.json").read_text())
    assert metrics["sensitivity"]["style"]["adapted"]["value"] == found.style.adapted.value


def test_against_the_pictures_one_by_one(adapter: Adapter, images: ImageSet) -> None:
    part = of_adapter(adapter, images, "seen")
    assert part is not None
    x = torch.stack([adapter.backbone.pixels(record.open()) for record in part.images.records])
    p = adapter.probabilities(adapter.encode_pixels(x[5:6]))
    styled, structured = exchange(x[5:6], x[4:5])
    for row, view in enumerate((styled, structured)):
        q = adapter.probabilities(adapter.encode_pixels(view))
        expected = (p - q).abs().sum().item() / 2
        assert part.moved[1, row, 5] == pytest.approx(expected, abs=1e-5)
        assert part.predicted[1, 1 + row, 5] == q.argmax()


def test_any_method_is_measured_alike(adapter: Adapter, images: ImageSet) -> None:
    """Through pictures of 8 bits, which round."""
    part = of_adapter(adapter, images, "seen")
    assert part is not None
    models = (ZeroShot().fit(adapter.backbone, images, None, (), 0, "cpu"), TokensFitted(adapter, {}))
    for row, model in enumerate(models):
        got = of_method(model, adapter.backbone, images, adapter.templates)
        assert_close([i.value for i in got], part.moved[row].mean(axis=1).tolist(), atol=0.05, rtol=0)


def test_many_pictures_cost_no_more_than_a_bounded_number(adapter: Adapter, images: ImageSet) -> None:
    many = images.select(list(range(12)) * 200)
    part = of_adapter(adapter, many.select(range(200)), "seen")
    assert part is not None
    assert len(part.images) == 50  # a quarter
    assert len(choose(many, MOST)) == MOST
    assert of_adapter(adapter, images.select([0]), "seen") is None
    assert sensitivity([]) is None


def test_a_class_without_a_measured_picture_has_no_score() -> None:
    rows = [ClassRow("cat", "seen", 3, 0.5, 0.6)]
    assert with_scores(rows, []) == rows
    assert isinstance(AdaptReport("a", "b").sensitivity, type(None))
