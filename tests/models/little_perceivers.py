"""Perceivers of a size for tests; run as a program, it compiles them and compares.

A program of its own, since the tests' checks of shapes are in the way of the compiler.
"""

import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from overtone.models import ImagePerceiverConfig, PerceiverForDenseOutput, PerceiverForImageClassification

KINDS = (PerceiverForImageClassification, PerceiverForDenseOutput)


def little(kind: type) -> PreTrainedModel:
    """Return a network with every kind of layer, and weights large enough that all parts matter."""
    torch.manual_seed(0)
    sizes = {"image_size": 8, "bands": 3, "latents": 6, "dim": 16, "blocks": 2, "cross_attends": 2, "self_attends": 1}
    model = kind(ImagePerceiverConfig(**sizes, heads=4, head="query", num_labels=5)).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def pictures(*size: int, batch: int = 2) -> Tensor:
    """Return random pictures, of 8 x 8 pixels where no size is given."""
    return torch.randn(batch, 3, *(size or (8, 8)), generator=torch.Generator().manual_seed(1))


def compare_compiled(kind: type) -> None:
    """Compile a network into one graph at each of two sizes; AssertionError where it is another then."""
    model = little(kind)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for size in [(8, 8), (6, 9)]:
        assert_close(compiled(pictures(*size)).logits, model(pictures(*size)).logits, atol=1e-5, rtol=0)


if __name__ == "__main__":
    for kind in KINDS:
        compare_compiled(kind)
