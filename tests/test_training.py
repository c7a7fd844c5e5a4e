"""The training loop: the same end after an interruption, and no trace of one on the terminal."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import overtone.training.loop as module
from overtone.training import Bar, TrainingConfig, train

CONFIG = TrainingConfig(epochs=3, batch_size=4, learning_rate=0.05)
STEPS = 3  # an epoch: ten rows in batches of four


class Numbers(Dataset):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, row: int) -> int:
        return row


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(2, 1)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.map(x) - y).square().mean()}


def collate(rows: list[int]) -> dict[str, Tensor]:
    """Draw at random, as FARL draws views: an exact resume has to restore the generator too."""
    x = torch.tensor(rows, dtype=torch.float32)[:, None] / 10 + torch.rand(len(rows), 2)
    return {"x": x, "y": x.sum(1, keepdim=True).sin()}


def run(out: Path, resume: bool = False, config: TrainingConfig = CONFIG) -> tuple[Tensor, list[dict[str, Any]]]:
    model = Line()
    log = train(model, Numbers(), collate, config, out, resume)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), log


class Stop:
    """Press Ctrl-C at a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        self.step, self.patch = step, monkeypatch

    def __enter__(self) -> None:
        original, step = Bar.on_step_end, self.step

        def interrupt(bar: Bar, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            original(bar, args, state, control, **kwargs)
            if state.global_step == step:
                raise KeyboardInterrupt

        self.context = self.patch.context()
        self.context.__enter__().setattr(Bar, "on_step_end", interrupt)

    def __exit__(self, *error: object) -> None:
        self.context.__exit__(None, None, None)


@pytest.mark.parametrize("step", [1, STEPS, STEPS + 1, 2 * STEPS + 2])
def test_an_interrupted_run_ends_where_an_unbroken_one_does(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, log = run(tmp_path / "unbroken")
    with Stop(monkeypatch, step), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken")
    torch.manual_seed(99)
    resumed, resumed_log = run(tmp_path / "broken", resume=True)
    assert torch.equal(resumed, unbroken)
    assert [record["loss"] for record in resumed_log] == [record["loss"] for record in log]


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first, _ = run(tmp_path)
    again, log = run(tmp_path, resume=True)
    assert torch.equal(first, again)
    assert log[-1]["step"] == CONFIG.epochs * STEPS


def test_without_resume_it_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken, _ = run(tmp_path / "unbroken")
    with Stop(monkeypatch, STEPS + 1), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken")
    anew, _ = run(tmp_path / "broken")
    assert torch.equal(anew, unbroken)


@pytest.mark.parametrize("written", [{}, {"trainer_state.json": ""}, {"trainer_state.json": '{"epoch": 2.0,'}])
def test_a_half_written_checkpoint_is_passed_over(
    written: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, _ = run(tmp_path / "unbroken")
    with Stop(monkeypatch, STEPS + 1), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken")
    half = tmp_path / "broken" / f"checkpoint-{2 * STEPS}"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"\x00")
    for name, text in written.items():
        (half / name).write_text(text)
    resumed, _ = run(tmp_path / "broken", resume=True)
    assert torch.equal(resumed, unbroken)


@pytest.mark.parametrize("there", [True, False])
def test_resuming_where_nothing_was_saved_starts_at_the_start(there: bool, tmp_path: Path) -> None:
    out = tmp_path / "run"
    if there:
        out.mkdir()
    assert torch.equal(run(out, resume=True)[0], run(tmp_path / "other")[0])


def test_one_checkpoint_is_kept(tmp_path: Path) -> None:
    run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"checkpoint-{CONFIG.epochs * STEPS}"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    one, other = run(tmp_path / "1")[0], run(tmp_path / "2")[0]
    third = run(tmp_path / "3", config=TrainingConfig(epochs=3, batch_size=4, learning_rate=0.05, seed=1))[0]
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_the_learning_rate_warms_up_for_an_epoch_and_falls_along_a_cosine(tmp_path: Path) -> None:
    _, log = run(tmp_path)
    rates = {record["step"]: record["learning_rate"] for record in log}
    assert rates[STEPS + 1] == pytest.approx(0.05, rel=1e-6)  # logged at a step is the rate that it took
    for step in range(STEPS + 1, 3 * STEPS + 1):
        cosine = 0.5 * (1 + torch.tensor((step - 1 - STEPS) / (2 * STEPS) * torch.pi).cos().item())
        assert rates[step] == pytest.approx(0.05 * cosine, rel=1e-5)


def test_ctrl_c_takes_the_bar_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Bar] = []

    class Seen(Bar):
        def __init__(self, doing: str) -> None:
            super().__init__(doing)
            bars.append(self)

    monkeypatch.setattr(module, "Bar", Seen)
    with Stop(monkeypatch, 2), pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert not bars[0].progress.live.is_started


def test_nothing_on_stdout_and_no_bar_where_stderr_is_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path)
    assert capfd.readouterr() == ("", "")
