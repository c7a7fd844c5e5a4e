"""Turn a few settings into a transformers Trainer: the loop, resume, precision and distribution are theirs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from overtone.errors import UserError, did_you_mean

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; the defaults are MMRL's (arXiv 2503.08497) where it states them."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
    seed: int = 0
    precision: Precision = "fp32"
    device: str = "cpu"


def train(
    model: torch.nn.Module,
    data: Dataset,
    collate: Callable[[list], dict],
    config: TrainingConfig,
    out: Path,
    resume: bool,
    measure: Callable[[], dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Train `model`, whose forward returns a loss, and return the log: one record a logged step, with its epoch.

    After each epoch `measure` is called, and what it returns is a record of the log too.

    A checkpoint is kept in `out` after every epoch. With `resume`, training goes on from the last one and ends with the
    same weights as if it had never stopped.
    """
    steps = -(-len(data) // config.batch_size)  # type: ignore[arg-type]
    arguments = TrainingArguments(
        output_dir=str(out),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=int(steps * min(config.warmup_epochs, config.epochs / 2)),
        lr_scheduler_type="cosine",
        seed=config.seed,
        bf16=config.precision == "bf16",
        use_cpu=config.device == "cpu",
        save_strategy="epoch",
        save_total_limit=1,
        logging_steps=max(1, steps // 5),
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=config.device != "cpu",
    )
    bar = Bar()
    callbacks = [bar, *([AfterEpoch(measure)] if measure else [])]
    trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=collate, callbacks=callbacks)
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    try:
        trainer.train(resume_from_checkpoint=_last_checkpoint(out) if resume else None)
    finally:
        bar.close()  # on Ctrl-C too: the terminal gets its cursor back
    return [
        record for record in trainer.state.log_history if "train_loss" not in record
    ]  # all but the Trainer's summary


def pick_device(name: str) -> str:
    """Return the device that `name` stands for; "auto" is the first accelerator there is, else the CPU.

    Raises UserError for one that this machine lacks.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there.get(name.split(":")[0], False):
        found = ", ".join(device for device in there if there[device])
        near = "" if name in there else did_you_mean(name, there)
        raise UserError(f"--device {name}: not on this machine, which has {found}.{near}")
    return name


def _last_checkpoint(out: Path) -> str | None:
    """Return the last checkpoint that was written whole: the Trainer writes its own state last."""
    whole = [path.parent for path in out.glob("checkpoint-*/trainer_state.json")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


class AfterEpoch(TrainerCallback):
    """Write a measurement into the log, and so into the checkpoint that follows, after every epoch."""

    def __init__(self, measure: Callable[[], dict[str, float]]) -> None:
        self.measure = measure

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure."""
        state.log_history.append(self.measure() | {"epoch": state.epoch, "step": state.global_step})


class Bar(TrainerCallback):
    """A progress bar on stderr: epoch, loss, learning rate, time left."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("adapting  epoch {task.fields[epoch]:.0f}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]}  rate {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def close(self) -> None:
        """Take the bar away."""
        self.progress.stop()

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the bar where the run starts."""
        epochs = int(args.num_train_epochs)
        self.task = self.progress.add_task("", total=state.max_steps, epoch=0, epochs=epochs, loss="-", rate="-")
        self.progress.update(self.task, completed=state.global_step)
        self.progress.start()

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Move on."""
        self.progress.update(self.task, completed=state.global_step, epoch=state.epoch)

    def on_log(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the last loss and learning rate."""
        logs = kwargs["logs"]
        if "loss" in logs:
            self.progress.update(self.task, loss=f"{logs['loss']:.3f}", rate=f"{logs['learning_rate']:.1e}")
