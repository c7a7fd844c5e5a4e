"""Readers of parallel text: lines, folders of aligned files, tables, and what is wrong with them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overtone.data.parallel import Sentences, Skipped, load_parallel, read_lines
from overtone.data.parallel.debian import debian_folder
from overtone.data.parallel.folder import read_folder
from overtone.data.parallel.sentences import ParallelSplits
from overtone.data.parallel.table import read_parallel_table
from overtone.errors import UserError

ENGLISH = [f"This is sentence number {n}." for n in range(40)]
GERMAN = [f"Dies ist der Satz Nummer {n}." for n in range(40)]
# A sentence in one line: of any characters but those that end a line or cannot be written as UTF-8.
CELLS = st.text(
    st.characters(exclude_characters='\n\t,;|"\ufeff', exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(str.strip)
SENTENCES = st.text(st.characters(exclude_characters="\n\r\ufeff", exclude_categories=["Cs"]), max_size=20)


def write(folder: Path, stem: str, english: list[str], german: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for language, lines in (("en", english), ("de", german)):
        (folder / f"{stem}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def pairs(sentences: Sentences) -> list[tuple[str, str]]:
    return list(zip(sentences.source, sentences.target, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with training, validation and test files."""
    for stem, start, end in (("train", 0, 30), ("dev", 30, 35), ("test", 35, 40)):
        write(tmp_path / "set", stem, ENGLISH[start:end], GERMAN[start:end])
    return tmp_path / "set"


def check_levels(splits: ParallelSplits) -> None:
    assert pairs(splits.train) == list(zip(ENGLISH[:30], GERMAN[:30], strict=True))
    assert pairs(splits.val) == list(zip(ENGLISH[30:35], GERMAN[30:35], strict=True))
    assert pairs(splits.test) == list(zip(ENGLISH[35:], GERMAN[35:], strict=True))


def test_a_folder_with_three_levels(folder: Path) -> None:
    splits = load_parallel(str(folder), seed=0)
    check_levels(splits)
    assert (splits.source_language, splits.target_language, splits.skipped) == ("en", "de", ())
    back = load_parallel(str(folder), seed=0, source="de", target="en")
    assert back.test.source[0] == GERMAN[35]


def test_the_files_of_wmt14(tmp_path: Path) -> None:
    """Its training corpora together, 2013's news to choose by, 2014's to be judged on; no other, and nothing cut."""
    for stem, start, end in (
        ("commoncrawl.de-en", 0, 20),
        ("europarl-v7.de-en", 20, 30),
        ("newstest2012", 0, 30),
        ("newstest2013", 30, 35),
        ("newstest2014", 35, 40),
        ("train.tok.clean.bpe.32000", 0, 40),
    ):
        write(tmp_path, stem, ENGLISH[start:end], GERMAN[start:end])
    splits = load_parallel(str(tmp_path), seed=0)
    check_levels(splits)
    left_out = [value for what, value, _ in splits.choices if what == "files left out"]
    assert left_out == ["'train.tok.clean.bpe.32000'", "'newstest2012'"]


@pytest.mark.parametrize(
    "stems",
    [("train.de-en", "valid.de-en", "test.de-en"), ("opus.de-en-train", "opus.de-en-dev", "opus.de-en-test")],
)
def test_levels_within_longer_names(stems: tuple[str, str, str], tmp_path: Path) -> None:
    """As IWSLT's and OPUS' files are called: what is for testing is not learned from."""
    for stem, start, end in zip(stems, (0, 30, 35), (30, 35, 40), strict=True):
        write(tmp_path, stem, ENGLISH[start:end], GERMAN[start:end])
    check_levels(load_parallel(str(tmp_path), seed=0))


def test_training_text_in_several_files(tmp_path: Path) -> None:
    for stem, start, end in (("a.train", 0, 20), ("b-train", 20, 30), ("dev", 30, 35), ("test", 35, 40)):
        write(tmp_path, stem, ENGLISH[start:end], GERMAN[start:end])
    check_levels(load_parallel(str(tmp_path), seed=0))
    write(tmp_path, "test-train", ENGLISH[:5], GERMAN[:5])
    with pytest.raises(UserError, match=r"'test-train' in .* is called both 'test' and 'train': rename it"):
        load_parallel(str(tmp_path), seed=0)


def test_the_files_of_wmt14_as_they_come(tmp_path: Path) -> None:
    """Other pairs unpack into the same folder, and the tests are SGML with entities."""
    write(tmp_path, "europarl-v7.de-en", ENGLISH[:30], GERMAN[:30])
    for stranger in ("europarl-v7.cs-en.en", "europarl-v7.cs-en.cs", "newstest2014-fren-src.en.sgm"):
        (tmp_path / stranger).write_text("one\n")
    news = (("newstest2013", "src", "ref", 30), ("newstest2014-deen", "src", "ref", 35))
    for stem, *kinds, start in news:
        for kind, language, lines in zip(kinds, ("en", "de"), (ENGLISH, GERMAN), strict=True):
            body = "".join(
                f'<seg id="{i}">{line} &amp; &lt;\n</seg>'.replace("\n", "") + "\n"
                for i, line in enumerate(lines[start : start + 5])
            )
            text = f'<srcset setid="x" srclang="any">\n<doc docid="1">\n<p>\n{body}</p>\n</doc>\n</srcset>\n'
            (tmp_path / f"{stem}-{kind}.{language}.sgm").write_text(text, encoding="utf-8")
    splits = load_parallel(str(tmp_path), seed=0)
    assert pairs(splits.train) == list(zip(ENGLISH[:30], GERMAN[:30], strict=True))
    for part, start in ((splits.val, 30), (splits.test, 35)):
        said = [f"{line} & <" for lines in (ENGLISH, GERMAN) for line in lines[start : start + 5]]
        assert [*part.source, *part.target] == said
    left_out = [(value, why) for what, value, why in splits.choices if what == "files left out"]
    assert left_out == [
        ("'europarl-v7.cs-en.cs', 'europarl-v7.cs-en.en', 'newstest2014-fren-src.en.sgm'", "they are not of en and de")
    ]


def test_a_line_that_is_empty_in_one_language_is_skipped_and_named(tmp_path: Path) -> None:
    write(tmp_path, "train", ["a b", "", " \t", "c  d"], ["A B", "x", "", "C\tD"])
    found = read_folder(tmp_path, "en", "de")
    assert pairs(found.levels["train"]) == [("a b", "A B"), ("c d", "C D")]
    place = tmp_path / "train.en"
    assert found.skipped == (
        Skipped(f"{place}:2", "the source is empty"),
        Skipped(f"{place}:3", "both sentences are empty"),
    )


def test_files_of_different_lengths_name_both_counts(folder: Path) -> None:
    write(folder, "train", ENGLISH[:30], GERMAN[:28])
    with pytest.raises(UserError, match=r"train.en' has 30 lines and 'train.de' has 28"):
        load_parallel(str(folder), seed=0)


def test_a_wrong_encoding_is_named_by_its_line(folder: Path) -> None:
    (folder / "train.de").write_bytes("eins\nzwei\nfünf\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"Line 3 of '.*train.de' is not UTF-8 text \(byte 2 of the line is 0xfc\)"):
        load_parallel(str(folder), seed=0)
    (folder / "train.de").write_bytes("eins\n".encode("utf-16"))
    with pytest.raises(UserError, match="is UTF-16: save it as UTF-8"):
        load_parallel(str(folder), seed=0)


def test_what_a_folder_lacks(folder: Path) -> None:
    with pytest.raises(UserError, match=r"No file of the language 'fr'.*endings found: 'de', 'en'"):
        load_parallel(str(folder), seed=0, source="en", target="fr")
    (folder / "dev.de").unlink()
    with pytest.raises(UserError, match=r"'dev.en' in .* has no 'dev.de' beside it"):
        load_parallel(str(folder), seed=0)
    write(folder, "dev", ENGLISH, GERMAN)
    write(folder, "valid", ENGLISH, GERMAN)
    with pytest.raises(UserError, match=r"'dev', 'valid' in .* are all the val part"):
        load_parallel(str(folder), seed=0)


def test_names_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"not on this machine.*python -m tools.build_parallel"):
        load_parallel("debian-en-de", seed=0)
    with pytest.raises(UserError, match=r"is English and German.*no en-fr"):
        load_parallel("debian-en-de", seed=0, target="fr")
    with pytest.raises(UserError, match="Did you mean 'debian-en-de'"):
        load_parallel("debian-de-en", seed=0)
    with pytest.raises(UserError, match="both 'en': a translation takes two"):
        load_parallel("debian-en-de", seed=0, target="en")
    with pytest.raises(UserError, match="'German' is no language code"):
        load_parallel("debian-en-de", seed=0, target="German")
    (tmp_path / "a.pdf").write_text("")
    with pytest.raises(UserError, match="nothing that parallel text is read from"):
        load_parallel(str(tmp_path / "a.pdf"), seed=0)


def test_the_built_in_corpus_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    debian_folder().parent.mkdir()
    for stem, start, end in (("train", 0, 30), ("val", 30, 35), ("test", 35, 40)):
        write(debian_folder(), stem, ENGLISH[start:end], GERMAN[start:end])
    (debian_folder() / "train.origin").write_text("catalogue apt\n" * 30)
    check_levels(load_parallel("debian-en-de", seed=0))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("named.tsv", 'en\tde\tsplit\n"Hi"\t"""Hallo"", er"\ttrain\nBye, "you\tTschüss\ttest\n'),
        ("named.csv", 'split;german;english\ntrain;"""Hallo"", er";Hi\ntest;Tschüss;"Bye, ""you"\n'),
        ("plain.jsonl", '{"source": "Hi", "target": "\\"Hallo\\", er"}\n\n{"src": 1, "source": "Bye, \\"you", '
         '"target": "Tschüss"}\n'),
        ("nested.json", '{"translation": {"en": "Hi", "de": "\\"Hallo\\", er"}}\n{"translation": {"en": "Bye, \\"you",'
         ' "de": "Tschüss", "fr": null}}\n'),
        ("nameless.tsv", '\ufeffHi\t"""Hallo"", er"\r\nBye, "you\tTschüss\r\n'),
    ],
)  # fmt: skip
def test_tables(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    found = read_parallel_table(tmp_path / name, "en", "de")
    levels = ["train", "test"] if name.startswith("named") else ["all"]
    assert list(found.levels) == levels
    together = [pair for level in found.levels.values() for pair in pairs(level)]
    assert together == [("Hi", '"Hallo", er'), ('Bye, "you', "Tschüss")]
    assert not found.skipped


def test_bad_rows_are_skipped_with_their_lines(tmp_path: Path) -> None:
    table = tmp_path / "a.tsv"
    table.write_text("en\tde\nHi\tHallo\nBye\nno\t\n\nYes\tJa\tDoch\n")
    found = read_parallel_table(table, "en", "de")
    assert pairs(found.levels["all"]) == [("Hi", "Hallo")]
    assert [(item.source.removeprefix(str(table)), item.reason) for item in found.skipped] == [
        (":3", "1 cell, where 2 columns are expected"),
        (":6", "3 cells, where 2 columns are expected"),
        (":4", "the target is empty"),
    ]
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"en": "Hi", "de": "Hallo"}\nno\n{"en": "Bye", "de": ["Tschüss"]}\n')
    assert [item.reason for item in read_parallel_table(lines, "en", "de").skipped] == [
        "not JSON: each line is one object",
        "no text in the column 'de': [\"Tsch\\u00fcss\"]",
    ]
    array = tmp_path / "a.json"
    array.write_text('[\n{"en": "Hi",\n "de": "Hallo"},\n{"en": "\\ud800", "de": "Tschüss"}]')
    assert read_parallel_table(array, "en", "de").skipped == (
        Skipped(f"{array} element 2", "no Unicode text in the column 'en': '\\ud800'"),
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.tsv",
            "en\tfr\tid\nHi\tSalut\t1\n",
            "No column of the target .*'en', 'fr', 'id'.* Call it 'de' or 'target'",
        ),
        ("a.jsonl", '{"translation": {"en": "a", "fr": "b"}}\n', "from 'en' to 'de' .*: its languages are 'en', 'fr'"),
        ("a.csv", "\n\n", "is empty"),
        ("a.csv", "en,en,de\na,b,c\n", "Two columns of the table are called 'en'"),
        ("a.tsv", "en\tde\n\tx\n", r"No row of .* can be used \(1 bad row\).*a.tsv:2: the source is empty"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load_parallel(str(tmp_path / name), seed=0)


@given(lines=st.lists(SENTENCES, max_size=8), end=st.sampled_from(["\n", "\r\n"]))
def test_lines_are_given_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str
) -> None:
    """Whatever the characters within: only line feeds end a line, and empty lines count."""
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes("".join(line + end for line in lines).encode())
    assert list(read_lines(path)) == list(enumerate(lines, 1))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_tables_are_given_back_as_they_were_written(
    kind: str, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    """Python splits text at more characters than end a row."""
    path = tmp_path_factory.mktemp("tables") / f"a.{kind}"
    if kind == "jsonl":
        text = "".join(json.dumps({"en": a, "de": b}, ensure_ascii=False) + "\n" for a, b in rows)
    else:
        sign = "," if kind == "csv" else "\t"
        text = "".join(f"{a}{sign}{b}\n" for a, b in [("en", "de"), *rows])
    path.write_text(text, encoding="utf-8", newline="")
    found = read_parallel_table(path, "en", "de")
    assert pairs(found.levels["all"]) == [(" ".join(a.split()), " ".join(b.split())) for a, b in rows]


def test_a_text_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"'nowhere.txt' cannot be read: No such file"):
        list(read_lines("nowhere.txt"))
