"""What SDE costs beside a route through torch.linalg.svd and beside a training step: `python -m benchmarks.sde_cost`.

Features are drawn with the spectrum of CLIP's image embeddings: strong, weak and noise in its shares. Three losses take
the same batches in turn, forward and backward: InfoNCE, SDE, and SDE's formulas with an SVD of each modality at every
step and the gradient through it. What SDE adds to InfoNCE is set against what the SVD's route adds to it, refreshes of
the basis included.

The training step is that of a ViT-B/16 with AdamW, the image tower alone, at two small batches; a line through them is
followed to the batch of the losses. Times are of the processor on one thread, so that other processes do not enter.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from benchmarks.table import machine
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import ViTConfig, ViTModel

from overtone.losses import SDE, InfoNCE, SDEConfig
from overtone.spectral import hellinger_squared, partition, subspace_overlap
from overtone.spectral.metrics import subspace_size
from overtone.spectral.singular import noise_limits

SCALE = 20.0
Pair = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor, float], Tensor]


class ThroughSvd(nn.Module):
    """The same loss as users would write it: F~ = U (S + D) V^T, and S and V in the spectral loss, by torch's SVD."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.alpha, self.lam = InfoNCE(), SDEConfig().alpha[0], SDEConfig().lam[0]

    def forward(self, image_features: Tensor, text_features: Tensor, logit_scale: float) -> Tensor:
        """Return the loss."""
        parts = [torch.linalg.svd(normalize(F), full_matrices=False) for F in (image_features, text_features)]
        x, y = ((U * (S * self.gains(S.detach(), len(U)))) @ Vh for U, S, Vh in parts)
        (_, s, Vx), (_, t, Vy) = parts
        k = subspace_size(len(Vx))
        spectral = hellinger_squared(s, t) + 1 - subspace_overlap(Vx[:k].T, Vy[:k].T)
        return self.base(x, y, logit_scale) + self.lam * spectral

    def gains(self, s: Tensor, samples: int) -> Tensor:
        """Return g, one a singular value."""
        _, edge, fence = noise_limits(s, samples, len(s))
        r, energy = s / s[0], s.square()
        noise = 1 - self.alpha * energy[s > edge].sum() / energy.sum()
        strong = 1 + self.alpha * r * (2 * torch.rand_like(s) - 1)
        return torch.where(s > fence, strong, torch.where(s > edge, 1 - self.alpha * (1 - r), noise))


def clip_like(batch: int, width: int, batches: int) -> list[Pair]:
    """Return pairs of features with a mean direction, a fifth of the dimensions in common that fade, and noise."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    signal = width // 5
    fading = 5 * torch.arange(1, signal + 1) ** -0.5
    V = torch.linalg.qr(draw(width, width))[0]
    pairs = []
    for _ in range(batches):
        shared = (draw(batch, signal) * fading) @ V[:, :signal].T + 8 * V[:, 0]
        pairs.append((shared + 0.3 * draw(batch, width), shared + 0.3 * draw(batch, width)))
    return [(x.requires_grad_(), y.requires_grad_()) for x, y in pairs]


def seconds(work: Callable[[], object]) -> float:
    """Return the processor's time."""
    started = time.process_time()
    work()
    return time.process_time() - started


def run(loss: Loss, pairs: Sequence[Pair]) -> None:
    """Take every batch forward and backward."""
    for x, y in pairs:
        torch.autograd.grad(loss(x, y, SCALE), (x, y))


def measure_losses(pairs: Sequence[Pair], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds a step of every loss, one figure a round; the losses take turns."""
    losses: dict[str, Loss] = {"InfoNCE": InfoNCE(), "SDE": SDE(), "through svd": ThroughSvd()}
    times: dict[str, list[float]] = {name: [] for name in losses}
    for round_ in range(rounds + 1):
        for name, loss in losses.items():
            spent = seconds(lambda loss=loss: run(loss, pairs))  # type: ignore[misc]
            if round_:  # the first warms up
                times[name].append(1000 * spent / len(pairs))
    return times


def training_step(batch: int, repeats: int) -> float:
    """Return seconds of a step of ViT-B/16, the median of a few: forward, backward and AdamW."""
    torch.manual_seed(0)
    model = ViTModel(ViTConfig())  # its defaults are B/16 at 224 x 224
    optimizer, pixels = torch.optim.AdamW(model.parameters()), torch.randn(batch, 3, 224, 224)

    def step() -> None:
        optimizer.zero_grad()
        model(pixels).pooler_output.square().mean().backward()
        optimizer.step()

    step()
    return statistics.median(seconds(step) for _ in range(repeats))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vit-batches", type=int, nargs=2, default=[2, 6])
    options = parser.parse_args()
    torch.set_num_threads(1)

    pairs = clip_like(options.batch, options.width, batches=SDEConfig().refresh)
    parts = partition(normalize(pairs[0][0].detach()))
    shares = " / ".join(f"{100 * part.share:.1f}" for part in (parts.strong, parts.weak, parts.noise))
    print(f"{machine()}, one thread, processor's time; batch {options.batch}, width {options.width}")
    print(f"strong / weak / noise of the features: {shares} %\n")

    times = measure_losses(pairs, options.rounds)
    print("| loss, forward and backward | ms a step (median) | least to most | beyond InfoNCE |\n|---|---:|---:|---:|")
    added = {}
    for name, figures in times.items():
        added[name] = statistics.median(a - b for a, b in zip(figures, times["InfoNCE"], strict=True))
        spread = f"{min(figures):.1f} to {max(figures):.1f}"
        print(f"| {name} | {statistics.median(figures):.1f} | {spread} | {added[name]:.1f} |")
    print(f"\nSDE adds {100 * added['SDE'] / added['through svd']:.1f} % of what the route through svd adds.")

    few, more = options.vit_batches
    at_few, at_more = (training_step(batch, repeats=2) for batch in (few, more))
    sample = (at_more - at_few) / (more - few)
    step = at_few + (options.batch - few) * sample
    print(f"\nViT-B/16 step: {at_few:.2f} s at batch {few}, {at_more:.2f} s at {more}: {sample:.2f} s a sample.")
    print(f"At batch {options.batch} that makes {step:.0f} s, of which SDE adds {added['SDE'] / 10 / step:.4f} %.")


if __name__ == "__main__":
    main()
