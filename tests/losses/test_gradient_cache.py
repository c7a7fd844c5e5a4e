"""Encoding in chunks: the plain gradient, with one chunk's activations."""

import weakref

import pytest
import torch
from loss_samples import drawn
from torch import nn

from overtone.losses import SDE, InfoNCE, SDEConfig, encode_in_chunks


def encoder(dropout=0.0, width=16):
    torch.manual_seed(0)
    layers = [nn.Linear(12, 64), nn.GELU(), nn.Dropout(dropout), nn.Linear(64, 64), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.GELU(), nn.Linear(64, width)).double()


def step(encode, images, texts, chunk, loss):
    """Return loss and gradients of one step; both encoders are one network."""
    encode.zero_grad()
    torch.manual_seed(5)
    value = loss(encode_in_chunks(encode, images, chunk), encode_in_chunks(encode, texts, chunk), 10.0)
    value.backward()
    return value.detach(), [p.grad.clone() for p in encode.parameters()]


IMAGES, TEXTS = drawn(22, 12, 1, torch.float64), drawn(22, 12, 2, torch.float64)


@pytest.mark.parametrize("chunk", [1, 4, 21, 22, 100])
def test_the_gradient_is_the_plain_one(chunk):
    encode = encoder()
    plain, expected = step(encode, IMAGES, TEXTS, None, InfoNCE())
    value, gradients = step(encode, IMAGES, TEXTS, chunk, InfoNCE())
    torch.testing.assert_close(value, plain, rtol=1e-12, atol=0)  # float64, in products of other shapes
    torch.testing.assert_close(gradients, expected, rtol=1e-9, atol=1e-12)


def test_dropout_draws_the_same_again():
    """Against the same chunks with all of their graphs kept: a mask drawn anew would give another gradient."""
    encode = encoder(dropout=0.3)
    value, gradients = step(encode, IMAGES, TEXTS, 5, InfoNCE())
    after = torch.rand(3)
    encode.zero_grad()
    torch.manual_seed(5)
    x, y = (torch.cat([encode(rows) for rows in inputs.split(5)]) for inputs in (IMAGES, TEXTS))
    plain = InfoNCE()(x, y, 10.0)
    plain.backward()
    assert torch.equal(value, plain)
    torch.testing.assert_close(gradients, [p.grad for p in encode.parameters()], rtol=1e-12, atol=1e-14)
    assert torch.equal(after, torch.rand(3))  # drawing again has not moved the generator on


def test_sde_takes_one_step():
    """Its state and gradient are those of the whole batch at once, also at later steps."""
    losses = [SDE(config=SDEConfig(refresh=1, steps=5)) for _ in range(2)]
    encode = encoder()
    for batch in range(3):
        images, texts = (drawn(22, 12, 10 * batch + i, torch.float64) for i in (1, 2))
        outcomes = [step(encode, images, texts, chunk, loss) for chunk, loss in zip((None, 4), losses, strict=True)]
        # float64; the basis is one decomposition away from the features
        torch.testing.assert_close(outcomes[1], outcomes[0], rtol=1e-7, atol=1e-10)
    states = [loss.state_dict() for loss in losses]
    assert states[0]["step"] == states[1]["step"] == 3
    for name in states[0].keys() - {"image.V", "text.V"}:
        torch.testing.assert_close(states[1][name], states[0][name], rtol=1e-7, atol=1e-10, msg=name)


@pytest.mark.parametrize("chunk", [None, 8])
def test_only_one_chunk_is_kept(chunk):
    """What autograd keeps of a layer, seen at every backward step: the life of each array is followed."""
    kept, seen = [], []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            array = x.numpy().copy()
            kept.append(weakref.ref(array))
            ctx.save_for_backward(torch.from_numpy(array))
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            seen.append((len(x), sum(array() is not None for array in kept)))
            return gradient

    layer, out = nn.Linear(12, 31), nn.Linear(31, 8)
    encode_in_chunks(lambda x: out(Watched.apply(layer(x))), drawn(64, 12), chunk).sum().backward()
    rows = chunk or 64
    assert seen == [(rows, 1)] * (64 // rows)


def test_without_gradients_nothing_is_cached():
    with torch.no_grad():
        features = encode_in_chunks(encoder(), IMAGES, 4)
    assert features.shape == (22, 16)
    assert not features.requires_grad


def test_mixed_precision_is_the_same_again():
    encode = encoder().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encode_in_chunks(encode, IMAGES.float(), 11)
    features.float().sum().backward()
    gradients = [p.grad.clone() for p in encode.parameters()]
    encode.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = torch.cat([encode(rows) for rows in IMAGES.float().split(11)])
    features.float().sum().backward()
    torch.testing.assert_close(gradients, [p.grad for p in encode.parameters()])  # the same operations, summed in turn


def test_chunks_without_a_gradient_too():
    seen: list[int] = []

    def encode(rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return rows

    with torch.no_grad():
        assert torch.equal(encode_in_chunks(encode, IMAGES, 11), IMAGES)
    assert max(seen) == 11


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_of_nothing(chunk):
    with pytest.raises(ValueError, match=f"chunk must be 1 or more, got {chunk}"):
        encode_in_chunks(encoder(), IMAGES, chunk)
