"""What `overtone inspect` takes for a million embeddings: `python -m benchmarks.inspect_million`.

A matrix of float32 is written to disk (2 GB at the default size), with a mean direction, strong directions and noise,
and the verb runs on it as a user runs it. The peak is the resident memory of its process, as the kernel counts it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmarks.table import machine

CHUNK = 20_000  # rows


def write_embeddings(path: Path, rows: int, width: int) -> None:
    """Write embeddings whose first eighth of directions fades from five times the noise, around a mean."""
    generator = np.random.default_rng(0)
    scales = np.concatenate([np.linspace(5, 1, width // 8), np.ones(width - width // 8)]).astype(np.float32)
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, CHUNK):
            x = generator.standard_normal((min(CHUNK, rows - start), width), np.float32) * scales
            x[:, 0] += 10
            x.tofile(file)


def run(*arguments: str) -> tuple[float, float, int]:
    """Run the verb; return seconds, the processor's seconds, and the most bytes that were resident."""
    started = time.perf_counter()
    command = Path(sys.executable).parent / "overtone"
    process = subprocess.Popen([command, "inspect", *arguments])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"overtone inspect ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def main() -> None:
    """Write, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where there is room for the embeddings")
    options = parser.parse_args()
    size = 4 * options.rows * options.width
    if shutil.disk_usage(options.folder).free < 2 * size:
        raise SystemExit(
            f"{options.folder} has no room for {size / 1e9:.1f} GB with as much to spare: name a --folder."
        )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "embeddings.npy"
        write_embeddings(path, options.rows, options.width)
        seconds, busy, peak = run(str(path), "--out", f"{folder}/run")
    print(f"\n{machine()}; {options.rows:,} x {options.width} float32, {size / 2**30:.2f} GiB on disk")
    print(f"peak resident memory {peak / 2**30:.2f} GiB, {seconds:.0f} s ({busy:.0f} s of the processor)")


if __name__ == "__main__":
    main()
