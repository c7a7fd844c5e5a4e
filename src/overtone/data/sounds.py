"""WAV files: read as numbers, whatever their samples are, and written with 16 bits.

The standard library's reader leaves out floating-point samples and, before Python 3.12, the header that programs write
for more than 16 bits.
"""

import io
import struct
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from overtone.errors import UserError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
READ = "PCM of 8, 16, 24 or 32 bits, or floating point"


@dataclass(frozen=True)
class Sound:
    """A sound: float32 (samples, channels), full scale from -1 to 1, and samples a second."""

    samples: np.ndarray
    rate: int
    bits: int


def read_wav(path: Path) -> Sound:
    """Return the sound in a WAV file; of one that was cut short, what is there.

    Raises UserError for what is no such file, for samples of another kind, and for none.
    """
    held = path.read_bytes()
    if held[:4] != b"RIFF" or held[8:12] != b"WAVE":
        raise UserError(f"{str(path)!r} is not a WAV file. Convert the sound to WAV, {READ}.")
    chunks = dict(reversed(list(_chunks(held))))  # of two of a name, the first
    if len(chunks.get(b"fmt ", b"")) < 16:
        raise UserError(f"{str(path)!r} is damaged: it does not say what its samples are.")
    kind, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    if kind == EXTENSIBLE and len(chunks[b"fmt "]) >= 26:
        (kind,) = struct.unpack("<H", chunks[b"fmt "][24:26])
    if not (channels and rate) or frame != channels * bits // 8:
        raise UserError(f"{str(path)!r} is damaged: {channels} channels of {bits} bits in frames of {frame} bytes.")
    data = chunks.get(b"data", b"")
    values = _decoded(bytes(data[: len(data) // frame * frame]), kind, bits)
    if values is None:
        raise UserError(f"{str(path)!r} has samples of another kind (format {kind}, {bits} bits): {READ} is read.")
    if not len(values):
        raise UserError(f"{str(path)!r} has no samples: its length is zero.")
    return Sound(values.reshape(-1, channels), rate, bits)


def wav_bytes(samples: np.ndarray, rate: int) -> bytes:
    """Return a WAV file's bytes, 16 bits, of (samples, channels); what is beyond full scale is clipped."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def _chunks(held: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield name and content of each chunk; one that says it is longer than the file ends with it."""
    place, view = 12, memoryview(held)
    while place + 8 <= len(held):
        name, size = held[place : place + 4], int.from_bytes(held[place + 4 : place + 8], "little")
        yield name, view[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def _decoded(data: bytes, kind: int, bits: int) -> np.ndarray | None:
    """Return samples as float32; None for a kind that is not read."""
    if (kind, bits) in ((FLOAT, 32), (FLOAT, 64)):
        return np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
    if (kind, bits) == (PCM, 8):  # unlike longer ones, these have no sign
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if (kind, bits) == (PCM, 24):  # to the upper three bytes of four
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, bits = wide.tobytes(), 32
    if (kind, bits) in ((PCM, 16), (PCM, 32)):
        return (np.frombuffer(data, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)
    return None
