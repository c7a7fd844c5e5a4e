"""What each of several processes runs: every loss over its share of one batch, in chunks and not, under DDP."""

import os

import torch
import torch.distributed as dist
from loss_samples import Encoders, drawn
from safetensors.torch import save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from overtone.losses import SDE, InfoNCE, SDEConfig, SigLIP, encode_in_chunks

BATCH, STEPS = 12, 3


class Trained(nn.Module):
    """Encoders with a loss, as a trainer sees them; SigLIP's bias is learned."""

    def __init__(self, loss, chunk):
        super().__init__()
        self.encoders, self.loss, self.chunk = Encoders().double(), loss, chunk
        self.logit_bias = nn.Parameter(torch.tensor(-2.0, dtype=torch.float64))

    def forward(self, images, texts):
        x = encode_in_chunks(self.encoders.image, images, self.chunk)
        y = encode_in_chunks(self.encoders.text, texts, self.chunk)
        base = getattr(self.loss, "base", self.loss)
        bias = {"logit_bias": self.logit_bias} if isinstance(base, SigLIP) else {}
        return self.loss(x, y, self.encoders.logit_scale.exp(), **bias) + 0 * self.logit_bias


def losses(distributed):
    """Every loss, with the refresh of SDE's basis among the steps."""
    config = SDEConfig(refresh=2, steps=STEPS)
    return {
        "infonce": InfoNCE(distributed),
        "siglip": SigLIP(distributed),
        "sde-infonce": SDE(InfoNCE(distributed), config, distributed),
        "sde-siglip": SDE(SigLIP(distributed), config, distributed),
    }


def train(rank, processes, chunk=None):
    """Return by loss the gradients of the last step, the losses, and the state that comes out."""
    results = {}
    for name, loss in losses(processes > 1).items():
        trained = Trained(loss, chunk)
        model = DistributedDataParallel(trained) if processes > 1 else trained
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.05)
        values = []
        for step in range(STEPS):
            images, texts = (drawn(BATCH, 12, 10 * step + i, torch.float64).chunk(processes)[rank] for i in (1, 2))
            optimizer.zero_grad()
            value = model(images, texts)
            value.backward()
            optimizer.step()
            values.append(value.detach())
        gradients = {f"gradient {key}": p.grad for key, p in trained.named_parameters()}
        state = {"losses": torch.stack(values)} | gradients | trained.state_dict()
        results |= {f"{name} {key}": value.clone() for key, value in state.items()}
    return results


def run(rank, processes, folder):
    """Train as one of `processes`, without chunks and with, and write down what came out."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes)
    for chunk in (0, 4):
        save_file(train(rank, processes, chunk or None), f"{folder}/{rank}-{chunk}.safetensors")
    dist.barrier()
    os._exit(0)  # past the threads of DDP and gloo, whose end aborts the process now and then on a busy machine
