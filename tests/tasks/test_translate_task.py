"""`train --task translate` as a function: from text to a run folder that translates, and what can go wrong."""

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from translate_samples import ENGLISH, GERMAN, run, weights, write_text

from overtone.cli import main
from overtone.errors import UserError
from overtone.tasks import EvaluateConfig, PredictConfig, evaluate, predict
from overtone.tasks.translate import TranslateResult
from overtone.tasks.translate_reporting import CHANGED
from overtone.tasks.translator import Translator

STEPS = 100


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "toy")


@pytest.fixture(scope="module")
def made(text: Path, tmp_path_factory: pytest.TempPathFactory) -> TranslateResult:
    """A run that has learned the toy language; not to be changed."""
    return run(text, tmp_path_factory.mktemp("made") / "run", steps=STEPS)


def test_it_learns_and_the_run_folder_holds_all_there_is_to_know(made: TranslateResult, text: Path) -> None:
    folder, report = made.folder, made.report
    losses = [loss for _, loss in report.panels["Loss a token"]["validation"]]
    assert losses[-1] < losses[0] / 2
    assert report.scores[1].value > 15  # chrF, of 100; without learning it is next to nothing
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "metrics.json",
        "model",
        "report.html",
        "translations.csv",
        "translator.json",
    ]
    settings = json.loads((folder / "config.json").read_text())
    assert (settings["data"], settings["steps"], settings["batch_size"]) == (str(text), STEPS, 400)
    described = json.loads((folder / "translator.json").read_text())
    assert (described["source"], described["target"], described["limit"]) == ("en", "de", 40)
    steps = [step for step, _ in report.panels["BLEU, greedy"]["validation"]]
    assert (steps[0], steps[-1]) == (0, STEPS)
    page = (folder / "report.html").read_text(encoding="utf-8")
    for part in ("Samples", "Worst sentences", "Learning curves", "Chosen frequencies", "tok:13a", "set by you"):
        assert part in page


def test_what_transformers_makes_of_the_run(made: TranslateResult) -> None:
    """The Auto classes read it, and `generate` searches as we do without being told."""
    model = AutoModelForSeq2SeqLM.from_pretrained(made.folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(made.folder / "model")
    assert torch.equal(weights(model), weights(made.translator.network))
    sentence = made.report.sentences[0]
    ids = model.generate(**tokenizer([sentence.source], return_tensors="pt"))
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == [sentence.translation]


def test_predicting_text_and_files_line_by_line(
    made: TranslateResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = str(made.folder), tmp_path / "lines.txt"
    file.write_text("red dog\n\n" + "book " * 60 + "\nold friend", encoding="utf-8")
    found = list(predict(PredictConfig(folder, ("red dog", str(file)), device="cpu")))
    assert [one.place for one in found] == ["", *(f"{file}:{line}" for line in (1, 2, 3, 4))]
    assert [one.source for one in found[:3]] == ["red dog", "red dog", ""]
    assert found[0].text == found[1].text != ""
    assert (found[2].text, found[2].cut) == ("", 0)
    assert found[3].cut > 0
    main(["predict", folder, str(file), "--device", "cpu"])
    said = capsys.readouterr()
    assert said.out.split("\n") == [found[1].text, "", found[3].text, found[4].text, ""]
    assert said.err == (
        f"overtone: 1 line was empty, and so is its translation: {file}:2\n"
        f"overtone: 1 line was too long and cut at the end: {file}:3\n"
    )
    main(["predict", folder, "red dog", "--json", "--device", "cpu"])
    assert json.loads(capsys.readouterr().out) == {
        "place": "",
        "source": "red dog",
        "translation": found[0].text,
        "subwords_cut": 0,
    }


def test_a_file_is_translated_as_it_is_read(made: TranslateResult, tmp_path: Path) -> None:
    """A wrong line stops it with its number, after the lines before it."""
    file = tmp_path / "bad.txt"
    file.write_bytes(b"red dog\nold \xff friend\nbook\n")
    lines = predict(PredictConfig(str(made.folder), (str(file),), device="cpu"))
    assert next(lines).source == "red dog"
    with pytest.raises(UserError, match=r"Line 2 of .*bad.txt' is not UTF-8"):
        next(lines)


def test_what_is_piped_in(made: TranslateResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"red dog\n\nold friend\n")))
    found = list(predict(PredictConfig(str(made.folder), ("-",), device="cpu")))
    assert [(one.place, one.source) for one in found] == [
        ("stdin:1", "red dog"),
        ("stdin:2", ""),
        ("stdin:3", "old friend"),
    ]


def test_what_was_not_whole_is_said_though_a_line_is_bad(
    made: TranslateResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the places of the first few."""
    file = tmp_path / "bad.txt"
    file.write_bytes(b"\n" * 7 + b"book " * 60 + b"\n\xff\n")
    with pytest.raises(SystemExit):
        main(["predict", str(made.folder), str(file), "--device", "cpu"])
    first = ", ".join(f"{file}:{line}" for line in range(1, 6))
    said = capsys.readouterr().err
    assert f"7 lines were empty, and so are their translations: {first} and 2 more\n" in said
    assert f"1 line was too long and cut at the end: {file}:8\n" in said
    assert "Line 9 of" in said


def test_a_folder_that_is_in_the_way_is_found_before_the_text_is_read(made: TranslateResult) -> None:
    with pytest.raises(UserError, match="holds a finished run"):
        run(Path("no text here"), made.folder)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("caf\udce9",), {}, r"The text 'caf\\udce9' is not UTF-8"),
        (("none.txt",), {}, "There is no file 'none.txt'"),
        (("none.en",), {}, "There is no file 'none.en'"),
        ((".",), {}, "'.' is a folder"),
        (("text",), {"classes": "a, b"}, "--classes is for pictures: .* is a translator"),
        (("text",), {"top": 3}, "--top is for pictures"),
        ((), {}, "No text is named"),
    ],
)
def test_what_cannot_be_translated(
    made: TranslateResult, arguments: tuple[str, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        list(predict(PredictConfig(str(made.folder), arguments, device="cpu", **options)))


def test_a_sentence_s_translation_does_not_depend_on_the_others(made: TranslateResult) -> None:
    texts = [sentence.source for sentence in made.report.sentences]
    together = [found.text for found in made.translator.translate(texts)]
    assert together == [made.translator.translate([text])[0].text for text in texts]
    assert together == [sentence.translation for sentence in made.report.sentences]


def test_nor_does_the_most_that_it_may_have(made: TranslateResult) -> None:
    """A network that never ends a sentence of its own accord: each is cut at its own length, not at the batch's."""
    translator = Translator.load(made.folder)
    with torch.no_grad():
        translator.network.final_logits_bias[0, translator.network.config.eos_token_id] = -1e4
    texts = [made.report.sentences[0].source, " ".join(["red dog"] * 8)]
    for beams in (1, 2):
        together = [found.text for found in translator.translate(texts, beams)]
        assert together == [translator.translate([text], beams)[0].text for text in texts]


def test_weights_with_a_part_missing(made: TranslateResult, tmp_path: Path) -> None:
    shutil.copytree(made.folder, folder := tmp_path / "copy")
    file = folder / "model" / "model.safetensors"
    some = {name: tensor for name, tensor in load_file(file).items() if not name.endswith("mixer.value.weight")}
    save_file(some, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match="tensors are missing from its weights"):
        Translator.load(folder)


def test_evaluating_on_its_own_and_on_other_text(
    made: TranslateResult, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(made.folder)
    own = evaluate(EvaluateConfig(folder, str(text), out=str(tmp_path / "scores"), device="cpu"))
    assert own.scores == made.report.scores
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == [
        "metrics.json",
        "report.html",
        "translations.csv",
    ]
    table = tmp_path / "other.tsv"
    words = list(zip(ENGLISH, GERMAN, strict=True))
    rows = [(f"{a} {b}", f"{x} {y}") for a, x in words for b, y in words[:2]] + [("book " * 50, "Buch " * 50)]
    table.write_text("en\tde\n" + "".join(f"{a}\t{b}\n" for a, b in rows))
    other = evaluate(EvaluateConfig(folder, str(table), device="cpu"))
    assert len(other.sentences) == len(rows)  # all, though the table sets none apart for testing
    assert "1 test sentence of more than 40 subwords" in other.notes[0]
    main(["evaluate", folder, str(text), "--device", "cpu"])
    assert re.search(r"BLEU on 20 test sentences: [\d.]+ ± [\d.]+ \(nrefs:1", capsys.readouterr().out)
    with pytest.raises(UserError, match="--image-column is for pictures"):
        evaluate(EvaluateConfig(folder, str(text), image_column="x", device="cpu"))


def test_evaluating_where_the_data_has_moved_or_changed(text: Path, tmp_path: Path) -> None:
    """Of its own data a run is judged on what it held out, wherever that lies; a note says where it cannot be known."""
    pairs = zip(*((text / f"train.{language}").read_text().splitlines() for language in ("en", "de")), strict=True)
    table = tmp_path / "own.tsv"
    table.write_text("en\tde\n" + "".join(f"{a}\t{b}\n" for a, b in pairs))
    trained = run(table, tmp_path / "run", steps=1)
    moved = tmp_path / "moved.tsv"
    shutil.copy(table, moved)
    own = evaluate(EvaluateConfig(str(trained.folder), str(moved), device="cpu"))
    assert (own.sentences, own.notes) == (trained.report.sentences, [])
    first = "red dog sees small old house\trot Hund sieht klein alt Haus\n"  # every other line is another one now
    table.write_text(table.read_text().replace("en\tde\n", f"en\tde\n{first}"))
    changed = evaluate(EvaluateConfig(str(trained.folder), str(table), device="cpu"))
    assert changed.notes == [CHANGED]


def test_an_empty_text_is_an_empty_line(made: TranslateResult) -> None:
    assert [found.text for found in predict(PredictConfig(str(made.folder), ("", " "), device="cpu"))] == ["", ""]


def test_a_vocabulary_of_another_model(made: TranslateResult, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.folder, folder)
    edited = json.loads((folder / "model" / "tokenizer.json").read_text())
    vocabulary = edited["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "model" / "tokenizer.json").write_text(json.dumps(edited))
    with pytest.raises(UserError, match=r"The vocabulary in .* is not the one this network was trained with"):
        predict(PredictConfig(str(folder), ("red dog",), device="cpu"))
    (folder / "model" / "model.safetensors").write_bytes(b"cut")
    shutil.copy(made.folder / "model" / "tokenizer.json", folder / "model")
    with pytest.raises(UserError, match="the weights cannot be read"):
        Translator.load(folder)
    described = json.loads((folder / "translator.json").read_text())
    (folder / "translator.json").write_text(json.dumps(described | {"format": 2}))
    with pytest.raises(UserError, match=r"another Overtone \(format 2, here 1\)"):
        Translator.load(folder)


def test_a_network_and_subwords_that_do_not_fit(made: TranslateResult) -> None:
    network, tokenizer = made.translator.network, made.translator.tokenizer
    with pytest.raises(ValueError, match="limit must be at most 973 for 1024 positions, got 1000"):
        Translator(network, tokenizer, "en", "de", 1000)
    network.config.vocab_size += 1
    with pytest.raises(ValueError, match=r"the vocabulary has .* subwords"):
        Translator(network, tokenizer, "en", "de", 40)
    network.config.vocab_size -= 1
