"""`fit` as a function and as a command: from a file to a run folder, and all that can go wrong on the way."""

import functools
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fit_runs import Run, metrics, small_fit, waves
from PIL import Image

from overtone.data.signals import Signal
from overtone.errors import UserError
from overtone.models import CoordinateNetwork
from overtone.tasks import FitConfig, FitResult, fit_files, fit_training
from overtone.tasks.fit_samples import psnr

WHOLE = {"README.md", "metrics.json", "model", "report.html", "settings.json"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what fits a small network, in a few steps unless told."""
    return functools.partial(small_fit, out=str(tmp_path / "run"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of waves, 20 x 24, three channels."""
    return waves(tmp_path / "waves.png")


def left(result: FitResult) -> set[str]:
    return {path.name for path in result.folder.iterdir()}


# The whole way


def test_a_picture_becomes_a_network_that_holds_it(run: Run, picture: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = run(picture, steps=400, scale=2.5)
    assert capfd.readouterr().out == ""
    assert left(result) == WHOLE | {"fit.png"}
    again = CoordinateNetwork.from_pretrained(result.folder / "model")
    truth = np.asarray(Image.open(picture)) / 255
    held = psnr(float(np.square(again.render(20, 24).numpy() - truth).mean()))
    assert held > 35  # a hundredth of the range and a half
    assert metrics(result)["psnr"] == pytest.approx(held, abs=0.01)
    rendered = np.asarray(Image.open(result.folder / "fit.png"))
    assert rendered.shape == (50, 60, 3)
    np.testing.assert_array_equal(rendered, (255 * again.render(50, 60).numpy()).round())
    assert json.loads((result.folder / "settings.json").read_text())["signal"] == str(picture)
    assert 'CoordinateNetwork.from_pretrained("model")' in (result.folder / "README.md").read_text()
    page = (result.folder / "report.html").read_text()
    for part in ("Signal and fit", "In detail", "Spectra", "predicted by the kernel", "Score by loo", f"{held:.1f} dB"):
        assert part in page
    figures = metrics(result)
    assert len(figures["bandwidth"]["scores"]) == 9
    assert figures["learning"]["observed"][-1] == [400, pytest.approx(held, abs=0.01)]
    assert len(figures["learning"]["predicted"]) == len(figures["learning"]["observed"])


def test_a_seed_repeats_a_run_bit_for_bit_and_another_does_not(run: Run, picture: Path, tmp_path: Path) -> None:
    one, two, other = (
        run(picture, out=str(tmp_path / name), seed=seed, steps=10) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    for name in ("model/model.safetensors", "metrics.json", "fit.png"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
    assert (one.folder / "model/model.safetensors").read_bytes() != (
        other.folder / "model/model.safetensors"
    ).read_bytes()
    assert metrics(one)["bandwidth"] == metrics(other)["bandwidth"]


@pytest.mark.parametrize("encoding", ["positional", "basic", "none"])
def test_other_encodings_learn_without_a_prediction(encoding: str, run: Run, picture: Path) -> None:
    result = run(picture, encoding=encoding)
    assert result.network is not None
    assert result.network.config.encoding == encoding
    assert "bandwidth" in metrics(result)
    assert metrics(result)["learning"]["predicted"] == []
    assert "Score by" not in (result.folder / "report.html").read_text()


def test_the_command(picture: Path) -> None:
    command = [Path(sys.executable).parent / "overtone", "fit", "waves.png", "--steps", "20", "--width", "32"]
    done = subprocess.run(
        [*command, "--scale", "2", "--device", "cpu"], cwd=picture.parent, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith("Fit of waves.png\nPSNR: ")
    assert done.stdout.endswith("\nFit      runs/waves-1\nReport   runs/waves-1/report.html\n")
    with Image.open(picture.parent / "runs/waves-1/fit.png") as rendered:
        assert rendered.size == (48, 40)


# The comparison


def test_encodings_side_by_side_in_the_published_order(run: Run, tmp_path: Path) -> None:
    """On a small picture with an edge and some detail; real ones are in benchmarks/fit.py."""
    y, x = np.mgrid[:48, :48] / 48
    levels = 0.5 + 0.25 * np.sin(40 * x * y + 9 * x) + 0.2 * (np.hypot(x - 0.5, y - 0.5) < 0.3)
    Image.fromarray((255 * levels).clip(0, 255).astype(np.uint8)).save(tmp_path / "a.png")
    result = run(tmp_path / "a.png", encoding="compare", width=128, steps=150)
    assert result.network is None
    assert left(result) == {"metrics.json", "report.html", "settings.json"}
    rows = {row["encoding"]: row for row in metrics(result)["encodings"]}
    assert list(rows) == ["none", "basic", "positional", "gaussian"]
    assert rows["none"]["test"] < rows["basic"]["test"] < min(rows["positional"]["test"], rows["gaussian"]["test"])
    page = (result.folder / "report.html").read_text()
    for row in rows.values():
        assert f"{row['test']:.2f}" in page
    assert page.count("<img") == 8
    assert result.report.summary.startswith("On the samples between, ")


def test_too_little_to_compare(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3.0))
    with pytest.raises(UserError, match="too few samples to learn from one half of them and test on the other"):
        run(tmp_path / "a.npy", encoding="compare")
    assert not (tmp_path / "run").exists()


# Little to learn


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_signal_stops_early(value: float, run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 255 * value, np.uint8)).save(tmp_path / "a.png")
    result = run(tmp_path / "a.png", steps=400)
    assert metrics(result)["steps"] < 300
    assert metrics(result)["psnr"] > 30
    assert any("there is no bandwidth to choose" in note for note in result.report.notes)
    assert any("the kernel expected less than 0.05 dB of more" in choice.how for choice in result.report.choices)
    assert metrics(result)["learning"]["predicted"] == []


def test_two_samples_are_enough(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "a.png")
    assert metrics(run(tmp_path / "a.png", steps=300))["psnr"] > 20


# Stopping


def interrupting(step: int) -> Callable[..., float]:
    """Return a step of the training that Ctrl-C hits after so many."""
    original, count = fit_training._step, iter(range(1, 1000))

    def interrupted(*args: Any) -> float:
        if next(count) > step:
            raise KeyboardInterrupt
        return original(*args)

    return interrupted


def test_an_interrupted_fit_keeps_what_it_learned(run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_training, "_step", interrupting(13))
    with pytest.raises(KeyboardInterrupt, match=r"What was learned in 13 steps is in '.*run'"):
        run(picture)
    folder = picture.parent / "run"
    assert {path.name for path in folder.iterdir()} == WHOLE | {"fit.png"}
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 13
    assert "Interrupted after 13 steps" in (folder / "report.html").read_text()


@pytest.mark.parametrize(("step", "encoding"), [(0, "gaussian"), (13, "compare")])
def test_where_nothing_is_worth_keeping_nothing_is_left(
    step: int, encoding: str, run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_training, "_step", interrupting(step))
    with pytest.raises(KeyboardInterrupt):
        run(picture, encoding=encoding)
    assert not (picture.parent / "run").exists()


def test_a_full_disk_leaves_nothing(run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fit_files, "_write_figures", full)
    with pytest.raises(OSError, match="No space left"):
        run(picture, steps=1)
    assert not (picture.parent / "run").exists()


# What is refused


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "--steps 0: give a number of 1 or more"),
        ({"width": 1}, "--width 1: give a number of 2 or more"),
        ({"dims": 0}, "--dims 0"),
        ({"scale": 0.0}, "--scale 0: give a number above 0"),
        ({"scale": math.inf}, "--scale inf"),
        ({"scale": math.nan}, "--scale nan"),
        ({"seed": -1}, "--seed -1"),
        ({"candidates": ()}, "--candidates names none"),
        ({"candidates": (3.0, -1.0)}, "--candidates -1: give numbers above 0"),
        ({"candidates": (math.nan,)}, "--candidates nan"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        FitConfig("a.png", **settings)


def test_refused_before_anything_is_written(run: Run, picture: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--scale 5000 makes 100,000 x 120,000 samples, more than"):
        run(picture, scale=5000)
    with pytest.raises(UserError, match="There is no file"):
        run(tmp_path / "nothing.png")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").touch()
    with pytest.raises(UserError, match=r"is not empty. Name a new folder with --out"):
        run(picture)


def test_one_candidate_is_taken(run: Run, picture: Path) -> None:
    result = run(picture, candidates=(3.5,), steps=1)
    assert result.network is not None
    assert result.network.config.bandwidth == 3.5
    assert ("deviation", "set by you") in [(choice.what, choice.how) for choice in result.report.choices]
    assert result.report.bandwidth is None


def test_pictures_in_memory_are_not_needed_for_the_files() -> None:
    file = fit_files.rendered_file(Signal("picture", np.zeros((2, 2, 3))), np.full((2, 2, 3), 0.5), 1)
    assert file[0] == "fit.png"
    assert Image.open(io.BytesIO(file[1])).getpixel((0, 0)) == (128, 128, 128)
