"""The embedded pictures as many data sets: a group of concepts is a data set, a style a domain.

Only concepts that the embedded model never learned from are in them. Which are base and which are new is divided once
for all: settings were chosen on base concepts alone.
"""

import pyarrow.parquet as pq

from overtone.data.emoji import PICTURES, STYLES, TRAIN_STYLES, emoji_part
from overtone.data.imageset import ImageSet
from overtone.data.names import some
from overtone.data.published.dataset import DataSet
from overtone.errors import UserError, did_you_mean

GROUPS = ("smileys", "people", "animals", "food", "travel", "activities", "objects", "symbols")
EMOJI_SETS = ("emoji", *(f"emoji:{group}" for group in GROUPS))


def is_emoji(name: str) -> bool:
    """Return whether a name is `emoji`, with or without a :GROUP and @STYLES."""
    return name.split("@")[0].split(":")[0] == "emoji"


def emoji_data_set(name: str) -> DataSet:
    """Return the pictures called `emoji[:GROUP][@STYLE[+STYLE...]]`: learned in these styles, tested in others.

    Styles are Noto's and Twemoji's when none is named. Base concepts come first. Raises UserError for another group or
    style, and where no style is left to test.
    """
    rest, _, named = name.partition("@")
    group = rest.partition(":")[2]
    if group or ":" in rest:
        _require(group, GROUPS, "group", name)
    styles = tuple(named.split("+")) if "@" in name else TRAIN_STYLES
    for style in styles:
        _require(style, STYLES, "style", name)
    others = [style for style in STYLES if style not in styles]
    if not others:
        raise UserError(f"{name!r} leaves no style to test in: name fewer than {len(STYLES)}.")
    parts = [_members(part, group) for part in ("base", "new")]
    classes = [concept for part in parts for concept in part.classes]
    pictures = ImageSet(
        tuple(r for part in parts for r in part.relabelled(classes).records),
        tuple(classes),
    )
    train, test = (
        pictures.select(i for i, r in enumerate(pictures.records) if r.domain in kept) for kept in (styles, others)
    )
    note = (
        f"Each emoji concept has one picture a style: learned in {some(styles)}, tested in {some(others)}. "
        f"{len(styles)} shots take all of them, the same ones under every seed; draws of more repeat some. "
        "None are left to choose settings by."
    )
    return DataSet(name, train, None, test, divided_at=len(parts[0].classes), notes=(note,))


def _members(part: str, group: str) -> ImageSet:
    images = emoji_part(part)
    if not group:
        return images
    members = _grouped()
    return images.of_classes([concept for concept in images.classes if members[concept] == group])


def _grouped() -> dict[str, str]:
    """Map each concept to the first word of its group: "food" stands for "food & drink"."""
    table = pq.read_table(PICTURES, columns=["name", "group"]).to_pylist()
    return {row["name"]: row["group"].split()[0] for row in table}


def _require(value: str, known: tuple[str, ...], what: str, name: str) -> None:
    if value not in known:
        raise UserError(
            f"{name!r}: the emoji have no {what} {value!r}.{did_you_mean(value, known)} They have {', '.join(known)}."
        )
