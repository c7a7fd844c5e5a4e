"""The benchmark of adapting: the published procedure and ours come to the same weights, and it runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import adapt_speed
from benchmarks.adapt_speed import TEMPLATE, TINY, build, pictures, published, tokenize
from torch.testing import assert_close

from overtone.farl import Adapter, FarlConfig
from overtone.farl.fitting import Source, average_streams
from overtone.farl.views import Pixels, Views
from overtone.training import TrainingConfig

METHOD = FarlConfig(tokens=3, width=16, heads=2)
TRAINING = TrainingConfig(epochs=3, batch_size=2)


@pytest.mark.parametrize("injection", ["by_modality", "by_depth", "plain"])
def test_the_published_procedure_comes_to_the_same_weights(
    injection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The augmentation is the same by the seed. Adam divides by gradients, so rounding grows where these are near zero:
    a hundredth of what training changed is allowed, and almost all weights stay far below.
    """
    monkeypatch.setenv("OVERTONE_CACHE", str(tmp_path))
    method, images = replace(METHOD, injection=injection), pictures(TINY, 6, 3)  # type: ignore[arg-type]
    backbone = build(TINY)
    ours = Adapter.fit(images, backbone, method, TRAINING, (TEMPLATE,)).model
    theirs = published(images, backbone, method, TRAINING, (TEMPLATE,))
    if ours.uses_streams:
        views = Views(Pixels(images.records, backbone.pixels), TRAINING.seed)
        average_streams(theirs, Source(backbone, views, True, "cpu", cached=False), len(images))
    start = published(images, backbone, method, replace(TRAINING, learning_rate=0.0), (TEMPLATE,)).state_dict()
    for name, weight in ours.state_dict().items():
        moved = (weight - start[name]).abs().max().item()
        assert moved > 0 or name.startswith("mean_")  # which stay zero without streams
        assert_close(weight, theirs.state_dict()[name], atol=0.01 * moved, rtol=0)


def test_prompts_are_of_77_tokens_and_differ() -> None:
    ids = tokenize(["a photo of a kind 1.", "a photo of a kind 2.", "word " * 100])
    assert ids.shape == (3, 77)
    assert (ids[:, 0] == adapt_speed.BOS).all()
    assert (ids[:, -1] == adapt_speed.EOT).all()
    assert not torch.equal(ids[0], ids[1])
    assert (ids[0] == adapt_speed.EOT).sum() == 77 - 8


def test_it_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERTONE_CACHE", "")  # so that it is put back after the benchmark sets it
    adapt_speed.main(["--tiny", "--epochs", "1", "--published-steps", "1", "--repeats", "1", "--classes"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 shots x 3 classes, 2 steps of 4; ")
    assert lines[4].startswith("| published (1 steps, scaled to 2) | ")
    assert lines[-1].startswith("Predicting: ")
    adapt_speed.main(["--tiny", "--peak", "5"])
    assert 0.1 < float(capsys.readouterr().out) < 20  # GiB
