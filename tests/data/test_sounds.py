"""WAV files against two other writers and readers, and files that are none."""

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
from hypothesis import given
from hypothesis import strategies as st

from overtone.data.sounds import read_wav, wav_bytes
from overtone.errors import UserError

TONE = np.sin(np.arange(200) / 7)[:, None] * [0.9, -0.4]
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
HEADER = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)


def wav(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


@pytest.mark.parametrize("kind", ["<i2", "<i4", "<f4", "<f8", "u1"])
@pytest.mark.parametrize("channels", [1, 2])
def test_as_scipy_writes_it(kind: str, channels: int, tmp_path: Path) -> None:
    whole = {"<i2": 2**15, "<i4": 2**31, "<f4": 1, "<f8": 1, "u1": 2**7}[kind]
    samples = (TONE[:, :channels] * whole + (128 if kind == "u1" else 0)).astype(kind)
    scipy.io.wavfile.write(tmp_path / "a.wav", 44100, samples.squeeze())
    sound = read_wav(tmp_path / "a.wav")
    assert (sound.rate, sound.bits, sound.samples.dtype) == (44100, 8 * samples.itemsize, np.float32)
    # half a step of the samples' own, and rounding to float32
    np.testing.assert_allclose(sound.samples, TONE[:, :channels], atol=1.01 / whole if whole > 1 else 1e-7)


def test_24_bits_in_the_header_for_more_than_16(tmp_path: Path) -> None:
    """scipy reads these into the upper bytes of four."""
    values = np.array([0, 1, -1, 2**23 - 1, -(2**23), 54321])
    data = b"".join(int(value).to_bytes(3, "little", signed=True) for value in values)
    for kind, tail in ((1, b""), (0xFFFE, struct.pack("<HHI", 22, 24, 0) + PCM_GUID)):
        header = struct.pack("<HHIIHH", kind, 1, 48000, 144000, 3, 24) + tail
        (tmp_path / "a.wav").write_bytes(wav((b"fmt ", header), (b"data", data)))
        sound = read_wav(tmp_path / "a.wav")
        assert (sound.rate, sound.bits) == (48000, 24)
        np.testing.assert_allclose(sound.samples[:, 0], values / 2**23, rtol=1e-7)
        np.testing.assert_array_equal(scipy.io.wavfile.read(tmp_path / "a.wav")[1] >> 8, values)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.sampled_from([1, 8000, 96000]))
def test_what_is_written_is_read_by_the_standard_library(values: list[float], rate: int) -> None:
    held = wav_bytes(np.array(values)[:, None], rate)
    with wave.open(io.BytesIO(held)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (rate, 1, 2)
        levels = np.frombuffer(file.readframes(len(values)), "<i2")
    np.testing.assert_allclose(levels / 32767, values, atol=0.51 / 32767)  # half a step


def test_beyond_full_scale_is_clipped_and_channels_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_bytes(np.array([[3.0, 0.0], [-3.0, 0.5]]), 10))
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav").samples, [[1, 0], [-1, 0.5]], atol=1e-4)


def test_other_chunks_odd_sizes_and_a_length_that_is_not_true(tmp_path: Path) -> None:
    data = struct.pack("<3h", 1, 2, 3)
    held = wav((b"LIST", b"odd"), (b"fmt ", HEADER), (b"data", data), (b"data", b"later"))
    (tmp_path / "a.wav").write_bytes(held)
    assert len(read_wav(tmp_path / "a.wav").samples) == 3
    streamed = wav((b"fmt ", HEADER)) + b"data" + b"\xff\xff\xff\xff" + data + b"x"  # of unknown length, cut in a frame
    (tmp_path / "a.wav").write_bytes(streamed)
    assert len(read_wav(tmp_path / "a.wav").samples) == 3


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (b"ID3 an mp3", "is not a WAV file. Convert the sound to WAV, PCM of 8, 16, 24 or 32 bits"),
        (wav((b"fmt ", HEADER), (b"data", b"")), "has no samples: its length is zero"),
        (wav((b"fmt ", HEADER)), "has no samples: its length is zero"),
        (wav((b"data", b"1234")), "is damaged: it does not say what its samples are"),
        (wav((b"fmt ", struct.pack("<HHIIHH", 7, 1, 8000, 8000, 1, 8)), (b"data", b"12")), r"another kind \(format 7"),
        (wav((b"fmt ", struct.pack("<HHIIHH", 1, 0, 8000, 8000, 0, 16)), (b"data", b"12")), "is damaged: 0 channels"),
        (wav((b"fmt ", struct.pack("<HHIIHH", 1, 2, 8000, 8000, 3, 16)), (b"data", b"12")), "in frames of 3 bytes"),
    ],
)
def test_what_cannot_be_read(held: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(held)
    with pytest.raises(UserError, match=said):
        read_wav(tmp_path / "a.wav")
