"""Lists on the command line, and folders that are written into."""

from pathlib import Path

import pytest

from overtone.data.names import same_names
from overtone.errors import UserError
from overtone.tasks.folders import disk_full, writable
from overtone.tasks.names import read_names, read_templates


def test_names_are_split_cleaned_and_taken_once() -> None:
    assert read_names("") is None
    assert read_names(" cat, big_dog ,cat,, big-dog") == ["cat", "big dog"]
    assert read_names("name, " * 2000 + "other") == ["name", "other"]


def test_names_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text("one, two\r\nthree\n", encoding="utf-8-sig")
    assert read_names(str(file)) == ["one, two", "three"]
    file.write_text("\n")
    with pytest.raises(UserError, match="names nothing"):
        read_names(str(file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"--classes: the file .* cannot be read as UTF-8 text"):
        read_names(str(file))


def test_names_are_known_but_for_case_where_that_is_one_alone() -> None:
    assert same_names(["Cat", "bird-of-prey", "dog", "fish"], ["bird of prey", "cat", "Dog"]) == [
        "cat",
        "bird of prey",
        "Dog",
        "fish",
    ]
    assert same_names(["cardigan", "Cardigan", "CARDIGAN"], ["Cardigan", "cardigan"]) == [
        "cardigan",
        "Cardigan",
        "CARDIGAN",
    ]


def test_templates() -> None:
    assert read_templates("") is None
    assert read_templates("a photo of a {}. | {}, drawn") == ["a photo of a {}.", "{}, drawn"]
    for wrong in ("no place", "{} and {}", "{0}", "{", "{{}}", "{}}"):
        with pytest.raises(UserError, match="must hold"):
            read_templates(wrong)


def fail(folder: Path, kept: str | None = None) -> None:
    with writable(folder, kept):
        (folder / "half").touch()
        raise KeyboardInterrupt


@pytest.mark.parametrize("there", [True, False])
def test_what_came_to_nothing_is_taken_away(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    if there:
        folder.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        fail(folder)
    assert list(tmp_path.rglob("*")) == ([folder.parent, folder] if there else [])


def test_what_was_there_or_is_to_be_kept_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    for folder, kept in ((tmp_path, None), (tmp_path / "new", "ha*")):
        with pytest.raises(KeyboardInterrupt):
            fail(folder, kept)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "half",
        "mine",
        "new",
        "new/half",
    ]


def test_what_another_run_has_made_beside_it_stays(tmp_path: Path) -> None:
    def begin_and_fail() -> None:
        with writable(tmp_path / "runs" / "mine"):
            with writable(tmp_path / "runs" / "other"):
                (tmp_path / "runs" / "other" / "done").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin_and_fail()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]
    assert (tmp_path / "runs" / "other" / "done").exists()


@pytest.mark.parametrize("place", ["file/run", "/proc/run", "x" * 300])
def test_a_place_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"--out .* cannot be written: .*\. Name another folder"),
        writable(tmp_path / place),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_full(OSError(28, "No space left on device"), tmp_path)
    assert not disk_full(OSError(13, "Permission denied"), tmp_path)
    assert not disk_full(RuntimeError("unexpected pos 691200 vs 691092"), tmp_path)
    monkeypatch.setattr("overtone.tasks.folders.LEAST_ROOM", 2**63)
    with pytest.raises(OSError, match=r"No space left on device: '.*run'"), writable(tmp_path / "run"):
        raise RuntimeError("unexpected pos 691200 vs 691092")  # as torch.save says it
    assert not (tmp_path / "run").exists()
