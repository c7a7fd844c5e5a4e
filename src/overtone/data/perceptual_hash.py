"""Pictures that look the same: 64 bits that say where a picture gets brighter from left to right, and how many differ.

dHash: Krawetz, "Kind of Like That", hackerfactor.com, 2013. The margin is ours.
"""

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt64
from PIL import Image

SIDE = 8
MARGIN = 2.0  # levels of 255: on an even ground, what a codec's noise does must not count
NEAR = 4  # bits: as far apart as two copies of one picture may be
BLOCK = 1 << 22  # comparisons at once: 32 MiB


def dhash(picture: Image.Image) -> int:
    """Return 64 bits of a picture: whether each of 8 x 8 cells is darker than the next one on its right.

    With I the grey picture brought to 9 x 8 pixels, bit 8 y + x (the first is the highest) says whether
    I[y, x + 1] - I[y, x] > MARGIN. A mirrored picture has other bits; a resized or re-encoded one nearly the same.
    """
    grey = picture.convert("L").convert("F").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    rises = np.diff(np.asarray(grey), axis=1) > MARGIN
    return int.from_bytes(np.packbits(rises).tobytes(), "big")


def nearby(
    hashes: UInt64[np.ndarray, " n"], others: UInt64[np.ndarray, " m"], within: int = NEAR
) -> Bool[np.ndarray, " n"]:
    """Return which of `hashes` differ in at most `within` bits from any of `others`."""
    near = np.zeros(len(hashes), bool)
    rows = max(1, BLOCK // max(1, len(others)))
    for start in range(0, len(hashes), rows):
        near[start : start + rows] = (_distances(hashes[start : start + rows], others) <= within).any(axis=1)
    return near


def near_pairs(hashes: UInt64[np.ndarray, " n"], within: int = NEAR) -> Int[np.ndarray, "pairs 2"]:
    """Return the places i < j of every two hashes that differ in at most `within` bits, in order."""
    found = [np.empty((0, 2), np.int64)]
    rows = max(1, BLOCK // max(1, len(hashes)))
    for start in range(0, len(hashes), rows):
        i, j = np.nonzero(_distances(hashes[start : start + rows], hashes[start:]) <= within)
        found.append(np.stack([i, j], axis=1)[j > i] + start)
    return np.concatenate(found)


def _distances(hashes: np.ndarray, others: np.ndarray) -> UInt8[np.ndarray, "n m"]:
    return np.bitwise_count(hashes[:, None] ^ others[None])
