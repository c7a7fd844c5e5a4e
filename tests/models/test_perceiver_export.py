"""Perceivers compiled and exported agree with themselves."""

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from little_perceivers import KINDS, little, pictures
from torch import Tensor, nn


def test_compiles_into_one_graph_at_each_size() -> None:
    program = Path(__file__).with_name("little_perceivers.py")
    done = subprocess.run([sys.executable, "-W", "error", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Logits(nn.Module):
    """What is exported: tensors in, tensors out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values).logits


@pytest.mark.parametrize("kind", KINDS)
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
