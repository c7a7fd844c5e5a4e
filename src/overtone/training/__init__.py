"""Turn a few settings into a transformers Trainer: the loop, resume, precision and distribution are theirs."""

from overtone.training.callbacks import Anneal, Checkpoints
from overtone.training.config import Loop, Precision, Steps, TrainingConfig, undecayed
from overtone.training.devices import own_device, pick_device, pick_precision, share
from overtone.training.guarded import GuardedTrainer
from overtone.training.loop import train
from overtone.training.telling import Bar, Pace, duration, summary_writer

__all__ = [
    "Anneal",
    "Bar",
    "Checkpoints",
    "GuardedTrainer",
    "Loop",
    "Pace",
    "Precision",
    "Steps",
    "TrainingConfig",
    "duration",
    "own_device",
    "pick_device",
    "pick_precision",
    "share",
    "summary_writer",
    "train",
    "undecayed",
]
