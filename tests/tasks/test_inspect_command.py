"""`overtone inspect` as a user meets it: what it prints, how it ends, and how little memory it takes."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from overtone.cli import main

ROWS, WIDTH = 200_000, 512


def command(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    where = Path(sys.executable).parent / "overtone"
    return subprocess.run([where, *map(str, args)], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_a_pair_from_the_shell(tmp_path):
    x = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    x[7] = np.nan
    np.savez(tmp_path / "both.npz", image=x, text=x[:, ::-1])
    done = command("inspect", "both.npz", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Inside both.npz:image and both.npz:text\n\nimage: ")
    assert "\n\npair: hardly a gap" in done.stdout
    assert "both.npz:image row 8: holds NaN or infinity" in done.stdout
    assert done.stdout.endswith("\nReport   runs/both-1/report.html\n")
    assert (tmp_path / "runs" / "both-1" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["x.npy"], "No embeddings at 'x.npy'"),
        (["there.npy", "wide.npy"], "The widths differ"),
        (["there.npy", "--seed", "-3"], "--seed -3"),
        (["there.npy", "--modle", "embedded"], "Did you mean '--model'?"),
        (["there.npy", "--captions"], "--captions is for data that a model embeds"),
        ([], "DATA is missing"),
    ],
)
def test_a_slip_ends_in_one_line(tmp_path, monkeypatch, capfd, args, says):
    monkeypatch.chdir(tmp_path)
    np.save("there.npy", np.ones((4, 3), np.float32))
    np.save("wide.npy", np.ones((4, 4), np.float32))
    with pytest.raises(SystemExit) as leaving:
        main(["inspect", *args])
    found = capfd.readouterr()
    assert (leaving.value.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert says.lower() in found.err.lower()
    assert not (tmp_path / "runs").exists()


def test_a_large_file_is_never_in_memory(tmp_path):
    """A file of 195 MiB, 390 in float32, while less than 260 are taken over what the libraries take when they load.

    180 were seen: chunks of 4 MiB with their copies, 9,096 rows that are kept, and distances among 4,096 of them.
    """
    path = tmp_path / "large.npy"
    large = np.lib.format.open_memmap(path, "w+", np.float16, (ROWS, WIDTH))
    generator = np.random.default_rng(0)
    for start in range(0, ROWS, 10_000):
        large[start : start + 10_000] = generator.random((10_000, WIDTH), np.float32)
    large.flush()
    del large
    script = Path(__file__).with_name("inspect_in_little_memory.py")
    done = subprocess.run(
        [sys.executable, script, path, "--out", tmp_path / "run"], capture_output=True, text=True, check=True
    )
    grew = re.search(r"grew by (\d+)", done.stdout)
    assert grew is not None
    assert int(grew[1]) < 260 * 2**20
