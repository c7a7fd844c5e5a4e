"""The built-in pairs: emoji concepts that the embedded model learns from, with names and keywords."""

import pyarrow.compute as pc
import pyarrow.parquet as pq

from overtone.data import emoji
from overtone.data.pairs.set import Pair, PairSource, clean_captions, unlabelled
from overtone.errors import UserError

STYLES = emoji.STYLES[:3]  # no picture of the fourth is ever learned from: the embedded model is judged on it


def read_emoji_pairs() -> PairSource:
    """Return the pictures of the *pretrain* concepts in three styles; the name is the first caption."""
    if not emoji.PICTURES.is_file():
        raise UserError(
            f"The built-in pictures are missing: there is no {str(emoji.PICTURES)!r}. Install Overtone again."
        )
    wanted = (pc.field("part") == "pretrain") & pc.field("style").isin(list(STYLES))
    table = pq.read_table(emoji.PICTURES, columns=["name", "keywords", "style", "image"], filters=wanted)
    pairs = [
        Pair(
            unlabelled(f"emoji/{row['style']}/{row['name']}", row["image"]),
            clean_captions([row["name"], *row["keywords"]]),
        )
        for row in table.to_pylist()
    ]
    choice = ("data", f"pretrain concepts drawn by {', '.join(STYLES)}", "built in")
    return PairSource({"all": pairs}, "the emoji set has no {} pictures", choices=(choice,))
