"""The settings that a backbone is adapted with when the user names none."""

from dataclasses import dataclass

from overtone.farl.model import FarlConfig
from overtone.models.backbone import EMBEDDED
from overtone.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """The method's and the training's settings, and where they come from."""

    method: FarlConfig
    training: TrainingConfig
    source: str


PUBLISHED = Recipe(FarlConfig(), TrainingConfig(), "as published (MMRL)")
# A hundred steps at the published rate leave towers of width 128 and 384 nearly as they are; see docs/parts.md.
SMALL = Recipe(
    FarlConfig(width=128, alpha=0.5, consistency=4.0),
    TrainingConfig(epochs=20, batch_size=64, learning_rate=2e-2),
    "chosen on training pictures (benchmarks/few_shot.py --validation)",
)


def recipe_for(backbone: str) -> Recipe:
    """Return the settings for a backbone by its name: those chosen for the embedded one, the published for others."""
    return SMALL if backbone == EMBEDDED else PUBLISHED
