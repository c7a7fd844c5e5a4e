"""Build `assets/emoji.parquet`: emoji concepts as four houses draw them, with names and keywords.

A concept is in the set when all four houses draw it. Run as `python -m tools.build_pictures`.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import resvg_py
from PIL import Image
from tools.packages import npm

ASSET = Path(__file__).parent.parent / "src/overtone/assets/emoji.parquet"
SIZE = 64  # pixels a side
COMPONENTS = 2  # emojibase's group of skin tones and hair styles, which are not pictures by themselves

# Style -> package and licence of its drawings.
STYLES = {
    "noto": ("@iconify-json/noto", "Apache-2.0"),
    "twemoji": ("@iconify-json/twemoji", "CC-BY-4.0"),
    "openmoji": ("@iconify-json/openmoji", "CC-BY-SA-4.0"),
    "fluent": ("@iconify-json/fluent-emoji-flat", "MIT"),
}


def part_of(hexcode: str) -> str:
    """Divide concepts once and for all, by a hash: pretrain 60 %, base 20 %, new 20 %."""
    share = int.from_bytes(hashlib.sha256(hexcode.encode()).digest()[:4]) / 2**32
    return "pretrain" if share < 0.6 else "base" if share < 0.8 else "new"


def plain(hexcode: str) -> str:
    """Drop the variation selector, which houses write or leave out as they like."""
    return "-".join(code for code in hexcode.lower().split("-") if code != "fe0f")


def icon_svg(icons: dict, name: str) -> str:
    """Return one icon of an iconify set as an SVG document."""
    icon = icons["icons"][icons.get("aliases", {}).get(name, {}).get("parent", name)]
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'


def read_style(package: str) -> dict[str, str]:
    """Return every drawing of a house: plain hexcode -> SVG document."""
    folder = npm(package)
    icons = json.loads((folder / "icons.json").read_text())
    names = json.loads((folder / "chars.json").read_text())
    return {plain(hexcode): icon_svg(icons, name) for hexcode, name in names.items()}


def rasterise(svg: str, size: int) -> Image.Image:
    """Draw an SVG document into at most size x size pixels, RGBA."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, dpi=96, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def square_webp(picture: Image.Image) -> bytes:
    """Centre a picture on a transparent square of SIZE and encode it as WebP, without visible loss."""
    square = Image.new("RGBA", (SIZE, SIZE))
    square.paste(picture, ((SIZE - picture.width) // 2, (SIZE - picture.height) // 2))
    out = io.BytesIO()
    square.save(out, "WEBP", quality=90, method=6, exact=False)
    return out.getvalue()


def render(svg: str) -> bytes:
    """Draw an SVG document as it is stored."""
    return square_webp(rasterise(svg, SIZE))


def read_concepts() -> Iterator[dict]:
    """Yield emojibase's concepts with their English names, keywords and groups."""
    folder = npm("emojibase-data") / "en"
    messages = json.loads((folder / "messages.json").read_text())
    groups, subgroups = ({m["order"]: m["message"] for m in messages[kind]} for kind in ("groups", "subgroups"))
    for emoji in json.loads((folder / "data.json").read_text()):
        if emoji.get("group", COMPONENTS) != COMPONENTS:
            yield {
                "concept": plain(emoji["hexcode"]),
                "name": emoji["label"],
                "keywords": emoji.get("tags", []),
                "part": part_of(plain(emoji["hexcode"])),
                "group": groups[emoji["group"]],
                "subgroup": subgroups[emoji["subgroup"]],
            }


def build() -> pa.Table:
    """Return the table: one row for each concept and style."""
    drawings = {style: read_style(package) for style, (package, _) in STYLES.items()}
    concepts = [c for c in read_concepts() if all(c["concept"] in drawn for drawn in drawings.values())]
    rows = [c | {"style": s, "licence": STYLES[s][1]} for c in concepts for s in STYLES]
    with ProcessPoolExecutor() as pool:
        images = pool.map(render, (drawings[row["style"]][row["concept"]] for row in rows), chunksize=64)
        return pa.Table.from_pylist([row | {"image": image} for row, image in zip(rows, images, strict=True)])


if __name__ == "__main__":
    table = build()
    ASSET.parent.mkdir(exist_ok=True)
    pq.write_table(table, ASSET, compression="zstd", compression_level=19)
    parts = {part: table["part"].to_pylist().count(part) // len(STYLES) for part in ("pretrain", "base", "new")}
    print(f"{ASSET.name}: {table.num_rows} pictures, concepts {parts}, {ASSET.stat().st_size / 2**20:.1f} MiB")
