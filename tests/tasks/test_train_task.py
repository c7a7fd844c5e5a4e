"""`train` as a function: from pictures to a run folder, and all that can go wrong on the way."""

import importlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from torch import Tensor
from transformers import (
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from overtone.data import pixels as pixels_module
from overtone.data.fashion_mnist import fashion_mnist_file
from overtone.errors import UserError
from overtone.models import swap
from overtone.models.shfin import ShfinConfig, ShfinForImageClassification
from overtone.nn import SHFIN
from overtone.tasks.classifier import Classifier
from overtone.tasks.evaluate import EvaluateConfig, evaluate
from overtone.tasks.predict import PredictConfig, predict
from overtone.tasks.train import TrainConfig, TrainResult, train
from overtone.training import Bar, Checkpoints

MODULE = importlib.import_module("overtone.tasks.train")  # the package's own `train` is the function
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "grey": (120, 120, 120)}
A_COLOUR = 10


def network(labels: int = 4, **changes: Any) -> ShfinForImageClassification:
    """A network of 16 x 16 pixels that takes milliseconds."""
    torch.manual_seed(0)
    sizes = {"stem": 4, "dims": (32,), "depths": (2,), "patches": (4,), "kept": (5,)}
    return ShfinForImageClassification(ShfinConfig(**{"image_size": 16, "num_labels": labels} | sizes | changes))


@pytest.fixture
def colours(tmp_path: Path, write_classes: Callable[..., Path]) -> Path:
    """A folder of four plain colours with noise."""
    draw = np.random.default_rng(0)
    classes = {}
    for name, colour in COLOURS.items():
        noisy = (np.array(colour) + draw.normal(0, 20, (A_COLOUR, 20, 24, 3))).clip(0, 255).astype(np.uint8)
        classes[name] = [saved(pixels) for pixels in noisy]
    return write_classes(tmp_path / "colours", classes)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., TrainResult]:
    """Return what trains the small network, in two epochs unless told."""

    def run(data: object, given: Any = None, **settings: Any) -> TrainResult:
        defaults = {"out": str(tmp_path / "run"), "epochs": 2, "batch_size": 8, "device": "cpu"}
        return train(TrainConfig(str(data), **(defaults | settings)), given or network())

    return run


def saved(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_learns_and_the_run_can_be_asked(
    run: Callable[..., TrainResult], colours: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Plain colours are told apart without a mistake; then the same network predicts, and is scored elsewhere."""
    result = run(colours, epochs=20, learning_rate=3e-3)
    assert (result.report.top1.value, result.report.pictures) == (1, 8)
    assert result.report.curves["training accuracy"][-1] == (20, 1)
    assert capfd.readouterr().out == ""

    folder = str(result.folder)
    picture = str(next((colours / "blue").iterdir()))
    (prediction,) = predict(PredictConfig(folder, (picture,), top=4, device="cpu"))
    assert prediction.classes[0][0] == "blue"
    assert sum(p for _, p in prediction.classes) == pytest.approx(1)
    (among,) = predict(PredictConfig(folder, (picture,), top=4, classes="grey, blue", device="cpu"))
    shares = dict(prediction.classes)
    assert dict(among.classes)["blue"] == pytest.approx(shares["blue"] / (shares["blue"] + shares["grey"]))
    with pytest.raises(UserError, match=r"No class 'blu' .* Did you mean 'blue'\?"):
        predict(PredictConfig(folder, (picture,), classes="blu, red"))
    with pytest.raises(UserError, match="is a trained network and has none"):
        predict(PredictConfig(folder, (picture,), model="embedded"))

    (colours / "grey").rename(colours / "silver")
    report = evaluate(EvaluateConfig(folder, str(colours), out=str(colours.parent / "scores"), device="cpu"))
    assert report.notes == ["2 pictures of classes that the network does not know are left out."]
    assert {row.name: row.pictures for row in report.classes} == {"blue": 2, "green": 2, "red": 2}  # not learned from
    assert sorted(p.name for p in (colours.parent / "scores").iterdir()) == [
        "classes.csv",
        "metrics.json",
        "report.html",
    ]


def test_evaluating_on_classes_that_are_all_others(
    run: Callable[..., TrainResult], colours: Path, photos: Path
) -> None:
    folder = str(run(colours, epochs=1).folder)
    with pytest.raises(UserError, match=r"No picture in .* it knows blue, green, grey, red, and the data has fluent"):
        evaluate(EvaluateConfig(folder, str(photos), device="cpu"))
    with pytest.raises(UserError, match="is a trained network and has none"):
        evaluate(EvaluateConfig(folder, str(colours), model="embedded", device="cpu"))


def test_the_run_folder_holds_all_there_is_to_know(run: Callable[..., TrainResult], colours: Path) -> None:
    (colours / "red" / "bad.png").write_bytes(b"no picture")
    result = run(colours, seed=5, epochs=1)
    folder = result.folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "classes.csv",
        "classifier.json",
        "config.json",
        "learned_from.txt",
        "metrics.json",
        "model",
        "report.html",
        "skipped.csv",
    ]
    settings = json.loads((folder / "config.json").read_text())
    assert (settings["data"], settings["preset"], settings["seed"]) == (str(colours), "pictures", 5)
    assert (settings["epochs"], settings["batch_size"], settings["learning_rate"]) == (1, 8, 1e-3)
    described = json.loads((folder / "classifier.json").read_text())
    assert described["classes"] == ["blue", "green", "grey", "red"]
    assert described["framing"] == {"size": 16, "stored": 18, "channels": 3}
    assert json.loads((folder / "metrics.json").read_text())["pictures"] == result.report.pictures
    assert (folder / "classes.csv").read_text().startswith("class,pictures,accuracy\nblue,2,")
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: overtone\n")
    assert [Path(item.source).name for item in result.report.skipped] == ["bad.png"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    for part in (
        "Chosen frequencies",
        "shfin.stages.0.blocks.1.mixer",
        "Confusion matrix",
        "Learning curves",
        "bad.png",
    ):
        assert part in page
    loaded = AutoModelForImageClassification.from_pretrained(folder / "model")
    assert loaded.config.id2label == {0: "blue", 1: "green", 2: "grey", 3: "red"}
    assert torch.equal(weights(loaded), weights(result.classifier.network))


@pytest.mark.parametrize("step", [1, 6])
def test_an_interrupted_run_ends_where_an_unbroken_one_does(
    step: int, run: Callable[..., TrainResult], colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within an epoch too: what is drawn for pictures, for frequencies and for the schedule follows from the step."""
    unbroken = run(colours, out=str(tmp_path / "unbroken"), epochs=3)
    original = Bar.on_step_end

    def interrupt(bar: Bar, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(bar, args, state, control, **kwargs)
        if state.global_step == step + 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "on_step_end", interrupt)
        patch.setattr(Checkpoints, "STEPS", 1)
        patch.setattr(Checkpoints, "SECONDS", 0)
        with pytest.raises(KeyboardInterrupt, match=rf"Go on with .* --resume --out {re.escape(str(tmp_path))}/run"):
            run(colours, epochs=3)
    with pytest.raises(UserError, match=r"holds an interrupted run. Go on with --resume"):
        run(colours, epochs=3)
    with pytest.raises(UserError, match=r"has learning_rate 0.001, not 0.5. Give the same settings"):
        run(colours, epochs=3, resume=True, learning_rate=0.5)
    torch.manual_seed(99)
    resumed = run(colours, epochs=3, resume=True)
    assert torch.equal(weights(resumed.classifier.network), weights(unbroken.classifier.network))
    assert resumed.report.curves == unbroken.report.curves
    with pytest.raises(UserError, match="holds a finished run"):
        run(colours, epochs=3)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12, of any fork
def test_pictures_that_do_not_fit_into_memory_train_the_same(
    run: Callable[..., TrainResult], colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by processes ahead of the training instead of once for all, each view is the same."""
    kept = run(colours, out=str(tmp_path / "kept"))
    monkeypatch.setattr(pixels_module, "MEMORY", 0)
    monkeypatch.setattr(MODULE, "WORKERS", 2)
    read = run(colours)
    assert torch.equal(weights(read.classifier.network), weights(kept.classifier.network))
    assert read.report.curves == kept.report.curves


def test_nothing_is_left_of_a_run_that_kept_nothing(
    run: Callable[..., TrainResult], colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MODULE, "fit", stop)
    with pytest.raises(KeyboardInterrupt, match="No epoch had ended, so nothing was kept"):
        run(colours)
    assert not (colours.parent / "run").exists()


class Diverging(ShfinForImageClassification):
    """A network whose logits are no numbers from some step on."""

    calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        if self.training:
            self.calls += 1
            output.logits = output.logits * (float("nan") if self.calls > 5 else 1)
        return output


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(
    run: Callable[..., TrainResult], colours: Path
) -> None:
    diverging = Diverging(network().config)
    with pytest.raises(UserError, match=r"The loss is no number at step 6 of 8, .* The last good checkpoint is kept"):
        run(colours, diverging)
    (checkpoint,) = (colours.parent / "run" / "checkpoints").iterdir()
    assert checkpoint.name == "checkpoint-4"
    assert run(colours, Diverging(network().config), resume=True).report  # four steps more: fewer than six


def test_fashion_mnist_by_its_own_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fashion_mnist_file().parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    held = {}
    for level, count in (("train", 80), ("test", 20)):
        held[f"{level}_images"] = rng.integers(256, size=(count, 28, 28)).astype(np.uint8)
        held[f"{level}_labels"] = (np.arange(count) % 10).astype(np.uint8)
    save_file(held, fashion_mnist_file())
    result = train(TrainConfig("fashion-mnist", out=str(tmp_path / "run"), epochs=1, device="cpu"))
    assert result.classifier.network.config.num_channels == 1
    assert result.classifier.normalise.mean.item() == pytest.approx(held["train_images"].mean() / 255, rel=1e-5)
    assert result.report.top5 is not None
    hows = {choice.what: (choice.value, choice.how) for choice in result.report.choices}
    assert hows["recipe"] == (
        "fashion-mnist",
        "ours; alternating flips after the CIFAR speed runs (Jordan, arXiv 2404.00498)",
    )
    assert hows["batch"] == ("10 pictures, over 1 process", f"the recipe fashion-mnist: {hows['recipe'][1]}")
    assert hows["epochs"] == ("1", "set by you")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"] == "fashion-mnist"
    saved_one = tmp_path / "one.png"
    Image.fromarray(held["test_images"][0]).save(saved_one)
    (prediction,) = predict(PredictConfig(str(tmp_path / "run"), (str(saved_one),), top=10, device="cpu"))
    assert len(prediction.classes) == 10


def test_levels_give_a_validation_curve_and_other_classes_are_left_out(
    run: Callable[..., TrainResult], colours: Path
) -> None:
    rows = ["image,label,split"]
    for level, numbers in {"train": range(6), "val": (6, 7), "test": (8, 9)}.items():
        names = ("red", "blue", "grey") if level == "test" else ("red", "blue")
        rows += [f"{name}/{n}.png,{name},{level}" for name in names for n in numbers]
    (colours / "list.csv").write_text("\n".join(rows))
    report = run(colours / "list.csv", network(labels=2), epochs=3).report
    assert [epoch for epoch, _ in report.curves["validation accuracy"]] == [1, 2, 3]
    assert report.pictures == 4
    left = ("test pictures left out", "2", "of classes that there is nothing to learn from")
    assert left in [(choice.what, choice.value, choice.how) for choice in report.choices]


def test_a_network_of_transformers_own(run: Callable[..., TrainResult], colours: Path) -> None:
    """By the same recipe, with its norms' running means; its config names no size, so the recipe's is taken."""
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=4)
    torch.manual_seed(0)
    result = run(colours, ResNetForImageClassification(config), epochs=1)
    assert result.classifier.framing.size == 64
    assert result.report.frequencies == []
    loaded = Classifier.load(result.folder)
    pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(loaded.probabilities(pixels), result.classifier.probabilities(pixels))


def test_a_swapped_network_is_annealed_and_comes_back(run: Callable[..., TrainResult], colours: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    vit = ViTForImageClassification(ViTConfig(image_size=(16, 16), patch_size=4, num_labels=4, **sizes))
    swap(vit, kept=4)
    result = run(colours, vit, epochs=1)
    assert result.classifier.framing.size == 16
    (mixer,) = [module for module in vit.modules() if isinstance(module, SHFIN)]
    assert mixer.tau < 1
    assert len(result.report.frequencies) == 1
    loaded = Classifier.load(result.folder)
    pixels = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(loaded.probabilities(pixels), result.classifier.probabilities(pixels))


def test_a_network_that_does_not_fit_the_data(run: Callable[..., TrainResult], colours: Path) -> None:
    with pytest.raises(ValueError, match="the network's num_labels is 7, and the data asks for 4"):
        run(colours, network(labels=7))
    with pytest.raises(ValueError, match="channels is 2: pictures have 1"):
        run(colours, network(num_channels=2))
    assert not (colours.parent / "run").exists()


def test_data_that_cannot_be_learned_from(
    run: Callable[..., TrainResult], colours: Path, write_classes: Callable[..., Path], tmp_path: Path
) -> None:
    one = write_classes(tmp_path / "one", {"red": [saved(np.zeros((4, 4), np.uint8))] * 4})
    with pytest.raises(UserError, match="One class alone, 'red'"):
        run(one)
    for file in (colours / "red").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"No good picture to learn the class 'red' from: 10 files are bad"):
        run(colours)
    (colours / "test").mkdir()
    for name in ("green", "blue"):
        (colours / name).rename(colours / "test" / name)
    with pytest.raises(UserError, match="There is no picture to learn from: the data has test pictures alone"):
        run(colours)
    assert not (colours.parent / "run").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"batch_size": -1}, "--batch-size -1"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0: give a number above 0"),
        ({"learning_rate": float("nan")}, "--learning-rate nan"),
        ({"seed": -1}, "--seed -1: give a number from 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        TrainConfig("data", **settings)


def test_a_folder_that_is_no_whole_run(run: Callable[..., TrainResult], colours: Path) -> None:
    folder = run(colours, epochs=1).folder
    described = json.loads((folder / "classifier.json").read_text())
    (folder / "classifier.json").write_text(json.dumps(described | {"format": 2}))
    with pytest.raises(UserError, match=r"another Overtone \(format 2, here 1\)"):
        Classifier.load(folder)
    (folder / "classifier.json").write_text(json.dumps(described))
    (folder / "model" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="the weights cannot be read"):
        Classifier.load(folder)


def test_a_batch_of_a_small_set(run: Callable[..., TrainResult], colours: Path) -> None:
    """32 pictures: eight steps of four, unless the user asks for more at once than there are."""
    assert json.loads((run(colours, batch_size=None).folder / "config.json").read_text())["batch_size"] == 4
    result = run(colours, out=str(colours.parent / "other"), batch_size=500, epochs=2)
    assert [epoch for epoch, _ in result.report.curves["loss"]] == [1, 2]  # one step an epoch, of all
