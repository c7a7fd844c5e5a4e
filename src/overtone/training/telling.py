"""What a training says as it goes on: a bar, its pace, and files for TensorBoard."""

import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainingArguments

from overtone.errors import UserError
from overtone.processes import process_number


class Bar(TrainerCallback):
    """A progress bar on stderr: epoch or step, loss, learning rate, time left."""

    def __init__(self, doing: str) -> None:
        """Take the word for what goes on."""
        self.doing = doing
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}  {task.fields[where]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]}  rate {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal or process_number() > 0,
        )

    def say(self, line: str) -> None:
        """Write a line above the bar, or where the bar would be."""
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        self.progress.stop()

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the bar where the run starts."""
        where = self._where(args, state)
        self.task = self.progress.add_task(self.doing, total=state.max_steps, where=where, loss="-", rate="-")
        self.progress.update(self.task, completed=state.global_step)
        self.progress.start()

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Move on."""
        self.progress.update(self.task, completed=state.global_step, where=self._where(args, state))

    def on_log(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the last loss and learning rate."""
        logs = kwargs["logs"]
        if "loss" in logs:
            self.progress.update(self.task, loss=f"{logs['loss']:.3f}", rate=f"{logs['learning_rate']:.1e}")

    def _where(self, args: TrainingArguments, state: Any) -> str:
        if args.max_steps > 0:
            return f"step {state.global_step}/{args.max_steps}"
        return f"epoch {state.epoch or 0:.0f}/{int(args.num_train_epochs)}"


class Pace(TrainerCallback):
    """Say within seconds how much is learned from a second and when it ends, and again as epochs end."""

    FIRST = 2.0  # seconds
    AGAIN = 10.0
    TOLD = ("accuracy", "recall_at_1")  # how the figures end that are given

    def __init__(
        self, batch_size: int, say: Callable[[str], None], measured: int | None = None, unit: str = "pictures"
    ) -> None:
        """Take what says it, and the steps between two measurements where steps are counted instead of epochs.

        `unit` is what a batch's size counts.
        """
        self.batch_size, self.say, self.measured, self.unit = batch_size, say, measured, unit

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.begun, self.first, self.said, self.warm = time.monotonic(), state.global_step, 0.0, False

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Speak up once; the first step alone, which warms up, counts only where it is long."""
        now = time.monotonic()
        if not self.said and now - self.begun >= self.FIRST:
            self._tell("", state, now)
        elif not self.warm:
            self.begun, self.first = now, state.global_step
        self.warm = True
        if self.measured and state.global_step % self.measured == 0:
            self._give_figures(f"step {state.global_step}/{state.max_steps}", state)

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Give the last figures."""
        if not self.measured:
            self._give_figures(f"epoch {state.epoch:.0f}/{args.num_train_epochs:.0f}", state)

    def _give_figures(self, where: str, state: Any) -> None:
        """Give them not more often than a reader can follow."""
        now = time.monotonic()
        timed = self.first < state.global_step < state.max_steps  # a step alone, which warms up, tells no speed
        if timed and now - max(self.said, self.begun) >= self.AGAIN:
            latest = {name: value for record in state.log_history for name, value in record.items()}
            figures = [f"loss {latest['loss']:.3f}"] if "loss" in latest else []
            figures += [f"{n.replace('_', ' ')} {100 * v:.1f} %" for n, v in latest.items() if n.endswith(self.TOLD)]
            figures += [f"BLEU {v:.1f}" for n, v in latest.items() if n.endswith("bleu")]
            self._tell(f"{where}: {', '.join(figures)}; ", state, now)

    def _tell(self, figures: str, state: Any, now: float) -> None:
        self.said = now
        a_step = (now - self.begun) / (state.global_step - self.first)
        left = a_step * (state.max_steps - state.global_step)
        ends = datetime.now() + timedelta(seconds=left)
        when = f"{ends:%H:%M}" if left < 86400 else f"{ends:%A %d %B, %H:%M}"
        rate = self.batch_size / a_step
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        if state.is_world_process_zero:
            self.say(f"{figures}{speed} {self.unit} a second, {duration(left)} left, ends at {when}")


def duration(seconds: float) -> str:
    """Return a time in the two units that matter: "40 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


@contextlib.contextmanager
def tensorboard(folder: Path | None) -> Any:
    """Yield the callback that writes TensorBoard's event files into `folder`; None without one."""
    if folder is None or process_number():
        yield None
        return
    from transformers.integrations import TensorBoardCallback

    with summary_writer()(log_dir=str(folder)) as writer:
        yield TensorBoardCallback(writer)


def summary_writer() -> Any:
    """Return what writes TensorBoard's event files; UserError when TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "--tensorboard: TensorBoard is not installed. Get it with: pip install 'overtone[tensorboard]'"
        ) from error
    return SummaryWriter
