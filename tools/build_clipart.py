"""Build `.work/clipart.parquet`: pictures made by many hands, with captions, split so that nothing of the test leaks.

Clip art of Debian's openclipart-svg with titles and keywords (public domain) and Tux Paint's stamps (GPL-2 or later: to
be used, not bundled). Run as `python -m tools.build_clipart`.
"""

import io
import os
import random
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tools.build_pictures import rasterise
from tools.packages import WORK, debian

from overtone.data.images import open_image
from overtone.data.pairs.split import look, tied
from overtone.data.perceptual_hash import near_pairs

TABLE = WORK / "clipart.parquet"
SIZE = 96  # pixels a side
LICENCES = {"clip art": "public domain", "stamps": "GPL-2.0-or-later"}
SEED = 0
PERCENT = 10  # of the pictures for each of validation and test
SHARED = 5  # drawings: a title that more than these have is a collection's
DC, RDF = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
# Keywords that say how the archive is kept, and nothing about a picture.
FILING = frozenset(("hash", "unsorted", "special", "miscellany", "clipart", "clip art", "svg", "signs and symbols"))


@dataclass(frozen=True)
class Drawing:
    """One picture's file with what its makers say about it."""

    source: str
    file: Path
    captions: tuple[str, ...]


@cache
def english() -> frozenset[str]:
    """Return WordNet's words."""
    folder = debian("wordnet-base") / "usr/share/wordnet"
    lines = (line for kind in ("noun", "verb", "adj", "adv") for line in (folder / f"index.{kind}").open())
    return frozenset(line.partition(" ")[0] for line in lines if not line.startswith(" "))


def words(text: str) -> list[str]:
    """Return the words of three letters or more, in lower case."""
    return re.findall(r"[^\W\d_]{3,}", text.lower())


def tidy_title(title: str) -> str:
    """Return a title without the maker's name before it and the number after it."""
    title = re.sub(r"^clip ?art by [^-]* - ", "", " ".join(title.split()), flags=re.IGNORECASE)
    return re.sub(r"[\s#(]*\d+\)?$", "", title).strip(" -.:;,\"'")


def is_title(title: str, about: str) -> bool:
    """Return whether a title is an English one, of this picture, and not the name of a file.

    A file's name has underscores, an ending, or digits stuck to letters. A title is English when at least half of its
    words are in WordNet, and of this picture when one of them is also in `about`: its keywords and where it is kept.
    """
    if re.search(r"_|\.\w{2,4}$|[a-z]{2,}\d|\d[a-ce-z]{2,}", title, flags=re.IGNORECASE) or len(title) > 80:
        return False
    found = words(title)
    known = [word for word in found if word in english() or word.removesuffix("s") in english()]
    return 2 * len(known) >= len(found) > 0 and any(word in about for word in found)


def keywords(work: ET.Element) -> list[str]:
    """Return the keywords that say something, tidied, without the maker's name and numbers."""
    maker = (work.findtext(f"{DC}creator//{DC}title") or "").lower()
    found = (" ".join((item.text or "").replace("_", " ").split()).lower() for item in work.iter(f"{RDF}li"))
    kept = (word for word in found if words(word) and not re.search(r"\d", word) and word != maker)
    return [word for word in dict.fromkeys(kept) if word not in FILING and "theme" not in word]


def read_drawing(file: Path) -> Drawing | None:
    """Return a clip art with its title and keywords; None without a good title or when it is not public domain."""
    try:
        root = ET.parse(file).getroot()
    except ET.ParseError:
        return None
    work = next((item for item in root.iter() if item.tag.endswith("}Work")), None)
    if work is None or not any("publicdomain" in value.lower() for item in work for value in item.attrib.values()):
        return None
    title, tags = tidy_title(work.findtext(f"{DC}title") or ""), keywords(work)
    about = " ".join([file.stem, *tags]).lower()
    if not is_title(title, about):
        return None
    return Drawing("clip art", file, (title, *(tag for tag in tags if tag != title.lower())))


def clip_art() -> list[Drawing]:
    """Return the drawings of openclipart-svg whose titles are good and their own."""
    files = sorted((debian("openclipart-svg") / "usr/share/openclipart/svg").rglob("*.svg"))
    found = [drawing for file in files if file.is_file() and not file.is_symlink() and (drawing := read_drawing(file))]
    shared = Counter(drawing.captions[0].lower() for drawing in found)
    return [drawing for drawing in found if shared[drawing.captions[0].lower()] <= SHARED]


def stamps() -> list[Drawing]:
    """Return Tux Paint's stamps, photographs among them, with the first line of their description and their kind."""
    folder = debian("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    found = []
    for file in sorted(file for file in folder.rglob("*") if file.suffix in (".png", ".svg")):
        text = file.with_suffix(".txt")
        if text.exists() and not file.stem.endswith("_mirror"):
            title = " ".join(text.read_text(errors="ignore").splitlines()[0].split()).rstrip(".!")
            kinds = [part.replace("_", " ") for part in reversed(file.relative_to(folder).parts[:-1])]
            found.append(Drawing("stamps", file, (title, *dict.fromkeys(kinds))))
    return [drawing for drawing in found if words(drawing.captions[0])]


def draw(drawing: Drawing) -> bytes | None:
    """Return the picture, its empty border cut away, as WebP of SIZE x SIZE; None when it is broken or plain."""
    try:
        is_svg = drawing.file.suffix == ".svg"
        text = drawing.file.read_text(encoding="utf-8", errors="replace") if is_svg else ""
        picture = rasterise(text, 3 * SIZE) if is_svg else Image.open(drawing.file).convert("RGBA")
    except (ValueError, OSError):
        return None
    box = picture.getchannel("A").getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIZE, SIZE))
    square.paste(picture, ((SIZE - picture.width) // 2, (SIZE - picture.height) // 2))
    out = io.BytesIO()
    square.save(out, "WEBP", quality=90)  # harder methods take ten times as long for 1 % less
    seen = np.asarray(open_image(out.getvalue()))
    return out.getvalue() if seen.max() - seen.min() > 32 else None  # of one colour: nothing to see


def divide(images: list[bytes], titles: list[str]) -> list[str]:
    """Return the split of each picture: those of one title, and near duplicates, directly or in a chain, stay together.

    Groups of more than one in a hundred go to the training pictures.
    """
    looks = [look(open_image(image)) for image in images]
    keys: list[list[object]] = [[title.lower(), seen.digest] for title, seen in zip(titles, looks, strict=True)]
    for first, second in near_pairs(np.array([seen.bits for seen in looks], np.uint64)).tolist():
        keys[second].append(("near", first))
        keys[first].append(("near", first))
    splits = ["train"] * len(images)
    room = dict.fromkeys(("test", "validation"), len(images) * PERCENT // 100)
    groups = tied(keys)
    for group in random.Random(SEED).sample(groups, len(groups)):
        split = next((name for name, left in room.items() if len(group) <= min(left, len(images) // 100)), "train")
        for place in group:
            splits[place] = split
        if split != "train":
            room[split] -= len(group)
    return splits


def build() -> pa.Table:
    """Return the table of pictures with captions and splits."""
    drawings = [*clip_art(), *stamps()]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        drawn = pool.map(draw, drawings, chunksize=16)
        found = [(drawing, image) for drawing, image in zip(drawings, drawn, strict=True) if image]
    splits = divide([image for _, image in found], [drawing.captions[0] for drawing, _ in found])
    return pa.Table.from_pylist(
        [
            {
                "source": drawing.source,
                "title": drawing.captions[0],
                "captions": drawing.captions,
                "split": split,
                "licence": LICENCES[drawing.source],
                "file": drawing.file.name,
                "image": image,
            }
            for (drawing, image), split in zip(found, splits, strict=True)
        ]
    )


def counted(rows: Iterable[tuple[str, str]]) -> str:
    """Return how many pictures each source has in each split."""
    return ", ".join(f"{source} {split} {number:,}" for (source, split), number in sorted(Counter(rows).items()))


if __name__ == "__main__":
    table = build()
    pq.write_table(table, TABLE)
    print(counted(zip(table["source"].to_pylist(), table["split"].to_pylist(), strict=True)))
