"""Every Python example in the guides runs as it stands, and what they link to is there."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = sorted(path.name for path in DOCS.glob("*.md"))


class Pairs(nn.Module):
    """Returns what open_clip's models return with `output_dict`."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(6, 8), nn.Linear(5, 8)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        x, y = normalize(self.image(images), dim=-1), normalize(self.text(texts), dim=-1)
        return {"image_features": x, "text_features": y, "logit_scale": self.logit_scale.exp()}


def surroundings() -> dict[str, object]:
    """What the examples take for granted: a model, its optimizer and a loader of pairs."""
    torch.manual_seed(0)
    model = Pairs()
    loader = [(torch.randn(16, 6), torch.randn(16, 5)) for _ in range(2)]
    return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "loader": loader}


@pytest.mark.parametrize("guide", GUIDES)
def test_the_examples_run(guide: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / guide).read_text(), re.DOTALL)
    exec("\n".join(blocks), surroundings())


def test_the_sentence_transformers_loss_has_a_gradient() -> None:
    names = surroundings()
    exec("\n".join(re.findall(r"```python\n(.*?)```", (DOCS / "sde.md").read_text(), re.DOTALL)), names)
    encoder = nn.Linear(6, 8)
    loss = names["SpectralLoss"](lambda inputs: {"sentence_embedding": encoder(inputs)})  # type: ignore[operator]
    loss([torch.randn(16, 6), torch.randn(16, 6)]).backward()
    assert encoder.weight.grad is not None
    assert encoder.weight.grad.isfinite().all()


@pytest.mark.parametrize("guide", GUIDES)
def test_links_lead_somewhere(guide: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", (DOCS / guide).read_text()):
        assert "://" in link or (DOCS / link).is_file(), link
