"""Build the English-German corpus that the data name `debian-en-de` finds, of Debian's packages.

Two kinds of text: the descriptions of packages, which the Description Translation Project translates, and the messages
of the programs in a pinned list of packages (parallel_packages.tsv), with their German catalogues. apt brings the
indices and the packages (below `.work/`, without root's rights). See `parallel_clean` for what is made of the messages
and what is left out, and `parallel_divide` for the parts: val and test are of source packages that nothing is learned
from, without sentences that are the same as others', or nearly. Beside the text, line by line, stand kind and source
package (train.origin), and once the licences. Run as `python -m tools.build_parallel`.
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tools.parallel_clean import clean
from tools.parallel_divide import Sentence, divide
from tools.parallel_fetch import Package, Unpacked, choose, fetch, index, offered, pinned, update
from tools.parallel_licences import notes
from tools.parallel_messages import descriptions, messages

from overtone.data.parallel.debian import debian_folder

Parts = Mapping[str, Sequence[Sentence]]


def build(out: Path) -> dict[str, object]:
    """Build the corpus in the folder `out`, replacing what is there, and return how many pairs it has of what."""
    update()
    offers = offered()
    packages, replaced = choose(pinned(), offers)
    unpacked = fetch(packages)
    by_name = {package.name: package for package in offers}
    parts = divide([*from_catalogues(unpacked), *from_descriptions(by_name)])
    counts = {**counted(parts), "other versions than the pinned ones": replaced}
    described = {s.binary for part in parts.values() for s in part if s.kind == "description"}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".overtone-") as scratch:
        new = Path(scratch) / "new"
        write(new, parts)
        (new / "counts.json").write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
        pairs = Counter(s.binary for part in parts.values() for s in part if s.kind == "catalogue")
        text = notes(unpacked, [by_name[name] for name in described], pairs)
        (new / "LICENCES").write_text(text, encoding="utf-8")
        copy_licences([item for item in unpacked if pairs[item.package.name]], new / "copyright")
        replace(out, new, Path(scratch) / "old")
    return counts


def from_catalogues(packages: Iterable[Unpacked]) -> Iterator[Sentence]:
    """Yield the cleaned messages of packages."""
    for item in packages:
        for catalogue in item.catalogues:
            for pair in messages(catalogue.read_bytes()):
                for source, target in clean(*pair):
                    yield Sentence(source, target, item.package.source, item.package.name, "catalogue")


def from_descriptions(offers: Mapping[str, Package]) -> Iterator[Sentence]:
    """Yield the cleaned descriptions of the packages that the archive offers."""
    for name, pairs in descriptions(index("Translation-en"), index("Translation-de")).items():
        for pair in pairs if name in offers else ():
            for source, target in clean(*pair):
                yield Sentence(source, target, offers[name].source, name, "description")


def counted(parts: Parts) -> dict[str, object]:
    """Return how many pairs and source packages each part has of each kind, and how many pairs are of each package."""
    counts: dict[str, object] = {}
    for name, part in parts.items():
        for kind in ("catalogue", "description"):
            found = [sentence.package for sentence in part if sentence.kind == kind]
            counts[f"{name}, {kind}"] = {"pairs": len(found), "source packages": len(set(found))}
    catalogues = Counter(s.binary for part in parts.values() for s in part if s.kind == "catalogue")
    return {**counts, "pairs of catalogues": dict(catalogues.most_common())}


def write(folder: Path, parts: Parts) -> None:
    """Write each part as lines of English, of German, and of kind and source package."""
    folder.mkdir()
    for name, part in parts.items():
        columns = {
            "en": [sentence.source for sentence in part],
            "de": [sentence.target for sentence in part],
            "origin": [f"{sentence.kind} {sentence.package}" for sentence in part],
        }
        for ending, lines in columns.items():
            (folder / f"{name}.{ending}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def copy_licences(packages: Iterable[Unpacked], folder: Path) -> None:
    """Copy the packages' own files of copyright and licence."""
    folder.mkdir()
    for item in packages:
        if item.copyright:
            shutil.copyfile(item.copyright, folder / item.package.name)


def replace(folder: Path, new: Path, old: Path) -> None:
    """Move a folder to its place, and what stood there to `old`: nobody meets half of it."""
    if folder.exists():
        folder.replace(old)
    new.replace(folder)


def main() -> None:
    """Build, and say what there is and where."""
    folder = debian_folder()
    counts = build(folder)
    counts.pop("pairs of catalogues")
    for what, number in counts.items():
        print(f"{what}: {number}")
    print(folder)


if __name__ == "__main__":
    main()
