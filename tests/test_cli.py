"""The command as a user meets it: what it prints where, how it ends, and how it goes on after being stopped."""

import errno
import functools
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from overtone import __version__
from overtone.cli import main, quieten
from overtone.data import open_image

EPOCHS, STEPS = 15, 3  # of three steps: twenty pictures in batches of eight
VERBS = "adapt, predict, evaluate, pretrain, train, fit, inspect, bench, doctor"
SETTINGS = ("--epochs", f"{EPOCHS}", "--batch-size", "8", "--seed", "7")
HEAVY = ("torch", "transformers", "pyarrow", "matplotlib", "numpy", "PIL", "rich.progress")
LEFT_BY_A_RUN = {
    "README.md",
    "adapter.json",
    "adapter.safetensors",
    "classes.csv",
    "learned_from.txt",
    "config.json",
    "metrics.json",
    "report.html",
}


def command(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    where = Path(sys.executable).parent / "overtone"
    return subprocess.run([where, *map(str, args)], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return what runs the command in here, expects one line on stderr and exit code 2, and returns the line."""

    def run(*args: object) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(arg) for arg in args])
        said = capfd.readouterr()
        assert (leaving.value.code, said.out) == (2, "")
        assert said.err.startswith("overtone: ")
        assert said.err.count("\n") == 1
        return said.err

    return run


def test_nothing_heavy_is_imported_for_help() -> None:
    code = "import sys, overtone.cli\ntry: overtone.cli.main(['adapt', '--help'])\nexcept SystemExit: pass\n"
    code += f"print('loaded', [name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--amplitude-mix" in done.stdout
    assert done.stdout.endswith("loaded []\n")


def test_help_and_version() -> None:
    help_, version = command("--help"), command("--version")
    assert (help_.returncode, help_.stderr) == (0, "")
    assert all(verb in help_.stdout for verb in ("adapt", "predict", "evaluate", "--debug"))
    assert (version.returncode, version.stdout) == (0, f"overtone {__version__}\n")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], f"Name a verb: {VERBS}. See overtone --help."),
        (
            ["adpat", "x"],
            f"No verb 'adpat'. Did you mean 'adapt'? The verbs are {VERBS}.",
        ),
        (["--verbose"], "There is no option '--verbose'. See overtone --help."),
        (["adapt"], "DATA is missing. See overtone adapt --help."),
        (["adapt", "--data", "x"], "DATA needs a value. See overtone adapt --help."),
        (["adapt", "x", "y"], "'y' is one too many. See overtone adapt --help."),
        (
            ["adapt", "x", "--shot", "3"],
            "There is no option '--shot' of adapt. Did you mean '--shots'? See overtone adapt --help.",
        ),
        (["adapt", "x", "--shots", "two"], "--shots takes a whole number. See overtone adapt --help."),
        (["train", "x", "--learning-rate", "two"], "--learning-rate takes a number. See overtone train --help."),
        (["adapt", "x", "--epochs"], "--epochs needs a value. See overtone adapt --help."),
        (
            ["adapt", "x", "--injection", "by_modalit"],
            "--injection 'by_modalit': no such choice. Did you mean 'by_modality'? "
            "Take one of by_modality, by_depth, plain. See overtone adapt --help.",
        ),
        (["adapt", "x", "--shots", "0"], "--shots 0: give a number of 1 or more."),
        (["adapt", "x", "--batch-size", "0"], "--batch-size 0: give a number of 1 or more."),
        (["adapt", "x", "--epochs", "-1"], "--epochs -1: give a number of 1 or more."),
        (["adapt", "x", "--seed", "-1"], "--seed -1: give a number from 0 to 4294967295."),
        (["predict", "x", "y", "--top", "0"], "--top 0: give a number of 1 or more."),
        (
            ["predict", "x"],
            "No picture is named. Give picture files, folders of them, or patterns such as '*.jpg'.",
        ),
    ],
)
def test_slips_on_the_command_line(fails: Callable[..., str], args: list[str], says: str) -> None:
    assert fails(*args) == f"overtone: {says}\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["adapt", "photoss"], "No data at 'photoss'.* Did you mean 'photos'?"),
        (["adapt", "empty"], "'empty' holds no pictures"),
        (["adapt", "photos", "--model", "embeded"], "no such directory.* Did you mean 'embedded'?"),
        (["adapt", "photos", "--model", "empty"], "no config.json in this directory, which is empty"),
        (["adapt", "photos", "--model", "open/clip"], "from the hub.*--model embedded, or a local directory"),
        (["adapt", "photos", "--device", "gpu"], "--device gpu: not on this machine, which has cpu"),
        (["adapt", "photos", "--classes", "noto, twemojy"], "No class 'twemojy'.*Did you mean 'twemoji'?"),
        (["adapt", "photos", "--classes", "noto"], "One class alone, 'noto'"),
        (["adapt", "photos", "--classes", " , "], "names nothing"),
        (["adapt", "photos", "--templates", "a photo"], "--templates: 'a photo' must hold {} once"),
        (["adapt", "photos", "--templates", "{} {}"], "must hold {} once"),
        (["adapt", "photos", "--templates", "{name}"], "must hold {} once"),
        (["adapt", "photos", "--shots", "99"], "99 pictures a class were asked for.*twemoji"),
        (["adapt", "photos", "--out", "photos"], "'photos' is not empty and holds no run"),
        (["adapt", "photos", "--out", "file/run"], "'file/run' cannot be written: Not a directory"),
        (["adapt", "photos", "--out", "/proc/run"], "'/proc/run' cannot be written"),
        (["adapt", "photos", "--resume"], "'runs/photos-1' holds no interrupted run"),
        (["adapt", "photos", "--image-column", "x"], "'photos' is a folder"),
        (["adapt", "list.csv"], "No column of labels in 'list.csv'. Columns found: 'image', 'kind'"),
        (["predict", "photos", "photos"], "photos holds no adapter.json"),
        (["predict", "ADAPTED", "nothing*.png"], "No picture at 'nothing\\*.png'"),
        (["predict", "ADAPTED", "photos", "--classes", "dog"], "a name alone always has probability 1"),
        (["predict", "ADAPTED", "photos", "--model", "other"], "was fitted to .* but 'other' has"),
        (["evaluate", "ADAPTED", "photos", "--out", "ADAPTED"], "holds a run: name another folder"),
        (["evaluate", "ADAPTED", "photos", "--out", "file/x"], "cannot be written"),
        (["evaluate", "ADAPTED", "dogs"], "One class alone, 'dog', none of the adapter's"),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_nothing(
    fails: Callable[..., str],
    args: list[str],
    says: str,
    photos: Path,
    tiny_model: Path,
    adapted: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    from overtone.models.dual_encoder import DualEncoder

    monkeypatch.chdir(photos.parent)
    monkeypatch.setattr("overtone.data.hub.constants.HF_HUB_OFFLINE", True)
    Path("empty").mkdir()
    Path("file").touch()
    Path("list.csv").write_text("image;kind\nphotos/noto/0.webp;noto\n")
    Path("dogs/dog").mkdir(parents=True)
    Path("dogs/dog/0.webp").write_bytes(Path("photos/twemoji/0.webp").read_bytes())  # not learned from
    if "other" in args:
        other = DualEncoder.from_pretrained(tiny_model)
        other.logit_scale.data += 1
        other.save_pretrained("other")
        Path("other/tokenizer.json").write_bytes((tiny_model / "tokenizer.json").read_bytes())
    before = set(Path().rglob("*"))
    args = [str(adapted) if arg == "ADAPTED" else arg for arg in args]
    model = ["--model", str(tiny_model)] if args[0] == "adapt" and "--model" not in args else []
    said = fails(*args, *model)
    assert re.search(says, said), said
    assert set(Path().rglob("*")) == before


def test_debug_shows_where_an_error_came_from(capfd: pytest.CaptureFixture[str]) -> None:
    from overtone.errors import UserError

    with pytest.raises(UserError):
        main(["adapt", "/nowhere/photos", "--debug"])


def test_a_fault_of_ours_is_one_line_that_asks_for_a_report(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(config: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("overtone.tasks.adapt", break_down)
    with pytest.raises(SystemExit, match="1"):
        main(["adapt", "x"])
    assert capfd.readouterr().err == (
        "overtone: this should not happen: ZeroDivisionError: division by zero. "
        "Please report it with what --debug shows.\n"
    )


def test_the_disk_is_full_at_the_end(
    fails: Callable[..., str], photos: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    args = ["adapt", "photos", "--model", tiny_model, "--epochs", "1", "--out", "my run"]

    def full(folder: Path, *rest: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module("overtone.tasks.adapt"), "write_run", full)
        said = fails(*args)
    assert "The disk is full, that of 'my run' or" in said
    assert said.endswith("Go on with the same command and --resume --out 'my run'\n")
    assert not Path("my run/adapter.json").exists()
    main([*map(str, args), "--resume"])
    assert {path.name for path in Path("my run").iterdir()} == LEFT_BY_A_RUN


def stopped(folder: Path, number: int, args: list[str], reached: Callable[[], bool]) -> tuple[int, str]:
    """Start the command, send a signal once it got somewhere, and return its exit code and what stands on stderr."""
    where = Path(sys.executable).parent / "overtone"
    # Where the tests run in the background, Ctrl-C is ignored, and children would inherit that.
    heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        [where, *args], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heeding
    ) as process:
        try:
            while process.poll() is None and not reached():
                time.sleep(0.01)
            process.send_signal(number)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, said


def test_adapt_stop_resume_and_use(
    photos: Path, tiny_model: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's whole way, as processes: stopped twice, gone on with, the same to the last bit as an unbroken run."""
    folder = photos.parent
    monkeypatch.chdir(folder)
    args = ["adapt", "photos", "--model", str(tiny_model), *SETTINGS]

    whole = command(*args, "--out", "whole", cwd=folder)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "zero-shot" in whole.stdout
    assert whole.stdout.endswith("\nAdapter  whole\nReport   whole/report.html\n")
    assert {path.name for path in (folder / "whole").iterdir()} == LEFT_BY_A_RUN

    def epochs() -> int:
        states = (folder / "runs/photos-1/checkpoints").glob("*/trainer_state.json")
        return max((int(path.parent.name.split("-")[1]) // STEPS for path in states), default=0)

    code, said = stopped(folder, signal.SIGINT, args, lambda: epochs() >= 1)
    assert code == 130
    assert said == "overtone: interrupted. Go on with the same command and --resume --out runs/photos-1\n"

    assert "has classes None, not ['noto', 'fluent']" in fails(*args, "--resume", "--classes", "noto, fluent")
    assert "holds an interrupted run. Go on with --resume" in fails(*args, "--out", "runs/photos-1")

    begun = epochs()
    assert 1 <= begun < EPOCHS
    code, said = stopped(folder, signal.SIGKILL, [*args, "--resume"], lambda: epochs() > begun)
    assert (code, said) == (-9, "")
    assert begun < epochs() < EPOCHS
    assert command(*args, "--resume", cwd=folder).returncode == 0
    for name in ("adapter.safetensors", "metrics.json", "classes.csv"):
        assert (folder / "runs/photos-1" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert "holds a finished run" in fails(*args, "--out", "whole", "--resume")

    (folder / "photos" / "bad.png").write_bytes(b"")
    predict = f"{Path(sys.executable).parent / 'overtone'} predict whole photos | head -1; echo ${{PIPESTATUS[0]}}"
    piped = subprocess.run(["bash", "-c", predict], cwd=folder, capture_output=True, text=True, check=True)
    assert (piped.stdout.count("\n"), piped.stdout.splitlines()[1]) == (2, "0")
    assert piped.stderr in ("", "overtone: skipped 'photos/bad.png': the file is empty (0 bytes)\n")


def test_stopped_before_the_first_epoch_nothing_is_left(photos: Path, tiny_model: Path) -> None:
    args = ["adapt", "photos", "--model", str(tiny_model), "--epochs", "2", "--batch-size", "1"]
    code, said = stopped(photos.parent, signal.SIGTERM, args, (photos.parent / "runs/photos-1/config.json").exists)
    assert (code, said) == (130, "overtone: interrupted. No epoch had ended, so nothing was kept: start again\n")
    assert not (photos.parent / "runs").exists()


def test_a_full_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "overtone.cli", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "overtone: No space left on device. Make room and try again.\n"


def test_predict_prints_what_machines_and_people_read(
    capfd: pytest.CaptureFixture[str], adapted: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    odd = os.fsdecode(b"tab\there \xff \xe6\x97\xa5.webp")
    Path(odd).write_bytes(Path("noto/0.webp").read_bytes())
    Path("broken.png").write_bytes(b"\x89PNG")
    asked = ["broken.png", "noto/1.webp", odd]

    main(["predict", str(adapted), *asked, "--top", "2"])
    said = capfd.readouterr()
    assert said.err.startswith("overtone: skipped 'broken.png': ")
    lines = [line.split("\t") for line in said.out.splitlines()]
    assert [line[0] for line in lines] == ["noto/1.webp", repr(odd)]
    assert all(
        line[1] in ("fluent", "noto", "openmoji") and 0 < float(line[2]) <= 1 and len(line) == 5 for line in lines
    )

    main(["predict", str(adapted), *asked, "--json", "--classes", "red_cat, noto,  日本, red cat"])
    said = capfd.readouterr()
    bad, *good = (json.loads(line) for line in said.out.splitlines())
    assert said.err == ""
    assert (bad["image"], list(bad)) == ("broken.png", ["image", "error"])
    assert [line["image"] for line in good] == asked[1:]
    assert all(line["classes"][0]["class"] in ("red cat", "noto", "日本") for line in good)


def test_pillows_warnings_are_not_among_our_lines() -> None:
    file = io.BytesIO()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"  # five entries, of which the first breaks off
    Image.new("RGB", (4, 4)).save(file, "JPEG", exif=exif)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        open_image(file.getvalue())
        assert said
        said.clear()
        quieten()
        open_image(file.getvalue())
        assert not said


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are markup to rich, and colons emoji."""
    from overtone.cli import print_report
    from overtone.report import compare

    row = compare("seen classes · [red]:cat:[/red]", [True, False], [True, True])
    skipped = [SimpleNamespace(source=f"[/b] {n}\n.png", reason="the file is empty") for n in range(12)]
    left = [SimpleNamespace(what="pictures left out", value="3 pictures", how="they are not right in a class folder")]
    texts = {"title": "[/x]", "notes": ["N."], "summary": "S."}
    print_report(SimpleNamespace(comparisons=[row], domains=[], skipped=skipped, choices=left, **texts), "runs/x")
    said = capsys.readouterr().out
    assert said.startswith("[/x]")
    assert "[red]:cat:[/red]" in said
    assert "12 of the inputs could not be used" in said
    assert "  '[/b] 0\\n.png': the file is empty\n" in said
    assert f"and 2 more; all: {Path('runs/x/skipped.csv')}" in said
    assert "\npictures left out: 3 pictures, they are not right in a class folder\n" in said
