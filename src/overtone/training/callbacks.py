"""What is done before and after steps and epochs."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from overtone.processes import processes


class Checkpoints(TrainerCallback):
    """Ask for a checkpoint where a quarter of an hour has gone by since the last: an epoch can take a day."""

    SECONDS = 900.0
    STEPS = 10  # between looks at the clock

    def __init__(self, logged: int = 1) -> None:
        """Take the steps between two records, where checkpoints are to fall on them."""
        self.logged = logged

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.last = time.monotonic()

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Start it again."""
        self.last = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask; all processes must save at the same step, so any one's clock counts for all."""
        if state.global_step % math.lcm(self.STEPS, self.logged) == 0:
            due = torch.tensor(float(time.monotonic() - self.last >= self.SECONDS), device=args.device)
            if processes() > 1:
                torch.distributed.all_reduce(due, torch.distributed.ReduceOp.MAX)
            control.should_save = control.should_save or bool(due)


class Anneal(TrainerCallback):
    """Tell a model before every step where training stands, from 0 to 1: all that changes with it follows from that."""

    def __init__(self, set_progress: Callable[[float], None]) -> None:
        self.set_progress = set_progress

    def on_step_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell it."""
        self.set_progress(state.global_step / state.max_steps)


class EpochNumber(TrainerCallback):
    """Tell the data which epoch begins."""

    def __init__(self, set_epoch: Callable[[int], None]) -> None:
        self.set_epoch = set_epoch

    def on_epoch_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell it; a run that goes on does so within an epoch."""
        self.set_epoch(int(state.epoch or 0))


class PassedOver(TrainerCallback):
    """Tell the data how many of its batches will be thrown away."""

    def __init__(self, pass_over: Callable[[int], None]) -> None:
        self.pass_over = pass_over

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell it."""
        self.pass_over(state.global_step)


class AfterSteps(TrainerCallback):
    """Write a measurement into the log at the start, every few steps and at the end, each with a checkpoint."""

    def __init__(
        self, steps: int, measure: Callable[[], dict[str, float]], log: Callable[[dict[str, float]], None]
    ) -> None:
        self.steps, self.measure, self.log = steps, measure, log

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure what there is before anything is learned."""
        if state.global_step == 0:
            self.log(self.measure())

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure."""
        if state.global_step % self.steps == 0 or state.global_step == state.max_steps:
            record_due = control.should_log
            self.log(self.measure())
            control.should_log = record_due  # of the loss; a record of another kind has taken it back
            control.should_save = True


class AfterEpoch(TrainerCallback):
    """Write a measurement into the log, and so into the checkpoint that follows, after every epoch."""

    def __init__(self, measure: Callable[[], dict[str, float]], log: Callable[[dict[str, float]], None]) -> None:
        self.measure, self.log = measure, log

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure."""
        self.log(self.measure())
