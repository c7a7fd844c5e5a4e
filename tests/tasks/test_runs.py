"""The run folder as every verb that learns begins it, goes on with it and leaves it."""

import errno
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from overtone.errors import UserError
from overtone.farl.adapter import DESCRIPTION
from overtone.tasks.runs import CHECKPOINTS, FINISHED, begun, finished_by

DRAWN = {"train_pictures": 20}


@dataclass(frozen=True)
class Config:
    """What a verb that learns is given."""

    data: str = "emoji"
    out: str = "run"
    epochs: int | None = None
    resume: bool = False


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def checkpoint(folder: Path) -> None:
    (folder / CHECKPOINTS / "checkpoint-1").mkdir(parents=True)
    (folder / CHECKPOINTS / "checkpoint-1" / "trainer_state.json").touch()


def interrupted(config: Config, error: type[BaseException] | BaseException = KeyboardInterrupt) -> None:
    with begun(config, DRAWN) as folder:
        checkpoint(folder)
        raise error


def test_a_run_ends_without_its_checkpoints() -> None:
    with begun(Config(), DRAWN | {"epochs": 3}) as folder:
        assert finished_by(folder) is None
        checkpoint(folder)
        (folder / FINISHED["train"]).touch()
    assert finished_by("run") == "train"
    assert sorted(path.name for path in folder.iterdir()) == ["classifier.json", "config.json"]
    settings = json.loads((folder / "config.json").read_text())
    assert list(settings) == ["overtone", "data", "epochs", "train_pictures"]
    assert (settings["data"], settings["epochs"], settings["train_pictures"]) == ("emoji", 3, 20)


@pytest.mark.parametrize("verb", FINISHED)
def test_a_finished_run_of_any_verb_is_left_alone(verb: str) -> None:
    Path("run").mkdir()
    (Path("run") / FINISHED[verb]).touch()
    for resume in (False, True):
        with pytest.raises(UserError, match="'run' holds a finished run"), begun(Config(resume=resume), DRAWN):
            pass
    assert finished_by(Path("run")) == verb


def test_an_interrupted_run_is_gone_on_with_alone_as_it_was() -> None:
    with pytest.raises(KeyboardInterrupt, match="Go on with the same command and --resume --out run"):
        interrupted(Config())
    for config, said in (
        (Config(), r"holds an interrupted run\. Go on with --resume"),
        (Config(resume=True, epochs=4), "has epochs None, not 4"),
        (Config(resume=True, data="fashion-mnist"), "has data 'emoji', not 'fashion-mnist'"),
        (Config(resume=True, out="other"), "'other' holds no interrupted run"),
    ):
        with pytest.raises(UserError, match=said), begun(config, DRAWN):
            pass
    with begun(Config(resume=True), DRAWN) as folder:
        assert (folder / CHECKPOINTS).is_dir()
    assert not (folder / CHECKPOINTS).exists()


def test_a_full_disk_says_how_to_go_on() -> None:
    with pytest.raises(UserError, match=r"The disk is full, .* Make room\. Go on with"):
        interrupted(Config(), OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(PermissionError):
        interrupted(Config(out="other"), PermissionError(errno.EACCES, "no"))


def test_a_folder_of_something_else() -> None:
    Path("run").mkdir()
    Path("run/mine").touch()
    with pytest.raises(UserError, match="is not empty and holds no run"), begun(Config(), DRAWN):
        pass


def test_of_several_processes_the_first_looks_after_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with begun(Config(), DRAWN) as folder:
        assert folder == Path("run")
    assert not folder.exists()
    with pytest.raises(UserError, match="they must agree on it"), begun(Config(out=""), DRAWN):
        pass


def test_the_adapter_s_file_is_called_as_the_adapter_calls_it() -> None:
    assert FINISHED["adapt"] == DESCRIPTION
