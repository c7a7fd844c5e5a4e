"""What each process of the two-process test runs: `train` on a folder, with a small network that is the same in all."""

import sys

import torch
from transformers.utils.logging import disable_progress_bar

from overtone.models.shfin import ShfinConfig, ShfinForImageClassification
from overtone.tasks.train import TrainConfig, train


def run(data: str, out: str, resume: bool = False) -> None:
    """Train for three epochs in steps of eight pictures, over however many processes there are."""
    disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"stem": 4, "dims": (32,), "depths": (2,), "patches": (4,), "kept": (5,)}
    network = ShfinForImageClassification(ShfinConfig(image_size=16, num_labels=4, **sizes))
    train(TrainConfig(data, out=out, epochs=3, batch_size=8, device="cpu", resume=resume), network)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2])
