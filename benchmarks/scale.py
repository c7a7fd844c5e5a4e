"""What pre-training past one machine takes: `python -m benchmarks.scale`.

The model is a CLIP of ViT-B/16's size with 77 tokens of text, weights random. Measured: multiply-adds of a pair (three
times the forward pass with the backward, four with gradient caching), the bytes that a pair keeps for the backward
pass, processor's seconds on one thread, and the bytes that two processes hand to each other in a step of InfoNCE and of
SDE around it, counted at the calls. The formulas for any number of processes are held against that count.

The plan for many GPUs follows from these and from two assumptions, which are options: what a GPU computes and what its
network carries, both sustained. Gradients travel while the backward pass runs; features and SDE's moments do not.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from benchmarks.table import machine
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from overtone.counting import in_units, multiply_adds
from overtone.losses import SDE, InfoNCE, SDEConfig

GPUS = (8, 64, 512)
FLOAT = 4  # bytes
RESERVE = 16  # bytes a parameter: weights, gradient and AdamW's two moments in float32


def clip() -> CLIPModel:
    """Return a CLIP of ViT-B/16's size."""
    torch.manual_seed(0)
    return CLIPModel(CLIPConfig(vision_config={"patch_size": 16}))


def inputs(pairs: int) -> dict[str, Tensor]:
    """Return that many pairs."""
    return {"input_ids": torch.randint(1000, 40_000, (pairs, 77)), "pixel_values": torch.randn(pairs, 3, 224, 224)}


class Towers(nn.Module):
    """Both towers on positional arguments."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Return both embeddings."""
        out = self.model(input_ids=input_ids, pixel_values=pixel_values)
        return out.image_embeds, out.text_embeds


def kept_bytes(towers: nn.Module, pairs: int) -> int:
    """Return the bytes that the forward pass keeps for the backward pass, weights apart."""
    own = {p.untyped_storage().data_ptr() for p in towers.parameters()}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        outputs = towers(**inputs(pairs))
    assert outputs  # they hold what is counted
    return sum(kept.values())


def seconds(towers: nn.Module, pairs: int) -> float:
    """Return the processor's seconds of a forward and a backward pass."""
    given, started = inputs(pairs), time.process_time()
    image, text = towers(**given)
    (image @ text.T).sum().backward()
    return time.process_time() - started


def losses(together: bool) -> dict[str, nn.Module]:
    """Return the losses that are compared."""
    return {"InfoNCE": InfoNCE(together), "SDE": SDE(InfoNCE(together), SDEConfig(), together)}


def traffic(processes: int, batch: int, width: int) -> dict[str, int]:
    """Return the bytes that each process hands in at a step, by loss: formulas for any number of processes.

    InfoNCE gathers this process's features of both modalities, and sums the gradients of all processes' features. SDE
    sums a width x width moment, its count and the energies along a few hundred directions besides.
    """
    features = 2 * (batch // processes) * width * FLOAT + 2 * batch * width * FLOAT
    return {"InfoNCE": features, "SDE": features + 2 * width * width * FLOAT}


def count_traffic(rank: int, batch: int, width: int, folder: str) -> None:
    """Write how many bytes process `rank` of two hands in at a step, by loss."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    counted = {}
    for name, loss in losses(together=True).items():
        moved: list[int] = []
        reduce, gather = dist.all_reduce, dist.all_gather

        def counting_reduce(x: Tensor, *rest: Any, moved: list[int] = moved, reduce: Any = reduce, **named: Any) -> Any:
            moved.append(x.nbytes)
            return reduce(x, *rest, **named)

        def counting_gather(
            to: list[Tensor], x: Tensor, *rest: Any, moved: list[int] = moved, gather: Any = gather, **named: Any
        ) -> Any:
            moved.append(x.nbytes)
            return gather(to, x, *rest, **named)

        x, y = (torch.randn(batch // 2, width, requires_grad=True) for _ in range(2))
        with mock.patch.multiple(dist, all_reduce=counting_reduce, all_gather=counting_gather):
            loss(x, y, 20.0).backward()
        counted[name] = sum(moved)
    if rank == 0:
        torch.save(counted, Path(folder) / "counted.pt")
    dist.destroy_process_group()


def counted_traffic(batch: int, width: int) -> dict[str, int]:
    """Return what `count_traffic` counts in two processes."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(count_traffic, (batch, width, folder), nprocs=2)
        return torch.load(Path(folder) / "counted.pt", weights_only=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=float, default=400e6, help="seen in training")
    parser.add_argument("--batch", type=int, default=32_768, help="pairs a step, over all GPUs")
    parser.add_argument("--tflops", type=float, default=400, help="10^12 operations a second and GPU, sustained")
    parser.add_argument("--network", type=float, default=25, help="GB a second and GPU, sustained")
    parser.add_argument("--memory", type=float, default=80, help="GB a GPU")
    options = parser.parse_args()
    torch.set_num_threads(1)

    towers = Towers(clip()).train()
    forward = multiply_adds(towers, *inputs(1).values())
    kept = kept_bytes(towers, 3) - kept_bytes(towers, 2)
    seconds(towers, 1)
    spent = (seconds(towers, 4) - seconds(towers, 2)) / 2
    print(f"{machine()}; CLIP ViT-B/16, 77 tokens, {in_units(forward.parameters)} parameters\n")
    print("| of a pair | |\n|---|---:|")
    print(f"| multiply-adds, forward | {in_units(forward.multiply_adds)} |")
    print(f"| forward and backward | {in_units(3 * forward.multiply_adds)} |")
    print(f"| with gradient caching | {in_units(4 * forward.multiply_adds)} |")
    print(f"| kept for the backward pass, float32 | {kept / 1e6:.0f} MB |")
    print(f"| processor's seconds, one thread | {spent:.2f} |\n")

    print("Bytes that a process hands in at a step, features of float32:\n")
    print("| processes | batch | width | InfoNCE | SDE | SDE beyond InfoNCE |\n|---:|---:|---:|---:|---:|---:|")
    for batch, width in ((256, 128), (1024, 512)):
        counted = counted_traffic(batch, width)
        expected = traffic(2, batch, width)
        for name, moved in counted.items():
            if not expected[name] <= moved <= expected[name] + 64 * width * FLOAT:
                raise SystemExit(f"{name}: {moved} bytes were counted, {expected[name]} expected")
        print_traffic(2, batch, width, counted, "counted")
    for processes in GPUS:
        for width in (512, 1024):
            print_traffic(processes, options.batch, width, traffic(processes, options.batch, width), "formula")

    gradients = forward.parameters * FLOAT
    print(f"\nGradients besides: {gradients / 1e6:.0f} MB a step in float32, whatever the batch.\n")
    print(f"{options.pairs:,.0f} pairs in batches of {options.batch:,}, at {options.tflops:g} TFLOP/s and ", end="")
    print(f"{options.network:g} GB/s a GPU (assumed):\n")
    print(
        "| GPUs | pairs a GPU | at a time | step, ms | of it features, SDE | hours |\n|---:|---:|---:|---:|---:|---:|"
    )
    for processes in GPUS:
        share = options.batch // processes
        room = (0.8 * options.memory * 1e9 - RESERVE * forward.parameters) / (kept / 2)  # bf16 keeps half
        passes = 3 if share <= room else 4
        computing = passes * 2 * forward.multiply_adds * share / (options.tflops * 1e12)
        sending = 2 * traffic(processes, options.batch, 512)["SDE"] / (options.network * 1e9)
        step = max(computing, 2 * gradients / (options.network * 1e9)) + sending
        hours = options.pairs / options.batch * step / 3600
        chunk = f"{int(room):,}, by --chunk" if passes == 4 else "all"
        print(f"| {processes} | {share:,} | {chunk} | {1000 * step:.0f} | {1000 * sending:.1f} | {hours:.1f} |")


def print_traffic(processes: int, batch: int, width: int, moved: dict[str, int], how: str) -> None:
    """Print a line of the table."""
    more = 100 * (moved["SDE"] / moved["InfoNCE"] - 1)
    sizes = " | ".join(f"{moved[name] / 1e6:.2f} MB" for name in ("InfoNCE", "SDE"))
    print(f"| {processes} ({how}) | {batch:,} | {width:,} | {sizes} | {more:.0f} % |")


if __name__ == "__main__":
    main()
