"""One line inside somebody else's trainer."""

import pytest
import torch
from loss_samples import Encoders, drawn
from torch import nn
from torch.nn.functional import normalize

import overtone as ot
from overtone.losses import SDE, InfoNCE, SDEConfig, SigLIP


def batches(count, seed=0):
    """Pictures and texts that are two linear views of the same few causes."""
    views = [drawn(5, 12, seed + i) for i in (1, 2)]
    for step in range(count):
        causes = drawn(32, 5, seed + 10 + step)
        yield tuple(causes @ view + 0.1 * drawn(32, 12, seed + 1000 + 2 * step + i) for i, view in enumerate(views))


def matched(encoders):
    """Share of held-out images that find their text among 32."""
    images, texts = next(batches(1, seed=500_000))
    views = [drawn(5, 12, i) for i in (1, 2)]
    causes = drawn(32, 5, 77)
    images, texts = (causes @ view for view in views)
    with torch.no_grad():
        x, y, _ = encoders(images, texts)
    return (normalize(x) @ normalize(y).T).argmax(1).eq(torch.arange(32)).float().mean()


@pytest.mark.parametrize("base", [InfoNCE(), SigLIP()])
def test_an_open_clip_loop(base):
    """open_clip hands its loss a dict of normalised features, the scale and, of SigLIP, the bias."""
    encoders, loss = Encoders(), SDE(base, SDEConfig(steps=60))
    optimizer = torch.optim.AdamW(encoders.parameters(), lr=0.02)
    before = matched(encoders)
    for images, texts in batches(60):
        x, y, scale = encoders(images, texts)
        out = {"image_features": normalize(x, dim=-1), "text_features": normalize(y, dim=-1), "logit_scale": scale}
        if isinstance(base, SigLIP):
            out["logit_bias"] = torch.tensor(-10.0)
        optimizer.zero_grad()
        loss(**out).backward()
        optimizer.step()
    assert matched(encoders) > max(0.5, before)


def test_a_sentence_transformers_loop():
    """There a loss owns the model, takes a list of features, and calls what it is made of."""

    class Loss(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.loss = model, SDE(config=SDEConfig(steps=60))

        def forward(self, features, labels=None):
            x, y, _ = self.model(*features)
            return self.loss(x, y, 20.0)

    encoders = Encoders()
    before, loss = matched(encoders), Loss(encoders)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=0.02)
    for images, texts in batches(60):
        optimizer.zero_grad()
        loss([images, texts]).backward()
        optimizer.step()
    assert matched(encoders) > max(0.5, before)
    assert loss.state_dict()["loss.step"] == 60


def test_one_line_without_a_setting():
    x, y = (drawn(16, 8, i).requires_grad_() for i in (1, 2))
    ot.losses.SDE()(x, y, torch.tensor(20.0)).backward()
    assert x.grad.isfinite().all()
