"""Saved embeddings, read a few rows at a time: npy, npz, safetensors and parquet. Nothing is ever unpickled."""

import contextlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from overtone.data.folders import neighbours
from overtone.data.images import kind_of
from overtone.data.names import some
from overtone.errors import UserError, did_you_mean

EXTENSIONS = (".npy", ".npz", ".safetensors", ".parquet")
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".joblib", ".ckpt")
WIDEST = 8192  # dimensions: the second moment of more is no longer small
# Whole words of an array's name by which it is known for the images' or the texts' part of a pair
IMAGE_WORDS = frozenset(("image", "images", "img", "vision", "visual", "picture", "pictures"))
TEXT_WORDS = frozenset(("text", "texts", "txt", "caption", "captions"))
AS_FLOATS = "Save them as floating-point numbers, such as float32."
BAD = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, pa.ArrowException)

Pieces = Iterator[np.ndarray]


@dataclass(frozen=True)
class Matrix:
    """A saved matrix of embeddings, a sample a row."""

    name: str  # the file, with the array's name after a colon where it holds several
    rows: int
    width: int
    dtype: str
    read: Callable[[int], Pieces]  # pieces of so many rows, in their order, the last one shorter

    def chunks(self, rows: int) -> Iterator[Float[Tensor, "rows width"]]:
        """Yield all rows in float32 (float64 stays), `rows` at a time. Raises UserError for a file that breaks off."""
        found = 0
        with _readable(self.name):
            for piece in self.read(rows):
                found += len(piece)
                yield torch.from_numpy(np.array(piece, np.float64 if piece.itemsize == 8 else np.float32, order="C"))
        if found != self.rows:
            raise UserError(f"{self.name!r} breaks off after {found:,} of {self.rows:,} rows: save it again.")


Found = Mapping[str, Matrix | str]  # by name, the arrays of a file; of one that is no matrix of embeddings, why not


def load_embeddings(first: str, second: str = "") -> tuple[Matrix, Matrix | None]:
    """Return the matrix in a file, or two that match row by row: of two files, or of one that holds a pair.

    FILE:NAME takes one of several arrays. Of one file's arrays those are a pair whose names say image and text.

    Raises UserError.
    """
    image, text = _choose(first)
    if second:
        if text is not None:
            raise UserError(f"{first!r} holds a pair already, {image.name!r} and {text.name!r}: leave {second!r} out.")
        text, more = _choose(second)
        if more is not None:
            raise UserError(f"{second!r} holds {text.name!r} and {more.name!r}: name the texts' as FILE:NAME.")
    for matrix in (image, text):
        if matrix is not None:
            _require_size(matrix)
    if text is not None:
        _require_match(image, text)
    return image, text


def split_name(given: str) -> tuple[Path, str]:
    """Return the file and the array's name of FILE or FILE:NAME."""
    path, colon, name = given.rpartition(":")
    return (Path(path), name) if colon and kind_of(given) is None and kind_of(path) else (Path(given), "")


def _choose(given: str) -> tuple[Matrix, Matrix | None]:
    """Return the matrix, or the image's and the text's of a pair, that a file holds under the name given, if any."""
    path, name = split_name(given)
    found = _open(path)
    if name:
        if name not in found:
            raise UserError(f"No array {name!r} in {str(path)!r}.{did_you_mean(name, found)} There are {some(found)}.")
        return _require_matrix(found[name], given), None
    matrices = {key: matrix for key, matrix in found.items() if isinstance(matrix, Matrix)}
    if len(found) == 1 or len(matrices) == 1:
        return _require_matrix(next(iter((matrices or found).values())), given), None
    images, texts = (
        [matrix for key, matrix in matrices.items() if words & set(re.split(r"[^a-z]+", key.lower()))]
        for words in (IMAGE_WORDS, TEXT_WORDS)
    )
    if len(images) == len(texts) == 1 and images != texts:
        return images[0], texts[0]
    if not matrices:
        raise UserError(f"No embeddings in {given!r}: {some(f'{key} {why}' for key, why in found.items())}.")
    listed = some((f"{key} ({matrix.rows:,} x {matrix.width:,})" for key, matrix in matrices.items()), 8)
    raise UserError(f"{given!r} holds several arrays: {listed}. Name one, as {path}:{next(iter(matrices))}")


def _open(path: Path) -> Found:
    kind, suffix = kind_of(path), path.suffix.lower()
    if kind is None:
        near = did_you_mean(str(path), neighbours(path))
        raise UserError(f"No embeddings at {str(path)!r}: there is no such file.{near}")
    if kind == "folder":
        raise UserError(f"{str(path)!r} is a folder. To embed its pictures, name a model, such as --model embedded.")
    if suffix in PICKLES:
        raise UserError(f"{str(path)!r} may be pickled, and is not opened. Save its tensors as .safetensors or .npy.")
    if suffix not in EXTENSIONS:
        near = did_you_mean(suffix, EXTENSIONS) if suffix else ""
        raise UserError(f"{str(path)!r} is none of the files that are read: {', '.join(EXTENSIONS)}.{near}")
    if not path.stat().st_size:
        raise UserError(f"{str(path)!r} is empty (0 bytes).")
    with _readable(str(path)):
        return {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}[suffix](path)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (*BAD, SafetensorError) as error:
        raise UserError(f"{name!r} cannot be read: {error or type(error).__name__}. Save it again.") from error


def _require_matrix(found: Matrix | str, given: str) -> Matrix:
    if isinstance(found, str):
        raise UserError(f"{given!r} {found}")
    return found


def _require_size(matrix: Matrix) -> None:
    if not matrix.rows or not matrix.width:
        raise UserError(f"{matrix.name!r} is empty: {matrix.rows:,} rows of {matrix.width:,} numbers.")
    if matrix.width > WIDEST:
        raise UserError(
            f"{matrix.name!r} is {matrix.width:,} wide: up to {WIDEST:,} dimensions are read. "
            f"It has {matrix.rows:,} rows: is it the wrong way round?"
        )


def _require_match(image: Matrix, text: Matrix) -> None:
    if image.width != text.width:
        raise UserError(
            f"The widths differ: {image.name!r} has {image.width:,} and {text.name!r} {text.width:,}. "
            "A pair lies in one space; inspect each alone otherwise."
        )
    if image.rows != text.rows:
        raise UserError(
            f"The rows differ: {image.name!r} has {image.rows:,} and {text.name!r} {text.rows:,}. "
            "Row i of both must be of one pair; repeat an image's row for each of its texts."
        )


def _fault(dtype: np.dtype, shape: tuple[int, ...]) -> str:
    """Return why an array is no matrix of embeddings; nothing for one that is."""
    if dtype.hasobject:
        return f"holds pickled Python objects, which are not opened. {AS_FLOATS}"
    if dtype.kind == "c":
        return f"holds complex numbers ({dtype}). Save real and imaginary parts side by side."
    if dtype.kind in "iub":
        return f"holds {dtype} numbers, not embeddings. {AS_FLOATS}"
    if dtype.kind != "f" or dtype.itemsize > 8:
        return f"holds {dtype}: float16, float32 and float64 are read."
    return "" if len(shape) == 2 else f"has the shape {shape}: a matrix is read, a sample a row."


# npy and npz


def _npy(path: Path) -> Found:
    with path.open("rb") as file:
        shape, in_columns, dtype = _header(file)
        start = file.tell()
    if fault := _fault(dtype, shape):
        return {"": fault}
    if path.stat().st_size < start + shape[0] * shape[1] * dtype.itemsize:
        raise UserError(
            f"{str(path)!r} breaks off: its header says {shape[0]:,} x {shape[1]:,} numbers. Save it again."
        )

    def read(rows: int) -> Pieces:
        if in_columns:
            yield from _mapped(path, start, shape, dtype, rows)
            return
        with path.open("rb") as file:  # not mapped: what was read of a mapped file stays in memory
            file.seek(start)
            yield from _taken(file.read, shape, dtype, rows)

    return {"": Matrix(str(path), shape[0], shape[1], str(dtype), read)}


def _mapped(path: Path, start: int, shape: tuple[int, int], dtype: np.dtype, rows: int) -> Pieces:
    """Yield rows of a matrix that is stored by columns, mapped anew for each piece."""
    for row in range(0, shape[0], rows):
        yield np.memmap(path, dtype, "r", start, shape, "F")[row : row + rows]


def _npz(path: Path) -> Found:
    found: dict[str, Matrix | str] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    shape, in_columns, dtype = _header(file)
                key = member.removesuffix(".npy")
                if fault := _fault(dtype, shape):
                    found[key] = fault
                else:
                    read = _member(path, member, in_columns)
                    found[key] = Matrix(f"{path}:{key}", shape[0], shape[1], str(dtype), read)
    if not found:
        raise UserError(f"{str(path)!r} holds no array.")
    return found


def _member(path: Path, member: str, in_columns: bool) -> Callable[[int], Pieces]:
    def read(rows: int) -> Pieces:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            if in_columns:  # the archive can be read forward alone
                whole = np.lib.format.read_array(file, allow_pickle=False)
                yield from (whole[row : row + rows] for row in range(0, len(whole), rows))
                return
            shape, _, dtype = _header(file)
            yield from _taken(file.read, shape, dtype, rows)

    return read


def _header(file: IO[bytes]) -> tuple[Any, bool, np.dtype]:
    """Return shape, whether it is stored by columns, and dtype, as an npy file says in front."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _taken(take: Callable[[int], bytes], shape: tuple[int, int], dtype: np.dtype, rows: int) -> Pieces:
    for row in range(0, shape[0], rows):
        wanted = min(rows, shape[0] - row) * shape[1]
        yield np.frombuffer(take(wanted * dtype.itemsize), dtype, wanted).reshape(-1, shape[1])


# safetensors

KINDS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


def _safetensors(path: Path) -> Found:
    found: dict[str, Matrix | str] = {}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  it is no mapping
            tensor = file.get_slice(key)
            kind, shape = tensor.get_dtype(), tuple(tensor.get_shape())
            if kind not in KINDS:
                found[key] = f"holds {kind} numbers, not embeddings. {AS_FLOATS}"
            elif len(shape) != 2:
                found[key] = _fault(np.dtype("f4"), shape)
            else:
                found[key] = Matrix(f"{path}:{key}", shape[0], shape[1], KINDS[kind], _tensor(path, key, shape[0]))
    if not found:
        raise UserError(f"{str(path)!r} holds no tensor.")
    return found


def _tensor(path: Path, key: str, all_rows: int) -> Callable[[int], Pieces]:
    def read(rows: int) -> Pieces:
        for row in range(0, all_rows, rows):
            with safe_open(path, framework="pt") as file:  # anew: what was read of a mapped file stays in memory
                piece = file.get_slice(key)[row : row + rows]
                yield (piece.float() if piece.dtype == torch.bfloat16 else piece).numpy()

    return read


# parquet


def _parquet(path: Path) -> Found:
    file = pq.ParquetFile(path)
    schema, rows = file.schema_arrow, file.metadata.num_rows
    found: dict[str, Matrix | str] = {}
    for column in schema:
        if not _is_list(column.type):
            continue
        kind = column.type.value_type
        if not pa.types.is_floating(kind):
            found[column.name] = f"holds lists of {kind}, not embeddings. {AS_FLOATS}"
        else:
            width = _width(path, column.name)
            found[column.name] = Matrix(
                f"{path}:{column.name}", rows, width, _numpy_name(kind), _lists(path, column.name, width)
            )
    flat = [column.name for column in schema if pa.types.is_floating(column.type)]
    if not found and len(flat) > 1:  # a column a dimension
        found[""] = Matrix(str(path), rows, len(flat), _numpy_name(schema.field(flat[0]).type), _columns(path, flat))
    if not found:
        listed = some(f"{column.name} ({column.type})" for column in schema)
        raise UserError(f"{str(path)!r} has no column of lists of numbers, nor several of numbers: {listed}.")
    return found


def _batches(path: Path, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    # Read through a small buffer: a row group may be as large as the file
    file = pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    return file.iter_batches(rows, columns=columns, use_threads=False)


def _lists(path: Path, column: str, width: int) -> Callable[[int], Pieces]:
    def pieces(rows: int) -> Pieces:
        done = 0
        for batch in _batches(path, [column], rows):
            cells = batch.column(0)
            there = cells.is_valid().to_numpy(zero_copy_only=False)
            lengths = pc.list_value_length(cells).fill_null(width).to_numpy(zero_copy_only=False)
            if len(other := np.flatnonzero(lengths != width)):
                row = int(other[0])
                raise UserError(
                    f"{str(path)!r}: row {done + row + 1:,} of {column!r} has {lengths[row]:,} numbers and the first "
                    f"{width:,}. All rows of a matrix are of one width."
                )
            numbers = cells.drop_null().flatten().to_numpy(zero_copy_only=False)
            matrix = np.full((len(cells), width), np.nan, numbers.dtype)  # a row that is missing is no number
            matrix[there] = numbers.reshape(-1, width)
            done += len(cells)
            yield matrix

    return _exactly(pieces)


def _columns(path: Path, names: list[str]) -> Callable[[int], Pieces]:
    def pieces(rows: int) -> Pieces:
        for batch in _batches(path, names, rows):
            yield np.stack([column.to_numpy(zero_copy_only=False) for column in batch.columns], 1)

    return _exactly(pieces)


def _exactly(pieces: Callable[[int], Pieces]) -> Callable[[int], Pieces]:
    """Return a reader whose pieces are as long as asked for, of one whose are at most so long."""

    def read(rows: int) -> Pieces:
        held: list[np.ndarray] = []
        for piece in pieces(rows):
            held.append(piece)
            if sum(map(len, held)) >= rows:
                joined = np.concatenate(held)
                yield joined[:rows]
                held = [joined[rows:]]
        if sum(map(len, held)):
            yield np.concatenate(held)

    return read


def _width(path: Path, column: str) -> int:
    """Return how long the first list of a column is; 0 where there is none."""
    for batch in _batches(path, [column], 64):
        lengths = pc.list_value_length(batch.column(0)).drop_null()
        if len(lengths):
            return int(lengths[0].as_py())
    return 0


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _numpy_name(kind: pa.DataType) -> str:
    return str(np.dtype(kind.to_pandas_dtype()))
