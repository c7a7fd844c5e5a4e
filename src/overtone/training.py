"""Turn a few settings into a transformers Trainer: the loop, resume, precision and distribution are theirs."""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from overtone.errors import UserError, did_you_mean
from overtone.processes import process_number, processes

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


@dataclass(frozen=True)
class Loop:
    """What a long training needs beside its settings; the default is a short one's."""

    doing: str = "adapting"  # on the progress bar
    pace: bool = False  # say how fast it goes and when it ends, from the first seconds on
    whole_batches: bool = False  # leave the pictures of an epoch out that fill no batch: every step is of one size
    undecayed: frozenset[str] | None = None  # parameters without weight decay; the Trainer's own rule when None
    workers: int = 0  # processes that read ahead
    pinned: bool = True  # batches are made in memory that a GPU can fetch them from; False where they stand on the GPU
    tensorboard: Path | None = None  # where its event files go
    callbacks: tuple[TrainerCallback, ...] = ()
    steps: "Steps | None" = None  # count in steps, not in epochs
    unit: str = "pictures"  # what a batch's size counts
    trainer: "type[GuardedTrainer] | None" = None  # another than GuardedTrainer itself
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the Trainer, over those made here


@dataclass(frozen=True)
class Steps:
    """A training that is counted in steps; its data is an iterable of whole batches without an end.

    Each process iterates over the data for itself. A run that goes on does so from the start, and throws away what it
    has had: where the data has a method `pass_over`, it is told how many batches these are, and need not make them.
    """

    total: int
    measured: int  # steps between two measurements, each with a checkpoint
    logged: int = 1  # steps between two records; checkpoints fall on them, so that a mean is never cut in two

    @property
    def warmup(self) -> int:
        """Return the steps in which the learning rate rises: CLIP's 2,000, or a tenth of a short run."""
        return min(2000, self.total // 10)


def undecayed(network: torch.nn.Module, within: str = "") -> frozenset[str]:
    """Return the parameters that weight decay would harm: biases, norms, and what `no_weight_decay` names.

    Where `network` is a part of what is trained, `within` is its name there, with a dot.
    """
    named: set[str] = getattr(network, "no_weight_decay", set)()
    return frozenset(f"{within}{name}" for name, p in network.named_parameters() if p.dim() < 2 or name in named)


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
    last = _last_checkpoint(out) if resume else None
    if last and loop.steps and (state := _state(last)).global_step >= loop.steps.total:
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


def share(batch_size: int) -> int:
    """Return one process's part of a batch; UserError when it does not divide."""
    if batch_size % processes():
        raise UserError(f"--batch-size {batch_size} does not divide among {processes()} processes.")
    return batch_size // processes()


def pick_device(name: str) -> str:
    """Return the device that `name` stands for; "auto" is the first accelerator there is, else the CPU.

    Raises UserError for one that this machine lacks.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if there[device])
    kind, _, number = name.partition(":")
    if kind == "cuda" and number:
        raise UserError(f"--device {name}: give cuda, and choose the GPU by CUDA_VISIBLE_DEVICES={number}.")
    if not there.get(name, False):
        found = ", ".join(device for device in there if there[device])
        near = "" if name in there else did_you_mean(name, there)
        raise UserError(f"--device {name}: not on this machine, which has {found}.{near}")
    return name


def own_device(name: str) -> str:
    """Return the device of this process: the GPU of its own, where several train on one machine."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and processes() > 1 else name


def pick_precision(name: str, device: str) -> Precision:
    """Return the precision that `name` stands for; "auto" is bf16 on a GPU that has it, else fp32.

    Raises UserError for bf16 on a GPU that lacks it.
    """
    lacking = device == "cuda" and not torch.cuda.is_bf16_supported()
    if name == "bf16" and lacking:
        raise UserError("--precision bf16: this GPU does not have it. Use fp32.")
    return "bf16" if name == "bf16" or (name == "auto" and device == "cuda" and not lacking) else "fp32"


def _said_in_worker(error: UserError) -> str:
    """Return what a process that reads ahead has said, of which torch makes a whole trace; "" for another's error."""
    head, _, said = str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")
    return said if head.startswith("Caught UserError in DataLoader worker") else ""


def _last_checkpoint(out: Path) -> str | None:
    """Return the last checkpoint that was written whole: the Trainer writes its own state last."""
    whole = [path.parent for path in out.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def _is_json(path: Path) -> bool:
    """Tell a file that was written to its end from one that was cut short as a process was stopped."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _state(checkpoint: str) -> TrainerState:
    """Return where a training stood, with its log."""
    return TrainerState.load_from_json(str(Path(checkpoint, "trainer_state.json")))


class GuardedTrainer(Trainer):
    """A Trainer that takes no step which would spoil the weights, and that decays what it is told to."""

    Arguments: type[TrainingArguments] = TrainingArguments
    undecayed: frozenset[str] | None = None

    def training_step(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute loss and gradient; UserError when one of them is no number."""
        loss = super().training_step(model, *args, **kwargs)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if not torch.isfinite(loss + torch.nn.utils.get_total_norm(gradients)):
            raise UserError(self._what_was_lost(loss))
        return loss

    def get_train_dataloader(self) -> DataLoader:
        """Return the batches; those of a training that is counted in steps come made, to each process its own."""
        if self.args.max_steps < 0:
            return super().get_train_dataloader()
        assert self.train_dataset is not None
        workers = self.args.dataloader_num_workers
        return DataLoader(
            self.train_dataset, batch_size=None, num_workers=workers, pin_memory=self.args.dataloader_pin_memory
        )

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """Return the parameters with weight decay."""
        if self.undecayed is None:
            return super().get_decay_parameter_names(model)
        return [name for name, _ in model.named_parameters() if name not in self.undecayed]

    def _what_was_lost(self, loss: torch.Tensor) -> str:
        what = "gradient" if torch.isfinite(loss) else "loss"
        last = _last_checkpoint(Path(str(self.args.output_dir)))
        kept = f"The last good checkpoint is kept: {last!r}." if last else "There was no checkpoint yet."
        return (
            f"The {what} is no number at step {self.state.global_step + 1} of {self.state.max_steps}, with the "
            f"learning rate at {self._get_learning_rate():.1e}. {kept} Start again with a lower learning rate, or "
            "with --precision fp32 where it was another."
        )


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
        if now - max(self.said, self.begun) >= self.AGAIN and state.global_step < state.max_steps:
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
