"""Saved embeddings of every kind read as numpy has them, and everything else refused in one line."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from overtone.data.embeddings import WIDEST, load_embeddings, split_name
from overtone.errors import UserError

DTYPES = ("float16", "float32", "float64")


def drawn(rows: int = 23, width: int = 6, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(dtype)


def read(matrix, rows: int = 7) -> np.ndarray:
    """Join what is read, and see that every piece but the last is whole."""
    chunks = list(matrix.chunks(rows))
    assert all(len(chunk) == rows for chunk in chunks[:-1])
    return torch.cat(chunks).numpy()


def write_parquet(path: Path, columns: dict[str, np.ndarray], fixed: bool = False, **options: object) -> Path:
    arrays = {}
    for name, x in columns.items():
        numbers = pa.array(x.ravel())
        arrays[name] = (
            pa.FixedSizeListArray.from_arrays(numbers, x.shape[1])
            if fixed
            else pa.ListArray.from_arrays(np.arange(0, x.size + 1, x.shape[1], dtype=np.int32), numbers)
        )
    pq.write_table(pa.table(arrays), path, **options)
    return path


def write(kind: str, path: Path, x: np.ndarray) -> Path:
    if kind in ("npy", "npy by columns"):
        np.save(path.with_suffix(".npy"), x if kind == "npy" else np.asfortranarray(x))
    elif kind in ("npz", "npz by columns"):
        np.savez(path.with_suffix(".npz"), x=x if kind == "npz" else np.asfortranarray(x))
    elif kind == "npz, compressed":
        np.savez_compressed(path.with_suffix(".npz"), x=x)
    elif kind == "safetensors":
        save_file({"x": torch.from_numpy(x)}, path.with_suffix(".safetensors"))
    else:
        write_parquet(path.with_suffix(".parquet"), {"x": x}, fixed="fixed" in kind, row_group_size=5)
    return next(iter(path.parent.glob(f"{path.stem}.*")))


KINDS = (
    "npy",
    "npy by columns",
    "npz",
    "npz by columns",
    "npz, compressed",
    "safetensors",
    "parquet",
    "parquet, lists of fixed size",
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_as_it_was_written(tmp_path, kind, dtype):
    x = drawn(dtype=dtype)
    matrix, text = load_embeddings(str(write(kind, tmp_path / "x", x)))
    assert text is None
    assert (matrix.rows, matrix.width, matrix.dtype) == (23, 6, dtype)
    for rows in (1, 7, 23, 100):
        found = read(matrix, rows)
        assert found.dtype == ("float64" if dtype == "float64" else "float32")
        np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(read(matrix), x)  # and again


def test_big_endian_numbers_and_newer_headers_are_read(tmp_path):
    x = drawn()
    np.save(tmp_path / "x.npy", x.astype(">f4"))
    np.testing.assert_array_equal(read(load_embeddings(str(tmp_path / "x.npy"))[0]), x)
    with (tmp_path / "y.npy").open("wb") as file:
        np.lib.format.write_array(file, x, version=(2, 0))
    np.testing.assert_array_equal(read(load_embeddings(str(tmp_path / "y.npy"))[0]), x)


def test_bfloat16_is_read(tmp_path):
    x = torch.from_numpy(drawn()).bfloat16()
    save_file({"x": x}, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(read(load_embeddings(str(tmp_path / "x.safetensors"))[0]), x.float())


def test_a_parquet_column_a_dimension(tmp_path):
    x = drawn()
    columns = {f"d{i}": x[:, i] for i in range(6)} | {"id": np.arange(23)}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    np.testing.assert_array_equal(read(load_embeddings(str(tmp_path / "x.parquet"))[0]), x)


def test_a_missing_row_of_parquet_holds_no_numbers(tmp_path):
    pq.write_table(pa.table({"x": pa.array([[1.0, 2.0], None, [3.0, None]])}), tmp_path / "x.parquet")
    found = read(load_embeddings(str(tmp_path / "x.parquet"))[0])
    np.testing.assert_array_equal(found, [[1, 2], [np.nan, np.nan], [3, np.nan]])


def test_rows_of_parquet_that_differ_in_width_are_named(tmp_path):
    pq.write_table(pa.table({"x": pa.array([[1.0, 2.0]] * 4 + [[1.0]])}), tmp_path / "x.parquet")
    matrix, _ = load_embeddings(str(tmp_path / "x.parquet"))
    with pytest.raises(UserError, match="row 5 of 'x' has 1 numbers and the first 2"):
        read(matrix, 3)


@pytest.mark.parametrize(
    ("image", "text"), [("image", "text"), ("image_embeds", "text_embeds"), ("img", "captions"), ("Images", "TXT-B")]
)
def test_a_pair_in_one_file_is_known_by_its_names(tmp_path, image, text):
    x, y = drawn(seed=1), drawn(seed=2)
    np.savez(tmp_path / "both.npz", **{text: y, image: x, "ids": np.arange(23)})
    first, second = load_embeddings(str(tmp_path / "both.npz"))
    np.testing.assert_array_equal(read(first), x)
    np.testing.assert_array_equal(read(second), y)


def test_two_files_and_arrays_by_name_are_a_pair(tmp_path):
    x, y = drawn(seed=1), drawn(seed=2)
    save_file({"a": torch.from_numpy(x), "b": torch.from_numpy(y)}, tmp_path / "two.safetensors")
    write_parquet(tmp_path / "c.parquet", {"c": y})
    first, second = load_embeddings(f"{tmp_path}/two.safetensors:a", f"{tmp_path}/c.parquet")
    np.testing.assert_array_equal(read(first), x)
    np.testing.assert_array_equal(read(second), y)


def test_a_colon_may_stand_in_a_files_own_name(tmp_path):
    np.save(tmp_path / "a:b.npy", drawn())
    assert split_name(f"{tmp_path}/a:b.npy") == (tmp_path / "a:b.npy", "")
    assert load_embeddings(f"{tmp_path}/a:b.npy")[0].rows == 23


class Trap:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([Trap(tmp_path / "sprung")], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([Trap(tmp_path / "sprung")], object))
    (tmp_path / "y.npy").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    (tmp_path / "z.pt").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    says = ["holds pickled", "holds pickled", "magic string", "may be pickled"]
    for name, said in zip(("x.npy", "x.npz", "y.npy", "z.pt"), says, strict=True):
        with pytest.raises(UserError, match=said):
            load_embeddings(str(tmp_path / name))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((3, 2), int), "holds int64 numbers"),
        (np.zeros((3, 2), bool), "holds bool numbers"),
        (np.zeros((3, 2), complex), "holds complex numbers"),
        (np.zeros((3, 2), np.longdouble), "float16, float32 and float64 are read"),
        (np.zeros((3, 2), [("a", "f4")]), "float16, float32 and float64 are read"),
        (np.zeros(3), r"has the shape \(3,\)"),
        (np.zeros((3, 2, 2)), r"has the shape \(3, 2, 2\)"),
        (np.float32(1), r"has the shape \(\)"),
        (np.zeros((0, 4)), "is empty: 0 rows of 4 numbers"),
        (np.zeros((4, 0)), "is empty: 4 rows of 0 numbers"),
        (np.zeros((2, WIDEST + 1), np.float16), "is it the wrong way round"),
    ],
)
def test_what_is_no_matrix_of_embeddings_is_refused(tmp_path, array, says):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=says):
        load_embeddings(str(tmp_path / "x.npy"))


def test_several_arrays_are_listed(tmp_path):
    np.savez(tmp_path / "x.npz", a=drawn(), b=drawn(), ids=np.arange(3))
    with pytest.raises(UserError, match=r"several arrays: a \(23 x 6\), b \(23 x 6\). Name one, as .*x.npz:a"):
        load_embeddings(str(tmp_path / "x.npz"))
    with pytest.raises(UserError, match=r"No array 'bb' in .* Did you mean 'b'\?"):
        load_embeddings(f"{tmp_path}/x.npz:bb")
    with pytest.raises(UserError, match="holds int64 numbers"):
        load_embeddings(f"{tmp_path}/x.npz:ids")
    np.savez(tmp_path / "y.npz", a=np.arange(3), b=np.arange(4))
    with pytest.raises(UserError, match=r"No embeddings in .*a holds int64.*b holds int64"):
        load_embeddings(str(tmp_path / "y.npz"))


def broken_npy(path: Path) -> None:
    np.save(path, drawn(100, 8))
    path.write_bytes(path.read_bytes()[:-50])


def broken_npz(path: Path) -> None:
    np.savez_compressed(path, x=drawn(100, 8))
    path.write_bytes(path.read_bytes()[:-50])


def wrong_sum(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        np.save(path.with_suffix(".npy"), drawn(100, 8))
        archive.write(path.with_suffix(".npy"), "x.npy")
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)


def short_npz(path: Path) -> None:
    """An archive that is whole, of an array that is not."""
    broken_npy(path.with_suffix(".npy"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".npy"), "x.npy")


def text_file(path: Path) -> None:
    path.write_text("1 2 3")


def no_lists(path: Path) -> None:
    pq.write_table(pa.table({"name": ["a", "b"]}), path)


def lists_of_integers(path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([[1, 2], [3, 4]])}), path)


@pytest.mark.parametrize(
    ("make", "name", "says"),
    [
        (Path.touch, "x.npy", r"is empty \(0 bytes\)"),
        (broken_npy, "x.npy", "breaks off: its header says 100 x 8"),
        (broken_npz, "x.npz", "cannot be read"),
        (wrong_sum, "x.npz", "cannot be read: Bad CRC-32"),
        (short_npz, "x.npz", "cannot be read: buffer is smaller"),
        (text_file, "x.npy", "cannot be read"),
        (text_file, "x.npz", "cannot be read: File is not a zip file"),
        (text_file, "x.safetensors", "cannot be read"),
        (text_file, "x.parquet", "cannot be read"),
        (no_lists, "x.parquet", "has no column of lists of numbers.*name"),
        (lists_of_integers, "x.parquet", "holds lists of int64"),
        (text_file, "x.safetensor", r"none of the files that are read.* Did you mean '.safetensors'\?"),
        (text_file, "x.pkl", "may be pickled"),
        (Path.mkdir, "folder", "is a folder. To embed its pictures, name a model"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, make, name, says):
    make(tmp_path / name)
    with pytest.raises(UserError, match=says) as refused:
        read(load_embeddings(str(tmp_path / name))[0], 30)
    assert "\n" not in str(refused.value)


def test_a_name_nearby_is_offered(tmp_path):
    np.save(tmp_path / "image.npy", drawn())
    with pytest.raises(UserError, match=r"No embeddings at .* Did you mean '.*image.npy'\?"):
        load_embeddings(f"{tmp_path}/imag.npy")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (drawn(23, 5), "The widths differ: .* has 6 and .* 5"),
        (drawn(22, 6), "The rows differ: .* has 23 and .* 22"),
    ],
)
def test_sides_that_do_not_match_are_refused(tmp_path, other, says):
    np.save(tmp_path / "image.npy", drawn())
    np.save(tmp_path / "text.npy", other)
    with pytest.raises(UserError, match=says):
        load_embeddings(f"{tmp_path}/image.npy", f"{tmp_path}/text.npy")


def test_a_pair_beside_another_file_is_one_too_many(tmp_path):
    np.savez(tmp_path / "both.npz", image=drawn(), text=drawn())
    np.save(tmp_path / "x.npy", drawn())
    with pytest.raises(UserError, match="holds a pair already"):
        load_embeddings(f"{tmp_path}/both.npz", f"{tmp_path}/x.npy")
    with pytest.raises(UserError, match="name the texts' as FILE:NAME"):
        load_embeddings(f"{tmp_path}/x.npy", f"{tmp_path}/both.npz")
