"""The script that builds the English-German corpus: catalogues, descriptions, packages, parts and what it writes."""

import io
import itertools
import struct
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.build_parallel import copy_licences, counted, replace, write
from tools.parallel_divide import Sentence, apart, divide, key, unique
from tools.parallel_fetch import Package, Unpacked, choose, pinned, stanzas
from tools.parallel_licences import licences, notes
from tools.parallel_messages import description, descriptions, messages

from overtone.data.parallel import load_parallel
from tools import parallel_divide, parallel_fetch


def catalogue(texts: dict[str, str], order: str = "<", charset: str = "UTF-8") -> bytes:
    """Write a catalogue as GNU msgfmt does (the format's description is in GNU gettext's manual)."""
    header = {"": f"Content-Type: text/plain; charset={charset}\n"}
    items = sorted((header | texts).items())
    blobs = [part.encode(charset) for pair in zip(*items, strict=True) for part in pair]
    start = 28 + 16 * len(items)
    places = list(itertools.accumulate((len(blob) + 1 for blob in blobs), initial=start))
    table = [number for blob, place in zip(blobs, places, strict=False) for number in (len(blob), place)]
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(items), 28, 28 + 8 * len(items), 0, start)
    return head + struct.pack(f"{order}{len(table)}I", *table) + b"".join(blob + b"\0" for blob in blobs)


@given(
    texts=st.dictionaries(
        *[st.text(st.characters(exclude_characters="\0\4", exclude_categories=["Cs"]), min_size=1)] * 2
    ),
    order=st.sampled_from("<>"),
)
def test_catalogues_are_read_back(texts: dict[str, str], order: str) -> None:
    assert dict(messages(catalogue(texts, order))) == texts


def test_contexts_plurals_and_encodings() -> None:
    held = {"menu\4Open": "Öffnen", "%d file\0%d files": "%d Datei\0%d Dateien", "one": "", "day": "Tag"}
    assert sorted(messages(catalogue(held, charset="ISO-8859-1"))) == [
        ("%d file", "%d Datei"),
        ("%d files", "%d Dateien"),
        ("Open", "Öffnen"),
        ("day", "Tag"),
    ]
    with pytest.raises(ValueError, match="not a message catalogue"):
        list(messages(b"no"))


ENGLISH = """\
Package: apt
Description-md5: 12
Description-en: commandline package manager
 This package provides text-
 and commandline tools.
 .
 These include:
  * apt-get for packages
    of all kinds
  * apt-cache for information

Package: dpkg
Description-md5: 34
Description-en: Debian package management
"""
GERMAN = """\
Package: apt
Description-md5: 12
Description-de: Paketverwaltung für die Befehlszeile
 Dieses Paket stellt Text- und Befehlszeilen-
 Werkzeuge bereit.
 .
 Dazu gehören:
  - apt-get für Pakete aller Art
  - apt-cache für Auskünfte

Package: dpkg
Description-md5: 99
Description-de: von einem anderen Text
"""


def test_descriptions_are_paired_by_digest_and_paragraph() -> None:
    assert descriptions(stanzas(ENGLISH), stanzas(GERMAN)) == {
        "apt": [
            ("commandline package manager", "Paketverwaltung für die Befehlszeile"),
            (
                "This package provides text- and commandline tools.",
                "Dieses Paket stellt Text- und Befehlszeilen-Werkzeuge bereit.",
            ),
            ("These include:", "Dazu gehören:"),
            ("apt-get for packages of all kinds", "apt-get für Pakete aller Art"),
            ("apt-cache for information", "apt-cache für Auskünfte"),
        ]
    }
    assert list(description("one\ntwo\n.\nthree", "eins\nzwei und drei")) == [("one", "eins")]


def sentence(source: str, target: str = "", package: str = "a", kind: parallel_divide.Kind = "catalogue") -> Sentence:
    return Sentence(source, target or f"Ziel {source}", package, package, kind)


def test_what_differs_in_signs_alone_is_the_same() -> None:
    assert key('Open  "X" (3)...') == "open x"
    assert unique([sentence("Open it.", "a"), sentence("open IT", "A!"), sentence("open it", "b")]) == [
        sentence("Open it.", "a"),
        sentence("open it", "b"),
    ]


def test_near_duplicates_are_told_by_half_of_their_runs() -> None:
    """Of one word replaced in twelve: three runs of twelve differ, and 9 / (12 + 12 - 9) are common."""
    long = "the quick brown fox jumps over the lazy dog and runs away"
    held = [sentence(text) for text in (long, "quite another one", "Open a file", "alone here now")]
    others = [
        sentence(long.replace("lazy", "old")),
        sentence("open a FILE..."),
        sentence("other", "Ziel alone here now"),
    ]
    assert apart(held, others) == [held[1]]
    shuffled = " ".join(sorted(long.split()))
    assert apart(held, [sentence(shuffled)]) == held


def test_parts_are_of_different_packages_and_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("DRAWN", 30), ("LARGEST", 20), ("MOST", 3)):
        monkeypatch.setattr(parallel_divide, name, number)
    rows = []
    for n in range(60):
        kind: parallel_divide.Kind = "description" if n % 2 else "catalogue"
        size = 50 if n in (0, 1) else 4  # two packages too large to be held out
        rows += [sentence(f"words {chr(97 + n % 26) * (n + 1)} {'x' * i} end", "", f"p{n}", kind) for i in range(size)]
        rows.append(sentence("in every package the same", "", f"p{n}", kind))
    parts = divide(rows)
    packages = {name: {row.package for row in part} for name, part in parts.items()}
    assert not packages["train"] & packages["test"]
    assert not packages["train"] & packages["val"]
    assert not packages["val"] & packages["test"]
    assert {"p0", "p1"} <= packages["train"]
    for name in ("val", "test"):
        kinds = [row.kind for row in parts[name]]
        assert max(Counter(row.package for row in parts[name]).values()) == 3
        assert 20 <= min(kinds.count("catalogue"), kinds.count("description")) <= 30  # three of ten packages
    assert [row.source for part in parts.values() for row in part].count("in every package the same") <= 1


def test_pins_and_what_the_archive_offers() -> None:
    pins = [Package("a", "1", "x"), Package("b", "1", "y"), Package("c", "1", "z")]
    offers = [Package("a", "1", "x", "A"), Package("b", "2", "w", "B"), Package("d", "1", "v", "D")]
    assert choose(pins, offers) == (offers[:2], ["b: 1 is gone, 2 taken", "c: 1 is gone, nothing taken"])
    with pytest.raises(ValueError, match="a 1: sha256 is q, pinned x"):
        choose(pins, [Package("a", "1", "q", "A")])
    found = pinned()
    assert len({pin.name for pin in found}) == len(found) > 100
    assert all(len(pin.sha256) == 64 and pin.version for pin in found)


def test_what_is_kept_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its German catalogues and its copyright, out of a .deb whose archive a stand-in for dpkg-deb gives."""
    names = ["usr/share/locale/de/LC_MESSAGES/a.mo", "usr/share/locale/fr/LC_MESSAGES/a.mo", "usr/bin/a",
             "usr/share/doc/a/copyright", "usr/share/a/locale/pt-de.mo"]  # fmt: skip
    with tarfile.open(tmp_path / "a.deb", "w") as tar:
        for name in names:
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: popen(["cat", command[-1]], **options))
    monkeypatch.setattr(parallel_fetch, "HERE", tmp_path)
    package = Package("a", "1:2", "x", "src")
    folder = parallel_fetch._folder(package)
    parallel_fetch._unpack(tmp_path / "a.deb", folder)
    item = parallel_fetch._unpacked(package)
    assert [file.relative_to(folder).as_posix() for file in item.catalogues] == [names[4], names[0]]
    assert item.copyright is not None
    assert item.copyright.read_text() == names[3]


COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
License: GPL-2+

Files: *
Copyright: 2000 Ann
License: GPL-2+

Files: po/*
License: MIT
 Permission is granted
"""


def test_licences() -> None:
    assert licences(COPYRIGHT) == "GPL-2+, MIT"
    assert licences("It is in /usr/share/common-licenses/GPL-3.\n") == "GPL-3"
    assert licences("Do what you like.") == "see copyright"


def test_what_is_written_is_read_and_replaced_at_once(tmp_path: Path) -> None:
    kinds: list[parallel_divide.Kind] = ["catalogue", "description"]
    parts = {
        name: [sentence(f"{name} {n}", "", f"p{n % 2}", kinds[n % 2]) for n in range(size)]
        for name, size in (("train", 6), ("val", 3), ("test", 2))
    }
    write(tmp_path / "new", parts)
    assert (tmp_path / "new" / "val.origin").read_text().splitlines() == [
        "catalogue p0", "description p1", "catalogue p0"]  # fmt: skip
    counts = counted(parts)
    assert counts["train, catalogue"] == {"pairs": 3, "source packages": 1}
    assert counts["pairs of catalogues"] == {"p0": 6}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("")
    replace(tmp_path / "out", tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "old.txt").exists()
    splits = load_parallel(str(tmp_path / "out"), seed=0)
    assert splits.train.source == [f"train {n}" for n in range(6)]
    assert (len(splits.val), len(splits.test)) == (3, 2)


def test_licence_notes_travel_along(tmp_path: Path) -> None:
    (tmp_path / "copyright").write_text(COPYRIGHT)
    own, other = Package("apt", "1", "x", "apt"), Package("apt-doc", "1", "x", "apt")
    items = [Unpacked(own, (), tmp_path / "copyright"), Unpacked(other, (), None)]
    text = notes(items, [Package("dpkg", "2", "x", "dpkg-src")], {"apt": 1200, "apt-doc": 3})
    assert "apt 1\tapt\tGPL-2+, MIT\t1,200\n" in text
    assert "apt-doc 1\tapt\tGPL-2+, MIT\t3\n" in text
    assert text.endswith("\ndpkg-src 2\n")
    copy_licences(items, tmp_path / "copies")
    assert [file.name for file in (tmp_path / "copies").iterdir()] == ["apt"]
