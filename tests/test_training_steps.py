"""A training that is counted in steps, on data without an end."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from overtone.training import Bar, Checkpoints, Loop, Pace, Steps, TrainingConfig, train

CONFIG = TrainingConfig(batch_size=4, learning_rate=0.05)


class Endless(IterableDataset):
    """Batches that are told by their step."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return map(self.batch, itertools.count())

    def batch(self, step: int) -> dict[str, Tensor]:
        self.made.append(step)
        x = torch.arange(4.0)[:, None] / 4 + step
        return {"x": x, "y": x.sin()}


class Told(Endless):
    """The same, but for those that are thrown away."""

    passed = 0

    def pass_over(self, steps: int) -> None:
        self.passed = steps

    def batch(self, step: int) -> dict[str, Tensor]:
        return super().batch(step) if step >= self.passed else {}


class Net(nn.Module):
    """A network with dropout, which draws from torch's generator."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.layers(x) - y).square().mean()}


def run(
    out: Path, net: Net, data: Endless | None = None, resume: bool = False, steps: Steps | None = None, **loop: Any
) -> list[dict[str, Any]]:
    counted = {"weights": 0.0}

    def measure() -> dict[str, float]:
        counted["weights"] = float(weights(net).sum())
        return dict(counted)

    return train(net, data or Endless(), None, CONFIG, out, resume, measure, Loop(steps=steps or Steps(10, 4), **loop))


def weights(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_it_measures_at_the_start_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    log = run(tmp_path, Net())
    assert [record["step"] for record in log if "weights" in record] == [0, 4, 8, 10]
    assert [record["step"] for record in log if "loss" in record] == [*range(1, 11)]  # a measurement hides none
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-10"]
    assert log[0]["weights"] == pytest.approx(float(weights(Net()).sum()))


def test_records_are_means_over_the_steps_between(tmp_path: Path) -> None:
    every = {r["step"]: r["loss"] for r in run(tmp_path / "every", Net()) if "loss" in r}
    some = {r["step"]: r["loss"] for r in run(tmp_path / "some", Net(), steps=Steps(10, 4, logged=2)) if "loss" in r}
    assert list(some) == [2, 4, 6, 8, 10]
    for step, loss in some.items():
        assert loss == pytest.approx((every[step - 1] + every[step]) / 2, rel=1e-4)  # the log rounds


@pytest.mark.parametrize("data", [Endless, Told])
@pytest.mark.parametrize("stop", [5, 7])
def test_an_exact_resume(data: type[Endless], stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the checkpoint of step 4; dropout's draws go on where they were, and the log is that of one run."""
    unbroken = Net()
    expected = run(tmp_path / "unbroken", unbroken)
    original = Bar.on_step_end

    def interrupt(bar: Bar, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(bar, args, state, control, **kwargs)
        if state.global_step == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "on_step_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", Net(), data())
    torch.manual_seed(99)
    resumed, some = Net(), data()
    log = run(tmp_path / "run", resumed, some, resume=True)
    assert torch.equal(weights(resumed), weights(unbroken))
    assert log == expected
    assert some.made[0] == (4 if data is Told else 0)


@pytest.mark.parametrize("data", [Endless, Told])
def test_after_the_last_step_there_is_nothing_more_to_learn(data: type[Endless], tmp_path: Path) -> None:
    """A run may be interrupted when it has been trained and is being judged."""
    trained, resumed, some = Net(), Net(), data()
    log = run(tmp_path, trained, data())
    assert run(tmp_path, resumed, some, resume=True) == log
    assert torch.equal(weights(resumed), weights(trained))
    assert some.made == []


def test_checkpoints_in_time_fall_on_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "STEPS", 2)
    monkeypatch.setattr(Checkpoints, "SECONDS", 0)
    kept = []
    on_save = Checkpoints.on_save

    def saved(self: Checkpoints, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kept.append(state.global_step)
        on_save(self, args, state, control, **kwargs)

    monkeypatch.setattr(Checkpoints, "on_save", saved)
    run(tmp_path, Net(), steps=Steps(10, 9, logged=3))
    assert kept == [6, 9, 10]


@pytest.mark.parametrize(("total", "warmup"), [(5, 0), (100, 10), (10**6, 2000)])
def test_the_rate_rises_over_a_tenth_of_a_short_run(total: int, warmup: int) -> None:
    assert Steps(total, 1).warmup == warmup


def test_the_pace_is_told_by_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    monkeypatch.setattr(Pace, "FIRST", 0.0)
    monkeypatch.setattr(Pace, "AGAIN", 0.0)
    monkeypatch.setattr(Bar, "say", lambda bar, line: said.append(line))
    run(tmp_path, Net(), pace=True)
    assert [line.split(": ")[0] for line in said[1:]] == ["step 4/10", "step 8/10"]
    assert "loss" in said[1]
