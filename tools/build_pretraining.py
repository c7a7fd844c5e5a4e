"""Build `.work/pretraining.parquet`: the pictures that the embedded model learns from, each with several captions.

Emoji of the *pretrain* concepts in every style but the one held out, more houses' drawings of the same concepts, and
stamps. A stamp whose caption names a base or a new concept is left out, so that those names stay unseen.
Run as `python -m tools.build_pretraining` after `tools.build_pictures`.
"""

import json
import re
from concurrent.futures import ProcessPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tools.build_pictures import ASSET, SIZE, icon_svg, rasterise, square_webp
from tools.packages import WORK, debian, npm

TABLE = WORK / "pretraining.parquet"
HELD_OUT_STYLE = "fluent"  # no picture of this house is ever learned from
MORE_HOUSES = ("@iconify-json/emojione", "@iconify-json/noto-v1", "@iconify-json/fxemoji")


def words(text: str) -> str:
    """Reduce a text to its words in lower case, with a space at both ends."""
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "


def singular(text: str) -> str:
    """The same without the words' last s, so that a plural matches."""
    return words(text).replace("s ", " ")


def emoji_rows(concepts: list[dict]) -> list[dict]:
    """Return the shipped pictures of pretrain concepts in the styles that are not held out."""
    return [
        {"source": row["style"], "captions": [row["name"], *row["keywords"]], "image": row["image"]}
        for row in concepts
        if row["part"] == "pretrain" and row["style"] != HELD_OUT_STYLE
    ]


def house_drawings(package: str, concepts: list[dict]) -> list[tuple[str, list[str], str]]:
    """Return another house's drawings of the pretrain concepts, matched by name, as (source, captions, SVG)."""
    icons = json.loads((npm(package) / "icons.json").read_text())
    wanted = {words(c["name"]).replace(" ", ""): c for c in concepts if c["part"] == "pretrain"}
    found = {name.replace("-", ""): name for name in icons["icons"]}
    return [
        (package.rsplit("/")[-1], [wanted[key]["name"], *wanted[key]["keywords"]], icon_svg(icons, found[key]))
        for key in sorted(wanted.keys() & found.keys())
    ]


def stamps() -> list[dict]:
    """Return Tux Paint's PNG stamps, photographs among them, with the first line of their description."""
    rows = []
    for file in sorted((debian("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps").rglob("*.png")):
        text = file.with_suffix(".txt")
        if not text.exists() or file.stem.endswith("_mirror"):
            continue
        captions = [text.read_text(errors="ignore").splitlines()[0].strip().rstrip(".!"), file.parent.name]
        rows.append({"source": "stamps", "captions": captions, "image": fit(Image.open(file).convert("RGBA"))})
    return rows


def fit(picture: Image.Image) -> bytes:
    """Cut away the transparent border and fit the rest into SIZE x SIZE, as WebP."""
    picture = picture.crop(picture.getchannel("A").getbbox())
    picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    return square_webp(picture)


def draw(drawing: tuple[str, list[str], str]) -> dict | None:
    """Draw one SVG; None when the drawing is broken or blank."""
    source, captions, svg = drawing
    try:
        picture = rasterise(svg, 3 * SIZE)
    except (ValueError, OSError):
        return None
    visible = picture.getchannel("A").getextrema()[1]
    return {"source": source, "captions": captions, "image": fit(picture)} if visible else None


def names_kept_unseen(concepts: list[dict]) -> list[str]:
    """Return the names of the base and new concepts as words in the singular."""
    return sorted({singular(c["name"]) for c in concepts if c["part"] != "pretrain"})


def build() -> pa.Table:
    """Return the table of pictures with captions."""
    concepts = pq.read_table(ASSET).to_pylist()
    unseen = names_kept_unseen(concepts)

    def allowed(captions: list[str]) -> bool:
        return not any(name in singular(caption) for caption in captions for name in unseen)

    drawings = [d for house in MORE_HOUSES for d in house_drawings(house, concepts)]
    with ProcessPoolExecutor() as pool:
        drawn = [row for row in pool.map(draw, drawings, chunksize=64) if row]
    return pa.Table.from_pylist(emoji_rows(concepts) + drawn + [row for row in stamps() if allowed(row["captions"])])


if __name__ == "__main__":
    table = build()
    pq.write_table(table, TABLE)
    sources = table["source"].to_pylist()
    print({source: sources.count(source) for source in sorted(set(sources))})
