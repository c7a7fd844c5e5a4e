"""Runs of `train --task translate`: gone on with, with every mixer, and those that cannot be."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from translate_samples import SIZES, TOY, run, weights, write_text

from overtone.errors import UserError
from overtone.nn import GatedSHFIN, PatchSpectrum
from overtone.tasks import TrainConfig, train
from overtone.tasks.translate import averaged_steps, languages, rhythm
from overtone.tasks.translator import Translator
from overtone.training import Bar


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "toy")


def test_an_interrupted_run_ends_where_an_unbroken_one_does(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, noise and batches as they were, and the same weights averaged."""
    steps = 20  # there is noise in the first six
    unbroken = run(text, tmp_path / "unbroken", steps=steps)
    original = Bar.on_step_end

    def interrupt(bar: Bar, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(bar, args, state, control, **kwargs)
        if state.global_step == interrupted:
            raise KeyboardInterrupt

    resume = False
    for interrupted in (7, 18):  # noqa: B007  the last checkpoints are at 5 and 15, weights to be averaged from 16 on
        with monkeypatch.context() as patch:
            patch.setattr(Bar, "on_step_end", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(text, tmp_path / "run", steps=steps, resume=resume)
        torch.manual_seed(99)
        resume = True
    resumed = run(text, tmp_path / "run", steps=steps, resume=True)
    assert torch.equal(weights(resumed.translator.network), weights(unbroken.translator.network))
    assert resumed.report.panels == unbroken.report.panels
    assert resumed.report.sentences == unbroken.report.sentences


@pytest.mark.parametrize(
    "settings", [{"mixer": "fnet"}, {"mixer": "afno"}, {"mixer": "attention", "cross": "shfin"}], ids=str
)
def test_every_mixer_trains(settings: dict[str, str], text: Path, tmp_path: Path) -> None:
    result = run(text, tmp_path / "run", steps=2, **settings)
    config = Translator.load(result.folder).network.config
    assert {name: getattr(config, name) for name in settings} == settings
    decoder = next(choice for choice in result.report.choices if choice.what == "decoder reads the source by")
    assert decoder.how == ("set by you" if "cross" in settings else "Marian's, unless set")


def test_gated_layers_train_and_the_recipe_is_told_as_it_is_followed(text: Path, tmp_path: Path) -> None:
    result = run(text, tmp_path / "run", replace(TOY, sizes=SIZES | {"gated": True}), steps=3)
    network = Translator.load(result.folder).network
    assert [type(m) for m in network.modules() if isinstance(m, PatchSpectrum)] == [GatedSHFIN, GatedSHFIN]
    told = {choice.what: choice.value for choice in result.report.choices}
    assert told["network"].startswith("gated shfin encoder")
    assert "after 1 steps" in told["optimiser"]  # half of the training is the most
    assert told["weights"] == "the mean of those at steps 1, 2, 3"


def test_lines_that_cannot_be_used_are_told(text: Path, tmp_path: Path) -> None:
    shutil.copytree(text, tmp_path / "data")
    with (tmp_path / "data" / "train.en").open("a") as source, (tmp_path / "data" / "train.de").open("a") as target:
        source.write("\n" + "book " * 60 + "\n")
        target.write("Haus\n" + "Buch " * 60 + "\n")
    report = run(tmp_path / "data", tmp_path / "run", steps=1).report
    assert [Path(item.source).name for item in report.skipped] == ["train.en:301"]
    cut = next(choice.value for choice in report.choices if choice.what == "cut")
    assert cut == "1 source and 1 target sentences past 40 subwords"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 3}, "--epochs is not for --task translate"),
        ({"image_column": "x"}, "--image-column is not for --task translate"),
        ({"steps": 0}, "--steps 0: give a number of 1 or more"),
        ({"task": "classify", "steps": 3}, "--steps is not for --task classify"),
        ({"task": "classify", "cross": "shfin"}, "--cross is not for --task classify"),
        ({"task": "classify", "languages": "en-de"}, "--languages is not for --task classify"),
        ({"task": "classify", "preset": "tiny"}, "--preset tiny is for --task translate"),
        ({"preset": "cifar"}, "--preset cifar is for pictures. Translators have wmt14, small, mini, tiny"),
        ({"mixer": "gfnet"}, "--mixer gfnet is not for sentences. Take one of shfin, attention, fnet, afno"),
        ({"languages": "en"}, "--languages 'en': give two, such as en-de"),
        ({"languages": "en-en"}, "--languages 'en-en': give two"),
        ({"languages": "en-fr"}, "No file of the language 'fr'"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], said: str, text: Path, tmp_path: Path) -> None:
    defaults: dict[str, Any] = {"task": "translate", "out": str(tmp_path / "run"), "device": "cpu"}
    data = str(text)
    if settings.get("preset") == "tiny":
        data = "emoji"
    with pytest.raises(UserError, match=re.escape(said)):
        train(TrainConfig(data, **(defaults | settings)))
    assert not (tmp_path / "run").exists()


def test_text_with_nothing_to_learn_from(tmp_path: Path) -> None:
    data = write_text(tmp_path / "data", {"test": 12})
    with pytest.raises(UserError, match="There is no sentence to learn from"):
        run(data, tmp_path / "run")


def test_when_it_measures_and_which_weights_are_averaged() -> None:
    for steps, measured, logged in ((1, 1, 1), (3, 3, 1), (7, 5, 1), (1000, 50, 10), (50_000, 2500, 500)):
        assert (rhythm(steps).measured, rhythm(steps).logged) == (measured, logged)
    assert averaged_steps(1000) == [960, 970, 980, 990, 1000]
    assert averaged_steps(3) == [1, 2, 3]


def test_languages() -> None:
    assert languages("de-en") == ("de", "en")
