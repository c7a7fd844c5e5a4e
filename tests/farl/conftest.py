"""Tests here use the tiny models, and the naive CLIP, that stand beside the models' own tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "models"))
