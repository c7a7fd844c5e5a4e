"""What each of several processes runs: DistributedDataParallel over its share of the batches."""

import torch
import torch.distributed as dist
from loss_samples import Encoders, drawn
from safetensors.torch import save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from overtone.losses import SDE, SDEConfig

STEPS, BATCH = 4, 24


class Matched(nn.Module):
    """A base that is a mean over pairs, and so the same however they are shared out."""

    def forward(self, image_features, text_features, logit_scale):
        return logit_scale * (image_features - text_features).square().sum(1).mean()


def train(rank, processes, distributed):
    """Return weights, losses and SDE's state after a few steps on this process's share."""
    encoders = Encoders().double()
    model = DistributedDataParallel(encoders) if distributed else encoders
    loss = SDE(Matched(), SDEConfig(refresh=2), distributed=distributed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for step in range(STEPS):
        images, texts = (drawn(BATCH, 12, 10 * step + i, torch.float64).chunk(processes)[rank] for i in (1, 2))
        value = loss(*model(images, texts))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.detach())
    return {"losses": torch.stack(losses)} | {**encoders.state_dict(), **loss.state_dict()}


def run(rank, processes, folder):
    """Train as one of `processes` and write down what came out."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes)
    try:
        save_file(train(rank, processes, distributed=True), f"{folder}/{rank}.safetensors")
    finally:
        dist.destroy_process_group()
