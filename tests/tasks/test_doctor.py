"""The doctor: which data sets are there, what is missing, where it is published; and whether Overtone is whole."""

import dataclasses
import json
from pathlib import Path

import pytest

from overtone.data import emoji
from overtone.data.published import PUBLISHED, catalogue
from overtone.errors import UserError
from overtone.tasks import DoctorConfig, doctor
from overtone.tasks.doctor import Finding, examine
from overtone.tasks.doctor_installation import _folders, examine_installation
from published_trees import SIZES, of, write_set


def shrunk(name: str) -> catalogue.Published:
    """A row of the table as if it had been published with as few pictures as the tree has."""
    published = of(name)
    return dataclasses.replace(published, classes=4, counts={part: 4 * SIZES[part] for part in published.counts})


@pytest.mark.parametrize("name", [one.name for one in PUBLISHED])
def test_a_data_set_as_published(name: str, tmp_path: Path) -> None:
    write_set(tmp_path, name)
    finding = examine(shrunk(name), tmp_path)
    assert (finding.state, finding.advice) == ("ok", ())
    assert finding.found.startswith("4 classes; pictures: ")


@pytest.mark.parametrize("name", [one.name for one in PUBLISHED])
def test_each_file_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    folder = write_set(tmp_path, name)
    for file in filter(None, of(name).files):
        (folder / file).rename(folder / "elsewhere")
        finding = examine(of(name), tmp_path)
        assert finding.state == "wrong"
        assert f"there is no {of(name).folder}/{file}" in finding.found
        assert finding.advice[0].startswith("published at http")
        (folder / "elsewhere").rename(folder / file)


def test_nothing_there(tmp_path: Path) -> None:
    result = doctor(DoctorConfig(str(tmp_path)))
    assert {finding.state for finding in result.findings} == {"absent"}
    assert result.wrong == []
    assert "there is no caltech-101" in str(result)
    assert "split_zhou_Caltech101.json at https://drive.google.com/file/d/" in str(result)
    with pytest.raises(UserError, match=r"There is no folder '.*nowhere'"):
        doctor(DoctorConfig(str(tmp_path / "nowhere")))


def test_counts_and_faults_are_all_listed(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "Caltech101")
    file = folder / of("Caltech101").split
    split = json.loads(file.read_text())
    split["test"] = [*split["test"][1:], ["face/gone.jpg", 6, "gone"]]
    split["val"].pop()
    file.write_text(json.dumps(split))
    finding = examine(shrunk("Caltech101"), tmp_path)
    assert finding.advice == (
        "5 classes instead of 4",
        "val has 7 pictures instead of 8",
        f"1 of 43 pictures are missing, the first {str(folder / '101_ObjectCategories' / 'face' / 'gone.jpg')!r}",
        "labels are not 0 to 6 without a gap: 4, 5 are odd",
        "1 class to test has no picture to learn from: 'gone' (1 picture)",
    )


def test_a_split_that_cannot_be_read(tmp_path: Path) -> None:
    (write_set(tmp_path, "DTD") / of("DTD").split).write_text("{")
    assert "is no split as CoOp publishes them" in examine(of("DTD"), tmp_path).found


def test_names_of_variants_may_stand_with_imagenet(tmp_path: Path) -> None:
    (write_set(tmp_path, "ImageNet-R") / "classnames.txt").unlink()
    assert "imagenet-rendition/classnames.txt" in examine(shrunk("ImageNet-R"), tmp_path).found
    write_set(tmp_path, "ImageNet")
    assert examine(shrunk("ImageNet-R"), tmp_path).state == "ok"


def test_this_installation() -> None:
    findings = {finding.name: finding for finding in examine_installation()}
    assert {"overtone", "torch", "device", "embedded pictures", "embedded model", "temporary files"} <= set(findings)
    assert findings["embedded pictures"].found == "6,376"
    assert not [name for name in ("torch", "embedded pictures", "embedded model") if findings[name].state != "ok"]


def test_folders_of_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = {}
    for place in ("", str(tmp_path), str(tmp_path / "file")):
        monkeypatch.setenv("OVERTONE_CACHE", place)
        found[place] = next(finding for finding in _folders() if finding.name == "states of pictures")
    assert [finding.state for finding in found.values()] == ["absent", "ok", "wrong"]
    assert str(tmp_path / "states") in found[str(tmp_path)].found


def test_pictures_that_are_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(emoji, "PICTURES", tmp_path / "nothing.parquet")
    finding = next(finding for finding in examine_installation() if finding.name == "embedded pictures")
    assert (finding.state, finding.advice) == ("wrong", ("Install Overtone again.",))


def test_lines_stand_under_each_other() -> None:
    from overtone.tasks.doctor import DoctorResult

    findings = (Finding("a", "ok", "fine"), Finding("long name", "wrong", "bad", ("mend it",)))
    assert str(DoctorResult("All", findings)).splitlines() == [
        "All",
        "",
        "a          ok     fine",
        "long name  wrong  bad",
        "                  mend it",
    ]
