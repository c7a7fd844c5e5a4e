"""The built-in picture set: emoji concepts, each drawn by four houses. A style is a domain."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from overtone.data.imageset import ImageSet, Row, image_set
from overtone.errors import UserError, did_you_mean

PICTURES = Path(__file__).parent.parent / "assets" / "emoji.parquet"
PARTS = ("pretrain", "base", "new")
STYLES = ("noto", "twemoji", "openmoji", "fluent")
TRAIN_STYLES, TEST_STYLES = STYLES[:2], STYLES[2:]


def emoji_part(part: str, styles: Sequence[str] | None = None) -> ImageSet:
    """Return the concepts of one part ("pretrain", "base" or "new") in the given styles (all four by default).

    Classes are the English names in natural order, domains the styles. Raises UserError for another part or style.
    """
    styles = STYLES if styles is None else styles
    _require(part, PARTS, "part")
    for style in styles:
        _require(style, STYLES, "style")
    if not PICTURES.is_file():
        raise UserError(f"The built-in pictures are missing: there is no {str(PICTURES)!r}. Install Overtone again.")
    wanted = (pc.field("part") == part) & pc.field("style").isin(list(styles))
    table = pq.read_table(PICTURES, columns=["name", "style", "image"], filters=wanted)
    return image_set(
        Row(f"emoji/{row['style']}/{row['name']}", row["name"], row["style"], row["image"]) for row in table.to_pylist()
    )


def _require(value: str, known: Sequence[str], what: str) -> None:
    if value not in known:
        raise UserError(f"No {what} {value!r} in the emoji set.{did_you_mean(value, known)} It has {', '.join(known)}.")
