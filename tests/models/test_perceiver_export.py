"""Perceivers compiled and exported agree with themselves."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import PreTrainedModel

from overtone.models import ImagePerceiverConfig, PerceiverForDenseOutput, PerceiverForImageClassification


def little(kind: type) -> PreTrainedModel:
    """Return a network with every kind of layer, and weights large enough that all parts matter."""
    torch.manual_seed(0)
    sizes = {"image_size": 8, "bands": 3, "latents": 6, "dim": 16, "blocks": 2, "cross_attends": 2, "self_attends": 1}
    model = kind(ImagePerceiverConfig(**sizes, heads=4, head="query", num_labels=5)).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def pictures(*size: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *(size or (8, 8)), generator=torch.Generator().manual_seed(1))


@pytest.mark.unchecked
@pytest.mark.parametrize("kind", [PerceiverForImageClassification, PerceiverForDenseOutput])
def test_compiles_into_one_graph_at_each_size(kind: type) -> None:
    model = little(kind)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for size in [(8, 8), (6, 9)]:
        assert_close(compiled(pictures(*size)).logits, model(pictures(*size)).logits, atol=1e-5, rtol=0)


class Logits(nn.Module):
    """What is exported: tensors in, tensors out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values).logits


@pytest.mark.parametrize("kind", [PerceiverForImageClassification, PerceiverForDenseOutput])
def test_onnx_agrees_for_any_number_of_pictures(kind: type) -> None:
    model, file = Logits(little(kind)).eval(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        batch = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(model, (pictures(),), dynamo=True, verbose=False, dynamic_shapes=batch).save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    x = pictures(batch=5)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, model(x).detach(), atol=1e-5)  # the bound
