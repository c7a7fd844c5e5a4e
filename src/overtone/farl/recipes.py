"""The settings that a backbone is adapted with when the user names none."""

from dataclasses import dataclass, replace

from overtone.farl.model import FarlConfig
from overtone.models.backbone import Backbone
from overtone.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """The method's and the training's settings, and where they come from."""

    method: FarlConfig
    training: TrainingConfig
    source: str


PUBLISHED = Recipe(FarlConfig(), TrainingConfig(), "as published (MMRL)")
PUBLISHED_PROTOTYPES = replace(
    PUBLISHED, method=replace(PUBLISHED.method, prototype=3.0), source="as published (MMRL), but for the prototypes"
)
SMALL_WIDTH = 384  # of both towers at most, as in the embedded model, for which the small recipe was chosen
# A hundred steps at the published rate leave towers of width 128 and 384 nearly as they are; see docs/parts.md.
SMALL = Recipe(
    FarlConfig(width=128, alpha=0.5, consistency=4.0),
    TrainingConfig(epochs=20, batch_size=64, learning_rate=2e-2),
    "chosen on training pictures (benchmarks/few_shot.py --validation)",
)
# With prototypes to classify by, w and f can stay nearer to the frozen ones.
SMALL_PROTOTYPES = replace(SMALL, method=replace(SMALL.method, alpha=0.7, consistency=12.0, prototype=3.0))


def recipe_for(backbone: Backbone, prototypes: bool | None = None) -> Recipe:
    """Return the settings for a backbone: those chosen with the embedded one for small towers, else the published.

    Without a word on `prototypes`, classes have them where they were seen to help: with small towers.
    """
    if max(backbone.image.width, backbone.text.width) <= SMALL_WIDTH:
        return SMALL if prototypes is False else SMALL_PROTOTYPES
    return PUBLISHED_PROTOTYPES if prototypes else PUBLISHED
