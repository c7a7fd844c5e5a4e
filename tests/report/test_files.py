import os

import pytest

from overtone.files import write_atomically


def test_text_is_utf8_and_bytes_are_bytes(tmp_path):
    assert write_atomically(tmp_path / "a.txt", "Käse 黒い\n").read_bytes() == "Käse 黒い\n".encode()
    assert write_atomically(tmp_path / "b", b"\x00\r\n").read_bytes() == b"\x00\r\n"


def test_file_has_the_rights_of_any_other_new_file(tmp_path):
    (tmp_path / "other").touch()
    path = write_atomically(tmp_path / "a", "")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_longest_name_that_the_file_system_takes_is_written(tmp_path):
    path = tmp_path / ("x" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    assert write_atomically(path, "content").read_text() == "content"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_keeps_the_old_content_and_leaves_nothing_beside_it(tmp_path, monkeypatch, failure):
    path = write_atomically(tmp_path / "a", "old")

    def fail(_file: int) -> None:
        raise failure

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(type(failure)):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
