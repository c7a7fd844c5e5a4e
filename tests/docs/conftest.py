"""Let these tests build tiny models as those of `models` do."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "models"))
