"""`pretrain` as a function: from pairs to a run folder, and all that can go wrong on the way."""

import csv
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_samples import KINDS, draw, run, tiny, weights, write_pairs

from overtone.errors import UserError
from overtone.models.assembly import assemble, read_side
from overtone.models.backbone import load_backbone
from overtone.tasks.adapt import AdaptConfig, adapt
from overtone.tasks.pretrain import BATCH, PretrainConfig, pretrain, rhythm
from overtone.tasks.pretrain_model import Objective, make_loss
from overtone.training import Bar

MODULE = importlib.import_module("overtone.tasks.pretrain")  # the package's own `pretrain` is the function
SCRIPT = Path(__file__).parent / "pretrain_samples.py"


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures beside their captions; not to be changed."""
    return write_pairs(tmp_path_factory.mktemp("pairs") / "shapes")


def interrupt_at(step: int, patch: pytest.MonkeyPatch) -> None:
    original = Bar.on_step_end

    def interrupt(bar: Bar, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(bar, args, state, control, **kwargs)
        if state.global_step == step:
            raise KeyboardInterrupt

    patch.setattr(Bar, "on_step_end", interrupt)


# The whole


def test_it_learns_and_the_run_holds_all_there_is_to_know(
    pairs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run(pairs, tmp_path / "run", steps=150)
    retrieval = {found.direction: found for found in result.report.retrieval}
    images = retrieval["pictures to texts"]
    assert (images.queries, images.among) == (32, 32)  # two captions of each of 16 kinds, shared by two pictures
    assert images.recalls[1].value > 0.3  # 2 of 32 texts are its own: by chance 1 in 16
    assert retrieval["texts to pictures"].recalls[1].value > 0.3
    (names,) = result.report.zero_shot
    assert (names.group, names.pictures, names.names) == ("held-out captions as names", 32, 16)
    assert names.accuracy.value > 0.3
    assert capfd.readouterr().out == ""

    assert sorted(path.name for path in result.folder.iterdir()) == [
        "README.md", "config.json", "curves.csv", "metrics.json", "model", "pretraining.json", "report.html",
    ]  # fmt: skip
    settings = json.loads((result.folder / "config.json").read_text())
    assert (settings["data"], settings["steps"], settings["train_pairs"]) == (str(pairs), 150, 64)
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["retrieval"][0]["recalls"]["1"]["value"] == images.recalls[1].value
    assert metrics["spectrum"]["pair/gap"] > 0
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    for part in ("Pictures to texts", "Zero-shot accuracy", "Effective rank", "Modality gap", "SDE: schedules"):
        assert part in page
    loss = dict(result.report.panels["Loss"]["loss"])
    assert len(loss) == 150
    assert loss[150] < loss[1]
    assert [step for step, _ in result.report.panels["Modality gap"]["gap"]] == [*range(0, 151, 15)]
    assert (result.folder / "README.md").read_text().startswith("---\nlibrary_name: overtone\n")


def test_pictures_of_ones_own_are_classified_without_training(pairs: Path, tmp_path: Path) -> None:
    """While it trains and at the end; what cannot be opened is skipped and listed."""
    labelled = tmp_path / "labelled"
    for row, kind in enumerate(KINDS):
        (labelled / kind.replace(" ", "_")).mkdir(parents=True)
        for number in range(2):
            draw(kind, 7000 + 2 * row + number).save(labelled / kind.replace(" ", "_") / f"{number}.png")
    (labelled / "red_bar" / "bad.png").write_bytes(b"no picture")
    result = run(pairs, tmp_path / "run", steps=150, zero_shot=str(labelled))
    (score,) = [score for score in result.report.zero_shot if score.group == str(labelled)]
    assert (score.pictures, score.names) == (32, 16)
    assert score.accuracy.value > 0.3  # by chance 1 in 16
    curve = dict(result.report.panels["Zero-shot accuracy"][str(labelled)])
    assert list(curve) == [*range(0, 151, 15)]
    assert curve[150] == score.accuracy.value
    assert [Path(item.source).name for item in result.report.skipped] == ["bad.png"]
    assert "zero-shot: test pictures" in {choice.what for choice in result.report.choices}
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["zero_shot"] == str(labelled)


def test_one_class_alone_is_no_zero_shot(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "labelled" / "bar").mkdir(parents=True)
    draw("red bar", 0).save(tmp_path / "labelled" / "bar" / "0.png")
    with pytest.raises(UserError, match=r"--zero-shot .*: one class alone, 'bar'"):
        run(pairs, tmp_path / "run", zero_shot=str(tmp_path / "labelled"))


@pytest.mark.parametrize("named", ["run", "run/model"])
def test_adapt_takes_what_comes_out(named: str, pairs: Path, photos: Path, tmp_path: Path) -> None:
    """The run's folder, or the model in it."""
    result = run(pairs, tmp_path / "run", steps=2, sde="off")
    model = str(tmp_path / named)
    backbone = load_backbone(model)
    result.assembly.model.eval()
    ids = backbone.tokenize(["red bar"])
    with torch.no_grad():
        torch.testing.assert_close(backbone.text(ids), result.assembly.model.text(ids))
    adapted = adapt(AdaptConfig(str(photos), model=model, out=str(tmp_path / "adapted"), epochs=1, shots=2))
    assert adapted.report.comparisons[0].pictures > 0


# Going on


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_after_kill_minus_nine_it_ends_as_an_unbroken_run(loss: str, pairs: Path, tmp_path: Path) -> None:
    """Weights and every curve, bit for bit: dropout, captions, crops, frequencies' noise, SDE's state and schedules."""
    given = {"loss": loss, "dropout": 0.2, "steps": 24, "seed": 3}  # measured, and kept, every other step
    told = json.dumps(given | {"die_at": 15, "threads": torch.get_num_threads()})
    command = [sys.executable, str(SCRIPT), str(pairs), str(tmp_path / "killed"), told]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()] == ["checkpoint-14"]
    with pytest.raises(UserError, match=r"holds an interrupted run\. Go on with --resume"):
        _whole(pairs, tmp_path / "killed", given)
    with pytest.raises(UserError, match=r"has learning_rate 0.003, not 0.5. Give the same settings"):
        _whole(pairs, tmp_path / "killed", given | {"learning_rate": 0.5, "resume": True})
    other = tiny(siglip=loss == "siglip", stem="conv")
    with pytest.raises(UserError, match=r"has model '.* parameters, .* features', not '"):
        run(pairs, tmp_path / "killed", other, loss=loss, steps=24, seed=3, resume=True)

    torch.manual_seed(99)
    resumed = _whole(pairs, tmp_path / "killed", given | {"resume": True})
    unbroken = _whole(pairs, tmp_path / "unbroken", given)
    assert torch.equal(weights(resumed.assembly), weights(unbroken.assembly))
    assert resumed.report.panels == unbroken.report.panels
    assert resumed.report.retrieval == unbroken.report.retrieval
    assert not (tmp_path / "killed" / "checkpoints").exists()
    with pytest.raises(UserError, match="holds a finished run"):
        _whole(pairs, tmp_path / "killed", given)


def _whole(pairs: Path, out: Path, given: dict[str, Any]) -> Any:
    settings = {name: value for name, value in given.items() if name != "dropout"}
    return run(pairs, out, tiny(given["dropout"], siglip=given["loss"] == "siglip"), **settings)


def test_interrupted_after_its_last_step_it_is_judged_on_resuming(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "judge", interrupt)
        with pytest.raises(KeyboardInterrupt, match="Go on with the same command and --resume"):
            run(pairs, tmp_path / "run", steps=6)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["checkpoint-6"]
    resumed, unbroken = run(pairs, tmp_path / "run", steps=6, resume=True), run(pairs, tmp_path / "unbroken", steps=6)
    assert torch.equal(weights(resumed.assembly), weights(unbroken.assembly))
    assert resumed.report == unbroken.report


def test_what_is_no_number_stops_it_with_the_last_checkpoint_kept(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Objective.forward

    def spoiled(self: Objective, *args: Any, **kwargs: Any) -> Any:
        loss = forward(self, *args, **kwargs)
        return {"loss": loss["loss"] * float("nan")} if int(self.loss.step) == 9 else loss  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "forward", spoiled)
        kept = re.escape(str(tmp_path / "run" / "checkpoints" / "checkpoint-8"))
        with pytest.raises(UserError, match=rf"The loss is no number at step 9 of 12.* is kept: '{kept}'"):
            run(pairs, tmp_path / "run")
    assert torch.isfinite(weights(run(pairs, tmp_path / "run", resume=True).assembly)).all()


def test_nothing_is_left_of_a_run_that_kept_nothing(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(1, monkeypatch)
    monkeypatch.setattr(MODULE, "MEASUREMENTS", 1)
    with pytest.raises(KeyboardInterrupt):
        run(pairs, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Equal ways


def losses(folder: Path) -> list[float]:
    """The loss of each step, from the run's folder."""
    with (folder / "curves.csv").open(newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["curve"] == "loss"]


def test_chunks_change_nothing(pairs: Path, tmp_path: Path) -> None:
    """The same losses, step after step; gradients are compared in tests/losses/test_gradient_cache.py."""
    run(pairs, tmp_path / "plain", steps=6, sde="off")
    run(pairs, tmp_path / "chunked", steps=6, sde="off", chunk=3)
    # float32 sums in another order. SDE is left to tests in float64: at the start nearly all features are alike, and
    # what rounds differently decides on the basis of the rest.
    assert losses(tmp_path / "chunked") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)


@pytest.mark.timeout(900)  # starts of Python and torch, on a machine that may be busy
def test_two_processes_train_as_one_does(pairs: Path, tmp_path: Path) -> None:
    """The whole batch's negatives (half of them would take 0.7 from the loss), views and captions."""
    given = json.dumps({"steps": 6, "sde": "off", "chunk": 4, "threads": 1})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(pairs), str(tmp_path / "two"), given],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run(pairs, tmp_path / "one", steps=6, sde="off")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)  # as with chunks
    assert json.loads((tmp_path / "two" / "config.json").read_text())["processes"] == 2
    assert not (tmp_path / "two" / "checkpoints").exists()
    assert load_backbone(str(tmp_path / "two")).size == 16


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
@pytest.mark.parametrize("sde", ["on", "off"])
def test_every_loss_and_low_precision(loss: str, sde: str, pairs: Path, tmp_path: Path) -> None:
    result = run(pairs, tmp_path / "run", loss=loss, sde=sde, steps=3, precision="bf16")
    assert torch.isfinite(weights(result.assembly)).all()
    assert ("SDE: schedules" in result.report.panels) == (sde == "on")
    if loss == "siglip":
        assert result.assembly.model.logit_bias is not None
        assert result.assembly.model.logit_bias.item() != -10


def test_a_locked_tower_stays_what_it_was(pairs: Path, tmp_path: Path) -> None:
    """Saved, and taken up again as one side: LiT. It is not even in training mode: no dropout, no statistics."""
    first = run(pairs, tmp_path / "first", steps=2)
    sides = [read_side(side, str(tmp_path / "first")) for side in ("image", "text")]  # type: ignore[arg-type]
    assembly = assemble(sides[0], sides[1], lock="text")
    result = run(pairs, tmp_path / "second", assembly, steps=3, lock="text")
    ours, theirs = (r.assembly.model.text.state_dict() for r in (result, first))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(result.assembly.model.image.projection.weight, first.assembly.model.image.projection.weight)
    objective = Objective(assembly, make_loss("infonce", False, 3), "text").train()
    assert objective.model.image.training
    assert not objective.model.text.training


# Streams


def shards(folder: Path, bad: bool = False) -> Path:
    """Shards of eight samples, and one that is cut in the middle."""
    folder.mkdir()
    for number in range(6):
        with tarfile.open(folder / f"{number}.tar", "w") as tar:
            for row in range(8):
                kind = KINDS[(8 * number + row) % len(KINDS)]
                path = folder / f"{number}-{row}"
                draw(kind, 50 * number + row).save(path.with_suffix(".png"))
                path.with_suffix(".txt").write_text(f"a {kind} on grey")
                for suffix in (".png", ".txt"):
                    tar.add(path.with_suffix(suffix), f"{number}-{row}{suffix}")
                    path.with_suffix(suffix).unlink()
    if bad:
        whole = (folder / "5.tar").read_bytes()
        (folder / "5.tar").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12, of any fork
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_resumes_where_it_was(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards, one of them cut: the rest is learned from, epoch after epoch, in the same order after an interruption."""
    data = shards(tmp_path / "shards", bad=True)
    monkeypatch.setattr(MODULE, "WORKERS", workers)
    with pytest.raises(UserError, match="a stream, whose length nobody knows: say how long to train with --steps"):
        run(data, tmp_path / "run", steps=None)
    unbroken = run(data, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        interrupt_at(8, patch)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "run")
    resumed = run(data, tmp_path / "run", resume=True)
    assert torch.equal(weights(resumed.assembly), weights(unbroken.assembly))
    assert resumed.report.panels == unbroken.report.panels
    assert any("5.tar" in item.source for item in unbroken.report.skipped)
    assert "5.tar" in (tmp_path / "unbroken" / "report.html").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_is_wrong_in_a_worker_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "WORKERS", 1)
    with pytest.raises(UserError, match=r"^The stream is too short for batches of 256 pairs: [^\"]*, or more data\.$"):
        run(shards(tmp_path / "shards"), tmp_path / "run", batch_size=256)


# Bad input


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_picture_that_is_gone_while_it_trains(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures beyond memory are read by workers; once it is back, the run goes on."""
    for module in ("overtone.data.pixels", "overtone.tasks.pretrain_data"):
        monkeypatch.setattr(f"{module}.MEMORY", 0)
    data = write_pairs(tmp_path / "shapes")
    picture, original = data / "train" / "red-bar-0.png", Bar.on_step_end
    kept = picture.read_bytes()

    def lose(bar: Bar, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(bar, args, state, control, **kwargs)
        if state.global_step == 6:
            picture.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "on_step_end", lose)
        with pytest.raises(UserError) as error:
            run(data, tmp_path / "run", steps=20)
    assert str(error.value) == (
        f"The picture {str(picture)!r} could be read before and now cannot: there is no such file. When it can be "
        "again, a training goes on from its last checkpoint with --resume."
    )
    picture.write_bytes(kept)
    resumed, unbroken = run(data, tmp_path / "run", steps=20, resume=True), run(pairs, tmp_path / "other", steps=20)
    assert torch.equal(weights(resumed.assembly), weights(unbroken.assembly))


def test_bad_pairs_are_passed_over_and_listed(pairs: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "shapes")
    (data / "train" / "red-bar-0.png").write_bytes(b"no picture")
    (data / "train" / "red-bar-1.txt").write_text("  \n")
    (data / "train" / "red-bar-2.txt").unlink()
    result = run(data, tmp_path / "run", steps=2)
    assert {Path(item.source).stem for item in result.report.skipped} == {"red-bar-0", "red-bar-1", "red-bar-2"}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Skipped inputs" in page
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["skipped"] == 3
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train_pairs"] == 61


def test_a_wrong_run_folder_is_refused_before_anything_is_read(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    monkeypatch.setattr(MODULE, "read", lambda config: pytest.fail("the data was read"))
    with pytest.raises(UserError, match="is not empty and holds no run"):
        run(pairs, tmp_path / "full")
    with pytest.raises(UserError, match="holds no interrupted run"):
        run(pairs, tmp_path / "nothing", resume=True)


def test_captions_that_are_all_equal(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "shapes")
    for path in data.rglob("*.txt"):
        path.write_text("a picture")
    with pytest.raises(UserError, match=r"captions of .* are the same, 'a picture'"):
        run(data, tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"batch_size": 1}, "--batch-size 1: a pair alone has nothing to be told from"),
        ({"epochs": 1, "steps": 1}, "--epochs and --steps say the same"),
        ({"steps": 0}, "--steps 0: give a number of 1 or more"),
        ({"chunk": 0}, "--chunk 0: give a number of 1 or more"),
        ({"learning_rate": float("nan")}, "--learning-rate nan: give a number above 0"),
        ({"seed": -1}, "--seed -1: give a number from 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        PretrainConfig("emoji", **settings)


def test_towers_that_cannot_be(pairs: Path, tmp_path: Path) -> None:
    config = PretrainConfig(str(pairs), out=str(tmp_path / "run"), device="cpu", lock="image")
    with pytest.raises(UserError, match="--lock image: the image tower 'conv' is new"):
        pretrain(config)
    with pytest.raises(UserError, match="--chunk 4: the image tower has batch normalisation"):
        run(pairs, tmp_path / "run", tiny(stem="conv"), chunk=4)
    assert not (tmp_path / "run").exists()


def test_pairs_too_few_to_measure_on(tmp_path: Path) -> None:
    """Three pairs: all are learned from, in a batch of three, and the report says that nothing was measured."""
    data = tmp_path / "few"
    data.mkdir()
    for number, kind in enumerate(KINDS[:3]):
        draw(kind, number).save(data / f"{number}.png")
        (data / f"{number}.txt").write_text(kind)
    result = run(data, tmp_path / "run", steps=2)
    assert "nothing was held out" in result.report.summary
    assert result.report.notes == [
        "There are fewer than two test pairs, so that nothing could be measured: give more data."
    ]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch_size"] == 3


# What is left open


def test_a_batch_larger_than_the_set(pairs: Path, tmp_path: Path) -> None:
    result = run(pairs, tmp_path / "run", steps=1, batch_size=300)
    choices = {choice.what: (choice.value, choice.how) for choice in result.report.choices}
    assert choices["batch"] == ("64 pairs, over 1 process", "you asked for 300; there are 64 pairs")


def test_what_is_not_given_is_settled(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "EPOCHS", 2)
    result = run(pairs, tmp_path / "run", steps=None, batch_size=None, learning_rate=None)
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (settings["batch_size"], settings["steps"], settings["learning_rate"]) == (8, 16, 1e-3)
    assert BATCH > 8  # 64 pairs: eight steps an epoch
    choices = {choice.what: (choice.value, choice.how) for choice in result.report.choices}
    assert choices["steps"] == ("16, 2 epochs", "ours")
    assert choices["pairs learned from"][0] == "64 pairs"
    run(pairs, tmp_path / "warm", _warm(tmp_path / "run"), steps=1, learning_rate=None)
    assert json.loads((tmp_path / "warm" / "config.json").read_text())["learning_rate"] == 1e-4


def _warm(folder: Path) -> Any:
    return assemble(*(read_side(side, str(folder)) for side in ("image", "text")))  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps", "measured", "logged"), [(1, 1, 1), (24, 2, 1), (499, 50, 1), (10_000, 1000, 10)])
def test_the_rhythm(steps: int, measured: int, logged: int) -> None:
    found = rhythm(steps)
    assert (found.measured, found.logged) == (measured, logged)
    assert found.measured % found.logged == 0
