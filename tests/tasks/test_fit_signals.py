"""`fit` on every kind of signal, whole and with missing samples: what comes back, and in which unit."""

import functools
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from fit_runs import Run, metrics, small_fit, waves
from PIL import Image

from overtone.data.sounds import wav_bytes
from overtone.tasks.fit_samples import HELD_OUT


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what fits a small network, in a few steps unless told."""
    return functools.partial(small_fit, out=str(tmp_path / "run"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of waves, 20 x 24, three channels."""
    return waves(tmp_path / "waves.png")


def test_a_sound_comes_back_as_one(run: Run, tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(300) / 9)[:, None] * [1, -1]
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone, 8000))
    result = run(tmp_path / "a.wav", steps=300, scale=2)
    with wave.open(str(result.folder / "fit.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16000, 2, 600)
        levels = np.frombuffer(file.readframes(600), "<i2").reshape(-1, 2) / 32767
    # Samples lie in the middle of pairs of rendered ones
    np.testing.assert_allclose((levels[::2] + levels[1::2]) / 2, tone, atol=0.05)
    page = (result.folder / "report.html").read_text()
    assert "The whole, the first of 2 channels" in page
    assert "hertz" in page


@pytest.mark.parametrize("shape", [(50,), (12, 14), (6, 7, 8), (12, 14, 2), (6, 7, 8, 3)])
def test_arrays_come_back_in_their_shape_and_unit(shape: tuple[int, ...], run: Run, tmp_path: Path) -> None:
    values = 1000 + 50 * np.random.default_rng(0).random(shape)
    np.save(tmp_path / "a.npy", values)
    result = run(tmp_path / "a.npy")
    back = np.load(result.folder / "fit.npy")
    assert (back.shape, back.dtype) == (shape, np.float32)
    assert 995 < back.mean() < 1055
    assert result.network is not None
    assert len(result.report.views) == {1: 0, 2: 1, 3: 3}[result.network.config.dims]
    assert len(result.report.traces) == {1: 2, 2: 0, 3: 0}[result.network.config.dims]


def test_16_bit_pictures_come_back_with_16_bits(run: Run, tmp_path: Path) -> None:
    levels = np.linspace(20000, 20400, 400).reshape(20, 20).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    result = run(tmp_path / "a.png", steps=10)
    with Image.open(result.folder / "fit.png") as back:
        assert back.mode == "I;16"
        assert len(np.unique(np.asarray(back))) > 50


def test_scattered_points_are_asked_in_their_own_unit(run: Run, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform((100, -3), (300, 7), (400, 2))
    values = np.sin(x[:, 0] / 40) + 0.1 * x[:, 1]
    np.savez(tmp_path / "a.npz", positions=x, values=values)
    result = run(tmp_path / "a.npz", steps=400, scale=2)
    assert result.network is not None
    asked = result.network(torch.from_numpy(x))[:, 0].detach().numpy()
    assert np.abs(asked - values).mean() < 0.05
    with np.load(result.folder / "fit.npz") as back:
        assert back["positions"].shape == (1600, 2)
        assert (back["positions"].min(0) > x.min(0)).all()
        assert (
            np.abs(back["values"] - np.sin(back["positions"][:, 0] / 40) - 0.1 * back["positions"][:, 1]).mean() < 0.1
        )
    assert metrics(result)["psnr_held_out"] > 20
    assert metrics(result)["samples"] == 360


@pytest.mark.parametrize("d", [1, 3])
def test_points_along_one_axis_and_in_space(d: int, run: Run, tmp_path: Path) -> None:
    names, draw = "xyz"[:d], np.random.default_rng(0)
    rows = [",".join(map(str, row)) for row in draw.random((60, d + 1))]
    (tmp_path / "a.csv").write_text("\n".join([",".join([*names, "v"]), *rows]))
    result = run(tmp_path / "a.csv")
    assert len(result.report.traces) == (d == 1)
    assert result.report.views == []
    assert result.report.spectra is None


# What is missing


def test_missing_samples_are_filled_in_and_some_known_ones_held_out(run: Run, tmp_path: Path) -> None:
    y, x = np.mgrid[:24, :24] / 24
    whole = np.sin(5 * x + 3 * y)
    values = whole.copy()
    values[np.random.default_rng(0).random((24, 24)) < 0.3] = np.nan
    np.save(tmp_path / "a.npy", values)
    result = run(tmp_path / "a.npy", steps=400)
    known = int((~np.isnan(values)).sum())
    assert metrics(result)["samples"] == known - round(HELD_OUT * known)
    assert metrics(result)["psnr_held_out"] > 30
    back = np.load(result.folder / "fit.npy")
    assert np.abs(back - whole)[np.isnan(values)].mean() < 0.05
    assert any("are missing: the network fills them in" in note for note in result.report.notes)
    assert "Original; chequered where there is none" in (result.folder / "report.html").read_text()


def test_what_a_mask_covers_is_not_learned_and_told_apart(run: Run, picture: Path, tmp_path: Path) -> None:
    mask = np.zeros((20, 24), np.uint8)
    mask[8:11, 8:11] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    spoiled = np.asarray(Image.open(picture)).copy()
    spoiled[mask > 0] = 255
    Image.fromarray(spoiled).save(tmp_path / "spoiled.png")
    plain = run(picture, mask=str(tmp_path / "mask.png"), out=str(tmp_path / "plain"))
    other = run(tmp_path / "spoiled.png", mask=str(tmp_path / "mask.png"), out=str(tmp_path / "other"))
    assert (plain.folder / "model/model.safetensors").read_bytes() == (
        other.folder / "model/model.safetensors"
    ).read_bytes()
    assert metrics(plain)["psnr_under_mask"] > metrics(other)["psnr_under_mask"]
    assert any("under the mask" in note for note in plain.report.notes)
