"""What the loop does beside training: it stops at what is no number, saves in time, and says how fast it goes."""

import re
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import TrainerCallback

import overtone.training.telling as module
from overtone.errors import UserError
from overtone.training import (
    Anneal,
    Checkpoints,
    Loop,
    Pace,
    TrainingConfig,
    duration,
    pick_precision,
    share,
    train,
)

CONFIG = TrainingConfig(epochs=3, batch_size=4, learning_rate=0.05)
STEPS = 2  # an epoch: ten rows in whole batches of four


class Rows(Dataset):
    """Numbers that know their epoch."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return 10

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        x = torch.tensor(rows, dtype=torch.float32)[:, None] / 10 + self.epochs[-1]
        return {"x": x, "y": x.sin()}


class Net(nn.Module):
    """A network that spoils a step when told."""

    def __init__(self, bad_step: int = 0, spoil: str = "loss") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.map, self.gate = nn.LayerNorm(1), nn.Linear(1, 1), nn.Parameter(torch.ones(1, 1))
        self.bad_step, self.spoil, self.step = bad_step, spoil, 0
        self.progress: list[float] = []
        self.sizes: list[int] = []

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        self.step += 1
        self.sizes.append(len(x))
        loss = (self.map(x) * self.gate - y).square().mean()
        if self.step == self.bad_step and self.spoil == "loss":
            loss = loss * float("nan")
        if self.step == self.bad_step and self.spoil == "gradient":
            loss = loss + (self.gate - self.gate.detach()).abs().sqrt().sum()  # 0, with an infinite slope
        return {"loss": loss}


def run(out: Path, net: Net, resume: bool = False, rows: Rows | None = None, **loop: Any) -> list[dict[str, Any]]:
    return train(net, rows or Rows(), lambda batch: batch, CONFIG, out, resume, None, Loop(whole_batches=True, **loop))


def weights(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("spoil", ["loss", "gradient"])
def test_it_stops_at_what_is_no_number_with_the_last_checkpoint_kept(spoil: str, tmp_path: Path) -> None:
    net = Net(bad_step=STEPS + 2, spoil=spoil)
    kept = str(tmp_path / f"checkpoint-{STEPS}")
    said = rf"The {spoil} is no number at step 4 of 6, with .* The last good checkpoint is kept: '{re.escape(kept)}'"
    with pytest.raises(UserError, match=said) as error:
        run(tmp_path, net)
    assert "\n" not in str(error.value)
    assert torch.isfinite(weights(net)).all()  # the step was not taken
    resumed, unbroken = Net(), Net()
    run(tmp_path, resumed, resume=True)
    run(tmp_path / "unbroken", unbroken)
    assert torch.equal(weights(resumed), weights(unbroken))


def test_it_says_when_there_is_no_checkpoint_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at step 1 of 6.* There was no checkpoint yet. Start again with a lower"):
        run(tmp_path, Net(bad_step=1))


def test_only_whole_batches_and_every_epoch_told(tmp_path: Path) -> None:
    net, rows = Net(), Rows()
    run(tmp_path, net, rows=rows)
    assert net.sizes == [4] * 3 * STEPS
    assert [epoch for epoch, _ in groupby(rows.epochs)] == [0, 1, 2]


def test_a_checkpoint_in_time_and_an_exact_resume_within_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupt(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == STEPS + 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "STEPS", 1)
    monkeypatch.setattr(Checkpoints, "SECONDS", 0)
    unbroken = Net()
    run(tmp_path / "unbroken", unbroken)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", Net(), callbacks=(Interrupt(),))
    assert [path.name for path in (tmp_path / "broken").iterdir()] == [f"checkpoint-{STEPS + 1}"]
    resumed, rows = Net(), Rows()
    run(tmp_path / "broken", resumed, resume=True, rows=rows)
    assert torch.equal(weights(resumed), weights(unbroken))
    assert resumed.step == 3 * STEPS - (STEPS + 1)
    assert [epoch for epoch, _ in groupby(rows.epochs)] == [1, 2]


def test_no_checkpoint_is_due_within_a_short_epoch(tmp_path: Path) -> None:
    saved = []

    class Saved(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            saved.append(state.global_step)

    run(tmp_path, Net(), callbacks=(Saved(),))
    assert saved == [STEPS, 2 * STEPS, 3 * STEPS]


def test_progress_is_told_before_every_step_and_goes_on_where_it_was(tmp_path: Path) -> None:
    told: list[float] = []
    anneal = Anneal(told.append)
    run(tmp_path, Net(), callbacks=(anneal,))
    assert told == pytest.approx([step / (3 * STEPS) for step in range(3 * STEPS)])
    for checkpoint in tmp_path.iterdir():
        checkpoint.rename(tmp_path / "last")
    with pytest.raises(UserError):
        run(tmp_path, Net(bad_step=STEPS + 1), callbacks=(anneal,))
    told.clear()
    run(tmp_path, Net(), resume=True, callbacks=(anneal,))
    assert told[0] == pytest.approx(STEPS / (3 * STEPS))


def test_only_what_is_told_decays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = []

    class Look(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            groups.extend(kwargs["optimizer"].param_groups)

    net = Net()
    run(tmp_path, net, undecayed=frozenset(("norm.weight", "norm.bias", "map.bias", "gate")), callbacks=(Look(),))
    decayed = [p for group in groups if group["weight_decay"] for p in group["params"]]
    assert len(decayed) == 1
    assert decayed[0] is net.map.weight
    assert sum(len(group["params"]) for group in groups) == 5


class Clock:
    """Time that passes when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def state(step: int, epoch: float = 0.0, log: list[dict[str, float]] | None = None) -> Any:
    fields = {"global_step": step, "max_steps": 1000, "epoch": epoch, "log_history": log or []}
    return type("State", (), fields | {"is_world_process_zero": True})()


def test_the_pace_is_said_within_seconds_and_again_as_epochs_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = Clock(monkeypatch), []
    pace = Pace(batch_size=50, say=said.append)
    args = type("Args", (), {"num_train_epochs": 10.0})()
    pace.on_train_begin(args, state(0), None)
    for step in range(1, 24):
        clock.now += 1.5 if step == 1 else 0.1  # the first step warms up, and does not count
        pace.on_step_end(args, state(step), None)
    (first,) = said
    assert re.fullmatch(r"500 pictures a second, 2 min left, ends at \d\d:\d\d", first)
    pace.on_epoch_end(args, state(100, 1), None)  # too soon
    clock.now += 10
    log = [{"loss": 2.0}, {"loss": 0.51234, "learning_rate": 0.1}, {"training_accuracy": 0.9, "epoch": 1}]
    pace.on_epoch_end(args, state(223, 2.0, log), None)
    assert said[1].startswith("epoch 2/10: loss 0.512, training accuracy 90.0 %; 910 pictures a second, 43 s left")
    clock.now += 60
    pace.on_epoch_end(args, state(1000, 10.0), None)  # the end: the report says the rest
    assert len(said) == 2


def test_a_step_alone_tells_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of one short step, and a measurement that takes long."""
    clock, said = Clock(monkeypatch), []
    pace = Pace(batch_size=50, say=said.append)
    args = type("Args", (), {"num_train_epochs": 10.0})()
    pace.on_train_begin(args, state(0), None)
    clock.now += 0.8
    pace.on_step_end(args, state(1), None)
    clock.now += 12
    pace.on_epoch_end(args, state(1, 1.0), None)
    assert said == []


def test_a_long_first_step_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = Clock(monkeypatch), []
    pace = Pace(batch_size=50, say=said.append)
    pace.on_train_begin(None, state(0), None)  # type: ignore[arg-type]
    clock.now += 100
    pace.on_step_end(None, state(1), None)  # type: ignore[arg-type]
    assert re.fullmatch(r"0\.5 pictures a second, 27 h 45 min left, ends at \w+ \d\d \w+, \d\d:\d\d", said[0])


def test_the_pace_goes_to_stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(Pace, "FIRST", 0)
    run(tmp_path, Net(), pace=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "pictures a second" in err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7.4, "7 s"), (89, "89 s"), (100, "2 min"), (5300, "88 min"), (6000, "1 h 40 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_batch_is_shared_among_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert share(32) == 32
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert share(32) == 8
    with pytest.raises(UserError, match=r"--batch-size 30 does not divide among 4 processes"):
        share(30)


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_precision("auto", "cpu") == "fp32"
    assert pick_precision("bf16", "cpu") == "bf16"
    for has_it, chosen in ((True, "bf16"), (False, "fp32")):
        own = lambda including_emulation, has_it=has_it: has_it or including_emulation  # noqa: E731
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", own)
        assert pick_precision("auto", "cuda") == chosen
    with pytest.raises(UserError, match="this GPU does not have it"):
        pick_precision("bf16", "cuda")


def test_tensorboard_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"--tensorboard: .* pip install 'overtone\[tensorboard\]'"):
        run(tmp_path, Net(), tensorboard=tmp_path / "tensorboard")


def test_tensorboard_gets_every_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A writer in place of TensorBoard's, which need not be installed."""
    written: dict[str, list[int]] = {}

    class Writer:
        def __init__(self, log_dir: str) -> None:
            assert log_dir == str(tmp_path / "tensorboard")

        def __enter__(self) -> "Writer":
            return self

        def __exit__(self, *error: object) -> None:
            written["closed"] = []

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.setdefault(name, []).append(step)

        def add_text(self, *args: object) -> None:
            pass

        flush = close = add_text

    monkeypatch.setattr(module, "summary_writer", lambda: Writer)
    monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", type("Module", (), {"SummaryWriter": Writer}))
    settings = Loop(whole_batches=True, tensorboard=tmp_path / "tensorboard")
    train(Net(), Rows(), lambda batch: batch, CONFIG, tmp_path, False, lambda: {"validation_accuracy": 0.5}, settings)
    assert written["train/loss"] == list(range(1, 3 * STEPS + 1))
    assert written["train/validation_accuracy"] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert "closed" in written
