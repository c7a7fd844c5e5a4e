"""Say under which licences the packages are whose text the corpus holds."""

import re
from collections.abc import Iterable, Mapping

from tools.parallel_fetch import Package, Unpacked, stanzas

FORMAT = re.compile(r"^Format(?:-Specification)?:", re.MULTILINE)
COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z][\w.+-]*\w)")
HEAD = """\
The sentences of this corpus are parts of Debian packages and are under these packages' licences.

Message catalogues: one line a package, with its version, the source package it is built from, its licences as its
debian/copyright names them (the whole file is in copyright/), and the number of pairs here.

"""
MIDDLE = """
Package descriptions: from Debian's archive indices, written by the packages' maintainers and translated by Debian's
Description Translation Project. A description is part of its package's source; its licence is that of the package's
debian/copyright, which was not fetched for these. One line a source package, with its version.

"""


def licences(text: str) -> str:
    """Return the licences that a debian/copyright names: as fields where it is machine-readable, else as files.

    "see copyright" where it names none in either way.
    """
    names: dict[str, None] = {}
    if FORMAT.search(text):
        fields = (entry.get("License", "").partition("\n")[0].strip() for entry in stanzas(text))
        names = dict.fromkeys(name for name in fields if name)
    names = names or dict.fromkeys(COMMON.findall(text))
    return ", ".join(sorted(names)) or "see copyright"


def notes(catalogues: Iterable[Unpacked], described: Iterable[Package], pairs: Mapping[str, int]) -> str:
    """Return the text of the file LICENCES; `pairs` is the number of pairs of each binary package."""
    catalogues = list(catalogues)
    # Some packages keep their copyright in another one of the same source.
    known = {item.package.source: item.copyright.read_text(errors="replace") for item in catalogues if item.copyright}
    lines = [
        f"{item.package.name} {item.package.version}\t{item.package.source}\t"
        f"{licences(known.get(item.package.source, ''))}\t{pairs[item.package.name]:,}\n"
        for item in catalogues
        if pairs.get(item.package.name)
    ]
    sources = sorted({(package.source, package.version) for package in described})
    return HEAD + "".join(lines) + MIDDLE + "".join(f"{name} {version}\n" for name, version in sources)
