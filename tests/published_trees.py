"""Small trees in the layouts that the published data sets have on disk."""

import json
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from overtone.data.published import Published, find_published

CLASSES = {  # as the published splits name them, some of them
    "Caltech101": ("face", "leopard", "sea_horse", "yin_yang"),
    "OxfordPets": ("abyssinian", "american_bulldog", "basset_hound", "beagle"),
    "UCF101": ("Apply_Eye_Makeup", "Archery", "Baby_Crawling", "Biking"),
    "EuroSAT": ("AnnualCrop", "Forest", "Sea or Lake", "River"),
    "DTD": ("banded", "polka-dotted", "zigzagged", "woven"),
}
SYNSETS = {"n01440764": "tench", "n01443537": "goldfish", "n02012849": "crane bird", "n03126707": "construction crane"}
SIZES = {"train": 6, "val": 2, "test": 3}  # pictures a class


def of(name: str) -> Published:
    """Return a row of the table."""
    found = find_published(name)
    assert found
    return found


def write_set(root: Path, name: str, sizes: Mapping[str, int] | None = None) -> Path:
    """Write a data set of four classes under `root`, with so many pictures a class; return its folder."""
    published, sizes = of(name), SIZES | (sizes or {})
    folder = root / published.folder
    pictures = folder / published.pictures
    if published.layout == "split":
        write_split(folder / published.split, pictures, CLASSES.get(name, ("one", "two", "three", "four")), sizes)
    elif published.layout == "aircraft":
        _write_aircraft(folder, pictures, sizes)
    else:
        pictures.mkdir(parents=True)
        (folder / "classnames.txt").write_text("".join(f"{synset} {words}\n" for synset, words in SYNSETS.items()))
        for number, synset in enumerate(SYNSETS):
            if published.layout == "imagenet":
                _fill(pictures / "train" / synset, f"{synset}_", sizes["train"], number)
                _fill(pictures / "val" / synset, "ILSVRC2012_val_", sizes["test"], number)
            else:
                _fill(pictures / (synset if published.layout == "synsets" else str(number)), "", sizes["test"], number)
    return folder


def write_split(file: Path, pictures: Path, names: tuple[str, ...], sizes: Mapping[str, int]) -> None:
    """Write pictures in a folder a class, and the split that names them."""
    split: dict[str, list[tuple[str, int, str]]] = {part: [] for part in sizes}
    for label, name in enumerate(names):
        paths = [f"{name}/{path.name}" for path in _fill(pictures / name, "image_", sum(sizes.values()), label)]
        for part, number in sizes.items():
            split[part] += [(path, label, name) for path in paths[:number]]
            paths = paths[number:]
    file.write_text(json.dumps(split))


def _write_aircraft(folder: Path, pictures: Path, sizes: Mapping[str, int]) -> None:
    names = ("707-320", "727-200", "A300B4", "Boeing 717")
    paths = {n: _fill(pictures, f"{n}00", sum(sizes.values()), n) for n in range(len(names))}
    (folder / "variants.txt").write_text("\n".join(names) + "\n")
    start = 0
    for part, number in sizes.items():
        lines = [f"{p.stem} {name}\n" for n, name in enumerate(names) for p in paths[n][start : start + number]]
        (folder / f"images_variant_{part}.txt").write_text("".join(lines))
        start += number


def _fill(folder: Path, stem: str, number: int, seed: int) -> list[Path]:
    """Write small pictures, each class in colours of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{i:04}.jpg" for i in range(1, number + 1)]
    for i, path in enumerate(paths):
        Image.new("RGB", (8, 8), (60 * seed, 255 - 60 * seed, 20 * i % 256)).save(path)
    return paths
