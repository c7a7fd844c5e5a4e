"""English text with its German translation as Debian's packages carry it: message catalogues and descriptions."""

import re
import struct
from collections.abc import Iterable, Iterator, Mapping

MAGIC = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}
CHARSET = re.compile(r"charset=([\w.-]+)")
ITEM = re.compile(r"^\s*(?:[-*+o•]|\d{1,2}[.)])\s+")  # what begins an entry of a list
WRAPPED = re.compile(r"(?<=\w)-\n(?!(?:und|oder|bzw\.|and|or)\b)")
Pair = tuple[str, str]
Entry = Mapping[str, str]


def messages(data: bytes) -> Iterator[Pair]:
    """Yield message and translation of a compiled catalogue (.mo); of plurals the first with the first, last with last.

    Contexts (before a U+0004) are left out, and so is the header, which names the encoding. Raises ValueError for
    bytes that are no such catalogue.
    """
    if len(data) < 20 or data[:4] not in MAGIC:
        raise ValueError("not a message catalogue")
    order = MAGIC[data[:4]]
    _, number, originals, translations = struct.unpack_from(f"{order}4I", data, 4)

    def texts(table: int) -> list[bytes]:
        places = struct.unpack_from(f"{order}{2 * number}I", data, table)
        return [data[start : start + length] for length, start in zip(places[::2], places[1::2], strict=True)]

    found = list(zip(texts(originals), texts(translations), strict=True))
    header = next((value.decode("latin-1") for key, value in found if not key), "")
    named = CHARSET.search(header)
    charset = named[1] if named and named[1] != "CHARSET" else "utf-8"
    for key, value in found:
        try:
            ids, strings = key.rpartition(b"\x04")[2].decode(charset), value.decode(charset)
        except (UnicodeDecodeError, LookupError):
            continue  # a catalogue with a wrong header: no line of it can be trusted
        if not ids or not strings:
            continue
        forms, translated = ids.split("\0"), strings.split("\0")
        yield forms[0], translated[0]
        if len(forms) > 1 and len(translated) > 1:
            yield forms[-1], translated[-1]


def descriptions(english: Iterable[Entry], german: Iterable[Entry]) -> dict[str, list[Pair]]:
    """Return for each package the pairs of its description, from the entries of two indices.

    Entries are matched by package and digest, so that a translation is of this very text. See `description`.
    """
    wanted = {(entry["Package"], entry["Description-md5"]): entry["Description-de"] for entry in german}
    found: dict[str, list[Pair]] = {}
    for entry in english:
        translation = wanted.get((entry["Package"], entry["Description-md5"]))
        if translation is not None:
            found.setdefault(entry["Package"], []).extend(description(entry["Description-en"], translation))
    return found


def description(english: str, german: str) -> Iterator[Pair]:
    """Yield the pairs of a description: its first lines, and the paragraphs of the rest where as many are in both.

    A paragraph ends at a line with a dot alone, or where an entry of a list begins.
    """
    (title, *body), (translated, *translated_body) = english.split("\n"), german.split("\n")
    yield title, translated
    paragraphs, others = list(_paragraphs(body)), list(_paragraphs(translated_body))
    if len(paragraphs) == len(others):
        yield from zip(paragraphs, others, strict=True)


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    held: list[str] = []
    for line in lines:
        ends = line.strip() in ("", ".")
        if held and (ends or ITEM.match(line)):
            yield _joined(held)
            held = []
        if not ends:
            held.append(ITEM.sub("", line).strip())
    if held:
        yield _joined(held)


def _joined(lines: list[str]) -> str:
    """Return wrapped lines as one; a compound cut at its hyphen is put together."""
    return WRAPPED.sub("-", "\n".join(lines)).replace("\n", " ")
