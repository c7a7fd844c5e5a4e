"""Where a training runs, and in which precision."""

import os

import torch

from overtone.errors import UserError, did_you_mean
from overtone.processes import processes
from overtone.training.config import Precision


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
    lacking = device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "bf16" and lacking:
        raise UserError("--precision bf16: this GPU does not have it. Use fp32.")
    return "bf16" if name == "bf16" or (name == "auto" and device == "cuda" and not lacking) else "fp32"


def share(batch_size: int) -> int:
    """Return one process's part of a batch; UserError when it does not divide."""
    if batch_size % processes():
        raise UserError(f"--batch-size {batch_size} does not divide among {processes()} processes.")
    return batch_size // processes()
