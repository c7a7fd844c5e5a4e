"""`overtone evaluate PROTOCOL` and `overtone doctor` as a user meets them."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from overtone.cli import main
from published_trees import write_set

METHODS = ("--methods", "zero-shot")


def command(*args: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    where = Path(sys.executable).parent / "overtone"
    return subprocess.run([where, *map(str, args)], capture_output=True, text=True, check=False)


def says(capfd: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Run the command in here; return its exit code, and what it printed."""
    capfd.readouterr()
    code = 0
    try:
        main([str(arg) for arg in args])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    said = capfd.readouterr()
    return code, said.out, said.err


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("EuroSAT", "DTD"):
        write_set(tmp_path / "root", name)
    return tmp_path / "root"


def test_base_to_new_with_a_cell_that_fails(
    root: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A test picture of one data set is broken: its cell fails, the other finishes, and the same command mends it."""
    broken, out = root / "dtd" / "images" / "woven" / "image_0011.jpg", tmp_path / "out"
    whole = broken.read_bytes()
    broken.write_bytes(b"no picture")
    args = ("evaluate", "base-to-new", "EuroSAT", "dtd", *METHODS, "--root", root, "--model", tiny_model)
    args += ("--shots", 2, "--seeds", 1, 2, "--out", out, "--device", "cpu")
    done = command(*args)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"overtone: Of the cells, 1 failed; the first, zero-shot on DTD, scored on new: {broken}: "
    )
    lines = done.stdout.splitlines()
    assert (lines[0], lines[2].split()) == ("base-to-new: EuroSAT, DTD", ["EuroSAT", "base", "new", "H"])
    assert "failed" not in lines[3]
    assert lines[6].split() == ["zero-shot", "50.0", "failed", "failed"]
    written = {"cells", "log.txt", "plot.svg", "protocol.json", "report.html", "table.csv"}
    assert {path.name for path in out.iterdir()} == written
    broken.write_bytes(whole)
    code, said, err = says(capfd, *args)
    assert (code, err) == (0, "")
    assert said.splitlines()[3].split() == lines[3].split()
    rows = csv.DictReader((out / "table.csv").read_text().splitlines())
    mean = {(row["data"], row["column"]): float(row["mean"]) for row in rows}
    base, new = ((mean["EuroSAT", part] + mean["DTD", part]) / 2 for part in ("base", "new"))
    assert mean["average", "H"] == pytest.approx(2 * base * new / (base + new), abs=1e-5)


def test_offline(tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    args = ("evaluate", "domain-generalization", "emoji:activities", *METHODS, "--shots", 1, "--seeds", 1)
    code, out, err = says(capfd, *args, "--model", tiny_model, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert out.splitlines()[2].split() == ["learned", "from", "emoji:activities", "fluent", "openmoji", "average"]
    assert "Each emoji concept has one picture a style" in out


def test_both_kinds_of_evaluate_explain_themselves(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = says(capfd, "evaluate", "--help")
    assert code == 0
    assert "ADAPTER" in out
    assert "overtone evaluate few-shot" in " ".join(out.split())
    code, out, _ = says(capfd, "evaluate", "base-to-new", "--help")
    assert code == 0
    assert all(word in out for word in ("PROTOCOL", "--methods", "--seeds", "--root"))


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ("evaluate", "few-shot", "emoji", "--shot", "2"),
            "There is no option '--shot' of evaluate few-shot. Did you mean '--shots'? "
            "See overtone evaluate few-shot --help.",
        ),
        (
            ("evaluate", "few-shot", "emoji", "--seeds", "x"),
            "--seeds takes a whole number. See overtone evaluate few-shot --help.",
        ),
        (
            ("evaluate", "few-shots", "emoji"),
            "No protocol 'few-shots'. Did you mean 'few-shot'? For a run of yours, name its folder.",
        ),
        (
            ("evaluate", "--device", "cpu", "few-shot", "emoji"),
            "A protocol's name stands right behind `evaluate`. For a run of yours, name its folder.",
        ),
        (("evaluate", "few-shot"), "Nothing to measure: name data. See overtone evaluate few-shot --help."),
        (("doctor", "nowhere"), "There is no folder 'nowhere'."),
    ],
)
def test_slips(args: tuple[str, ...], line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert says(capfd, *args) == (2, "", f"overtone: {line}\n")


def test_doctor_of_data(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = says(capfd, "doctor", root)
    assert code == 1
    assert err == "overtone: 2 of these are wrong: DTD, EuroSAT.\n"
    assert "of 15 data sets, 0 as published, 2 wrong, 13 not there" in out
    assert "train has 24 pictures instead of 13,500" in out
