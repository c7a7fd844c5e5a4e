"""Our Perceivers with the weights of transformers': the same values."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModelForImageClassification,
    PerceiverConfig,
    PerceiverForImageClassificationFourier,
    PerceiverForOpticalFlow,
    PreTrainedModel,
)

from overtone.models import convert_perceiver_classifier, convert_perceiver_flow

SMALL = {"num_latents": 6, "d_latents": 24, "num_blocks": 2, "num_self_attends_per_block": 2, "num_labels": 5}
SMALL |= {"num_self_attention_heads": 4, "num_cross_attention_heads": 1, "train_size": [8, 10]}
# Of the largest value: one kernel of attention against three steps, so other sums of some hundreds of products.
PRECISIONS = [(torch.float64, 1e-13), (torch.float32, 1e-5)]


def theirs(kind: type, dtype: torch.dtype = torch.float64, **changes) -> PreTrainedModel:
    """Return their network with weights large enough that all parts matter."""
    torch.manual_seed(0)
    model = kind(PerceiverConfig(**SMALL | changes)).eval().to(dtype)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    return model


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "rounding"), PRECISIONS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"num_blocks": 1}, {"num_self_attends_per_block": 1, "num_self_attention_heads": 2, "num_labels": 1}],
)
@pytest.mark.parametrize("size", [(9, 9), (16, 7)])
def test_classifiers_agree(changes: dict, dtype: torch.dtype, rounding: float, size: tuple[int, int]) -> None:
    other = theirs(PerceiverForImageClassificationFourier, dtype, **changes)
    x = torch.randn(3, 3, *size, dtype=dtype)
    expected = other(inputs=x).logits
    largest = expected.abs().max().item()
    assert largest > 0.1
    assert_close(convert_perceiver_classifier(other)(x).logits, expected, atol=rounding * largest, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "rounding"), PRECISIONS)
@pytest.mark.parametrize("changes", [{}, {"num_blocks": 1, "train_size": [7, 4], "num_cross_attention_heads": 2}])
def test_dense_networks_agree(changes: dict, dtype: torch.dtype, rounding: float) -> None:
    other = theirs(PerceiverForOpticalFlow, dtype, **changes)
    frames = torch.randn(2, 2, 27, *other.config.train_size, dtype=dtype)
    expected = other(inputs=frames).logits
    ours = convert_perceiver_flow(other)(frames.flatten(1, 2)).logits
    largest = expected.abs().max().item()
    assert largest > 0.1
    assert_close(ours.permute(0, 2, 3, 1), expected, atol=rounding * largest, rtol=0)


def test_gradients_agree() -> None:
    other = theirs(PerceiverForImageClassificationFourier)
    ours, x = convert_perceiver_classifier(other), torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(other(inputs=x).logits.sin().sum(), x)
    (found,) = torch.autograd.grad(ours(x).logits.sin().sum(), x)
    assert_close(found, expected, atol=1e-12, rtol=0)


def test_what_is_converted_can_be_saved(tmp_path: Path) -> None:
    ours = convert_perceiver_classifier(
        theirs(PerceiverForImageClassificationFourier, torch.float32, id2label={0: "cat", 1: "dog"}, num_labels=2)
    )
    ours.save_pretrained(tmp_path)
    again, x = AutoModelForImageClassification.from_pretrained(tmp_path).eval(), torch.randn(1, 3, 8, 8)
    assert_close(again(x).logits, ours(x).logits, atol=1e-5, rtol=0)  # the same weights lie otherwise in memory
    assert again.config.id2label == {0: "cat", 1: "dog"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"qk_channels": 8}, "qk_channels must be None to be converted, got 8"),
        ({"cross_attention_shape_for_attention": "q"}, "cross_attention_shape_for_attention must be 'kv'"),
        ({"self_attention_widening_factor": 2}, "self_attention_widening_factor must be 1 to be converted, got 2"),
        ({"use_query_residual": False}, "use_query_residual must be True"),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu' to be converted, got 'relu'"),
    ],
)
def test_refuses_what_it_has_no_counterpart_of(changes: dict, said: str) -> None:
    heads = {"num_self_attention_heads": 1} | ({"v_channels": 24} if "qk_channels" in changes else {})
    with pytest.raises(ValueError, match=said):
        convert_perceiver_classifier(theirs(PerceiverForImageClassificationFourier, **changes | heads))
