"""The training itself: a Trainer made from a few settings."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from overtone.errors import UserError
from overtone.training.callbacks import AfterEpoch, AfterSteps, Checkpoints, EpochNumber, PassedOver
from overtone.training.config import Loop, Steps, TrainingConfig
from overtone.training.devices import share
from overtone.training.guarded import GuardedTrainer, last_checkpoint, state_of
from overtone.training.telling import Bar, Pace, tensorboard


def train(
    model: torch.nn.Module,
    data: Dataset,
    collate: Callable[[list], dict] | None,
    config: TrainingConfig,
    out: Path,
    resume: bool,
    measure: Callable[[], dict[str, float]] | None = None,
    loop: Loop | None = None,
) -> list[dict[str, Any]]:
    """Train `model`, whose forward returns a loss, and return the log: one record a logged step, with its epoch.

    After each epoch `measure` is called, and what it returns is a record of the log too. `data` that has a method
    `set_epoch` is told every epoch's number, from 0. Under torchrun, each process takes its part of every batch.

    A checkpoint is kept in `out` after every epoch, and every quarter of an hour. With `resume`, training goes on from
    the last one and ends with the same weights as if it had never stopped.

    With `loop.steps`, the training is counted in steps instead: `measure` is called at the start, at the end and as
    often as it says. Where the last checkpoint is of the last step, its weights and its log are all that is taken.

    Raises UserError at a step whose loss or gradient is no number; the step is not taken.
    """
    loop = loop or Loop()
    kind = loop.trainer or GuardedTrainer
    arguments = _arguments(kind, data, config, out, loop)
    bar = Bar(loop.doing)
    trainer = kind(model=model, args=arguments, train_dataset=data, data_collator=collate, callbacks=[bar])
    trainer.undecayed = loop.undecayed
    for callback in _callbacks(data, config, loop, measure, trainer.log, bar.say):
        trainer.add_callback(callback)
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    last = last_checkpoint(out) if resume else None
    if last and loop.steps and (state := state_of(last)).global_step >= loop.steps.total:
        trainer._load_from_checkpoint(last)  # the Trainer itself would take a step more
        return state.log_history
    with tensorboard(loop.tensorboard) as writer:
        if writer:
            trainer.add_callback(writer)
        try:
            trainer.train(resume_from_checkpoint=last)
        except UserError as error:
            if said := _said_in_worker(error):
                raise UserError(said) from error
            raise
        finally:
            bar.close()  # on Ctrl-C too: the terminal gets its cursor back
    # A record with "train_loss" is the Trainer's summary of it all
    return [record for record in trainer.state.log_history if "train_loss" not in record]


def _arguments(
    kind: "type[GuardedTrainer]", data: Dataset, config: TrainingConfig, out: Path, loop: Loop
) -> TrainingArguments:
    """Return the settings in the Trainer's words."""
    settings = {
        "output_dir": str(out),
        "per_device_train_batch_size": share(config.batch_size),
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "lr_scheduler_type": "cosine",
        "seed": config.seed,
        "bf16": config.precision == "bf16",
        "use_cpu": config.device == "cpu",
        "save_total_limit": 1,
        "logging_nan_inf_filter": False,  # the step stops instead
        "disable_tqdm": True,
        "report_to": "none",
        "remove_unused_columns": False,
        "dataloader_pin_memory": config.device != "cpu" and loop.pinned,
        "dataloader_num_workers": loop.workers,
        "dataloader_drop_last": loop.whole_batches,
        **(_by_epochs(data, config, loop) if loop.steps is None else _by_steps(loop.steps)),
    }
    arguments = kind.Arguments(**settings | dict(loop.arguments))
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several are torchrun's: no batch is multiplied behind our back
    return arguments


def _callbacks(
    data: Any,
    config: TrainingConfig,
    loop: Loop,
    measure: Callable[[], dict[str, float]] | None,
    log: Callable[[dict[str, float]], None],
    say: Callable[[str], None],
) -> list[TrainerCallback]:
    """Return what is called before and after steps and epochs."""
    callbacks: list[TrainerCallback] = [Checkpoints(loop.steps.logged if loop.steps else 1), *loop.callbacks]
    if hasattr(data, "set_epoch"):
        callbacks.append(EpochNumber(data.set_epoch))
    if hasattr(data, "pass_over"):
        callbacks.append(PassedOver(data.pass_over))
    if measure:
        after = AfterEpoch if loop.steps is None else partial(AfterSteps, loop.steps.measured)
        callbacks.append(after(measure, log))
    if loop.pace:
        callbacks.append(Pace(config.batch_size, say, loop.steps.measured if loop.steps else None, loop.unit))
    return callbacks


def _by_epochs(data: Dataset, config: TrainingConfig, loop: Loop) -> dict[str, Any]:
    """Return the arguments of a training that is counted in epochs."""
    rows: int = len(data)  # type: ignore[arg-type]
    steps = rows // config.batch_size if loop.whole_batches else -(-rows // config.batch_size)
    return {
        "num_train_epochs": config.epochs,
        "warmup_steps": int(steps * min(config.warmup_epochs, config.epochs / 2)),
        "save_strategy": "epoch",
        "logging_steps": max(1, steps // 5),
    }


def _by_steps(steps: Steps) -> dict[str, Any]:
    """Return the arguments of a training that is counted in steps; what is measured asks for the checkpoints."""
    return {
        "max_steps": steps.total,
        "warmup_steps": steps.warmup,
        "save_strategy": "no",
        "logging_steps": steps.logged,
    }


def _said_in_worker(error: UserError) -> str:
    """Return what a process that reads ahead has said, of which torch makes a whole trace; "" for another's error."""
    head, _, said = str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")
    return said if head.startswith("Caught UserError in DataLoader worker") else ""
