"""A bar on stderr where that is a terminal, and nothing anywhere else."""

import os
import pty
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from overtone.progress import shown
assert list(shown(range({steps}), "at work")) == list(range({steps}))
"""


def said(steps: int, **environment: str) -> str:
    """Return what a program with a bar of so many steps writes to a terminal."""
    ours, theirs = pty.openpty()
    variables = os.environ | {"TERM": "xterm"} | environment
    subprocess.run([sys.executable, "-c", PROGRAM.format(steps=steps)], stderr=theirs, env=variables, check=True)
    os.write(theirs, b".")  # so that there is something to read
    read = os.read(ours, 2**16).decode()
    os.close(ours)
    os.close(theirs)
    return read[:-1]


def test_a_terminal_sees_a_bar() -> None:
    assert "at work" in said(3)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_single_step_has_none(steps: int) -> None:
    assert said(steps) == ""


def test_only_the_first_of_several_processes_speaks() -> None:
    assert said(3, RANK="1") == ""


def test_a_pipe_sees_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(steps=3)], capture_output=True, check=True)
    assert done.stdout == done.stderr == b""
