"""What is said while pictures are read."""

import pytest

from overtone.tasks import reading


def test_a_long_reading_is_told_of_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter((0.0, 1.0, 2.0, 3.0))
    monkeypatch.setattr(reading.time, "monotonic", lambda: next(clock))
    watch = reading.Reading()
    for done in (100, 200, 300):
        watch(done, 5000)
    assert capsys.readouterr() == ("", "reading 5,000 pictures: 100 a second, 48 s left\n")
