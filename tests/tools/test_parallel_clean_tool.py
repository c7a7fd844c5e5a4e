# ruff: noqa: RUF001  the signs that look alike are what is tested
"""What the script that builds the English-German corpus makes of messages, and what it leaves out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.parallel_clean import alike_in_length, clean, fault, pieces, plain


@pytest.mark.parametrize(
    ("source", "target", "plain_source", "plain_target"),
    [
        ("Save _As", "Speichern _unter", "Save As", "Speichern unter"),
        ("E&xit the program", "Programm been&den", "Exit the program", "Programm beenden"),
        ("~Insert & show", "Ein~fügen & zeigen", "Insert & show", "Einfügen & zeigen"),
        ("set max_size first", "Zuerst max_size setzen", "set max_size first", "Zuerst max_size setzen"),
        ("Ask AT&T now", "Jetzt AT&T fragen", "Ask AT&T now", "Jetzt AT&T fragen"),
        ("<b>Do not</b> ask&nbsp;me", "<b>Nicht</b>&nbsp;fragen", "Do not ask me", "Nicht fragen"),
        ("<red>now</red>", "<rot>jetzt</rot>", "now", "jetzt"),
        ("Cannot open %s: %d", "%s: nicht zu öffnen (%d)", "Cannot open X: Y", "X: nicht zu öffnen (Y)"),
        ("%1 of %2 files", "Von %2 Dateien %1", "X of Y files", "Von Y Dateien X"),
        ("%s in %s", "In %2$s: %1$s", "X in Y", "In Y: X"),
        ("{name} has {n:d}", "{n:d} hat {name}", "X has Y", "Y hat X"),
        ("%(size)s, 5 %% of $total|", "%(size)s, 5 %% von $total|", "X, 5 % of Y", "X, 5 % von Y"),
        ("bad %<inline%> here", "falsches %<inline%>", 'bad "inline" here', 'falsches "inline"'),
        ("“Open” it – now…", "„Öffnen“ – jetzt …", '"Open" it - now...', '"Öffnen" - jetzt ...'),
        ("female^Go away", "Geh weg", "Go away", "Geh weg"),
        ("?plural:Old Romans", "Alte Römer", "Old Romans", "Alte Römer"),
        ("bad %q+#D in %qs", "falsches %q+#D in %qs", "bad X in Y", "falsches X in Y"),
        ("Find it|F", "Finden|d", "Find it", "Finden"),
        ("Find it\tCtrl+F", "Finden\tStrg+F", "Find it", "Finden"),
    ],
)
def test_plain(source: str, target: str, plain_source: str, plain_target: str) -> None:
    assert plain(source, target) == (plain_source, plain_target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("Open %s", "Öffnen"),  # one of them has nothing to stand for
        ("%s %s %s %s", "%s %s %s %s"),  # more than there are names for
        ("%ds left", "noch %ds"),  # a part of a word
        ("%s%s: not found", "%s%s: nicht gefunden"),
        ("cp <file>", "cp <datei>"),
        ("set_a_b", "setze_c_d"),
    ],
)
def test_messages_that_do_not_go_together(source: str, target: str) -> None:
    assert plain(source, target) is None


def test_paragraphs_and_sentences_are_cut_where_both_have_as_many() -> None:
    source = "It is old, e.g. Roman. It stands on a hill, No. 3.\n\nLook at it! Is it nice"
    target = "Es ist alt, z. B. römisch. Es steht auf einem Hügel, Nr. 3.\n\nSchau es dir an! Ist es schön?"
    assert list(pieces(source, target)) == [
        ("It is old, e.g. Roman.", "Es ist alt, z. B. römisch."),
        ("It stands on a hill, No. 3.", "Es steht auf einem Hügel, Nr. 3."),
        ("Look at it!", "Schau es dir an!"),
        ("Is it nice", "Ist es schön?"),
    ]
    assert list(pieces("One. Two. Three.", "Eins und zwei. Drei.")) == [("One. Two. Three.", "Eins und zwei. Drei.")]


def test_the_end_of_the_source_is_the_end_of_the_target() -> None:
    assert list(pieces("Name of the file:", "Name der Datei")) == [("Name of the file:", "Name der Datei:")]
    assert list(pieces("Name of the file", "Name der Datei.")) == [("Name of the file", "Name der Datei")]
    assert list(pieces("# Do it #", "* Tu es")) == [("Do it", "Tu es")]
    assert list(pieces("Wait", "Warten :")) == [("Wait", "Warten")]


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("The file could not be opened.", "Die Datei konnte nicht geöffnet werden.", None),
        ("Show the file(s)", "Datei(en) anzeigen", None),
        ("Open file", "Datei öffnen", "few words"),
        ("The file could not be opened.", "Nein doch", "lengths"),
        ("The file could not be opened.", "The Datei could not be geöffnet von", "language"),
        ("Die Datei ist nicht da", "Das Haus steht auf dem Berg", "language"),
        ("Mozilla Firefox Web Browser", "Mozilla Firefox Web Browser", "not translated"),
        ("Take 3 of these", "Nimm vier von denen", "numbers"),
        ("see http://x.org for more", "siehe http://x.org für mehr", "code"),
        ("run it with --help now", "nun mit --help ausführen", "code"),
        ("where r and θ are given", "wobei r und θ gegeben sind", "script"),
        ("of 12, 12, 12, 12 and 12, 12", "von 12, 12, 12, 12 und 12, 12", "few words"),
        ("all the dates: 12, 12, 12, 12, 12", "alle Daten: 12, 12, 12, 12, 12", "few letters"),
    ],
)
def test_faults(source: str, target: str, why: str | None) -> None:
    assert fault(source, target) == why


@given(
    st.text(st.sampled_from('aBü _&~%s1{}$<>/b.!\n"(')), st.text(st.sampled_from('aBü _&~%s1{}$<>/b.!\n"('))
)  # fmt: skip
def test_what_is_kept_is_fit_and_in_one_line(source: str, target: str) -> None:
    """Whatever the signs of catalogues are put together to."""
    for pair in clean(source, target):
        assert fault(*pair) is None
        assert alike_in_length(*pair)
        assert all(text == " ".join(text.split()) for text in pair)
