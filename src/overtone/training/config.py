"""How to train, and what a long training needs beside that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import TrainerCallback

if TYPE_CHECKING:
    from overtone.training.guarded import GuardedTrainer


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
