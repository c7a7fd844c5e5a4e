"""A dual encoder with its loss: what a step of pre-training computes."""

import math
from typing import Literal, Self

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from overtone.data.pixels import Normalise
from overtone.errors import UserError
from overtone.losses import SDE, InfoNCE, SDEConfig, SigLIP, encode_in_chunks
from overtone.models.assembly import Assembly, Lock
from overtone.processes import processes
from overtone.training import undecayed

LossName = Literal["infonce", "siglip"]
HIGHEST_SCALE = math.log(100)  # CLIP's bound of the logit scale


def make_loss(name: LossName, sde: bool, steps: int) -> nn.Module:
    """Return the loss, with the negatives of all processes."""
    together = processes() > 1
    base: nn.Module = InfoNCE(together) if name == "infonce" else SigLIP(together)
    return SDE(base, SDEConfig(steps=steps), together) if sde else base


class Objective(nn.Module):
    """The model, the loss and, where memory is small, the number of pairs whose activations are kept at a time."""

    def __init__(self, assembly: Assembly, loss: nn.Module, lock: Lock = "none", chunk: int | None = None) -> None:
        """Raise UserError for chunks with a tower whose rows depend on each other."""
        super().__init__()
        self.model, self.loss, self.lock, self.chunk = assembly.model, loss, lock, chunk
        self.normalise = Normalise(assembly.preparation.mean, assembly.preparation.std)
        for side in ("image", "text"):
            norms = [m for m in getattr(self.model, side).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
            if norms and chunk is not None and lock != side:
                without = " (--image-tower shfin has none)" if side == "image" else ""
                raise UserError(
                    f"--chunk {chunk}: the {side} tower has batch normalisation, by which each row depends on its "
                    f"whole batch. Take another tower{without}, lock it, or leave --chunk out."
                )

    def train(self, mode: bool = True) -> Self:
        """Switch to training, but for a locked tower: it is to stay what it was."""
        super().train(mode)
        if self.lock != "none":
            getattr(self.model, self.lock).eval()
        return self

    def forward(
        self, pixels: UInt8[Tensor, "batch 3 size size"], input_ids: Int[Tensor, "batch length"]
    ) -> dict[str, Tensor]:
        """Return the loss of a batch of pairs."""
        image = encode_in_chunks(self.encode_image, pixels, self.chunk)
        text = encode_in_chunks(self.model.text, input_ids, self.chunk)
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=HIGHEST_SCALE)
        bias = {} if self.model.logit_bias is None else {"logit_bias": self.model.logit_bias}
        return {"loss": self.loss(image, text, self.model.logit_scale.exp(), **bias)}

    def encode_image(self, pixels: UInt8[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch features"]:
        """Return the embeddings of pictures as bytes."""
        return self.model.image(self.normalise(pixels))

    def undecayed(self) -> frozenset[str]:
        """Return the parameters that weight decay would harm: biases, norms, and what the model names."""
        return undecayed(self.model, "model.")

    def spectral_terms(self) -> dict[str, float]:
        """Return what SDE's loss was made of at the last step, for the log; nothing for another loss."""
        terms = getattr(self.loss, "terms", {})
        return {f"sde_{name}": float(value) for name, value in terms.items() if name != "base"}
