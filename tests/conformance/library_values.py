"""Values of well-known libraries whose content is in buffers, and ways to look at those buffers.

Tasks import it by name. A library is imported only by the values that need it, so that other tasks start at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# Large enough for shared memory on every backend: 0.8 MB of float64.
LENGTH = 100_000


class Region(NamedTuple):
    """Where one buffer of a value lies, and whether its library lets a user write there."""

    address: int
    size_bytes: int
    read_only: bool


@dataclass
class Holder:
    """A value as a field of a user's class."""

    value: Any
    name: str = "holder"


class Measured(np.ndarray):
    """A subclass of ndarray with an attribute of its own, as numpy's documentation shows how to write one."""

    unit = "none"

    def __array_finalize__(self, source):
        self.unit = getattr(source, "unit", "none")


# ------------------------------------------------------------------------------------------------------------- pyarrow


def _numbers():
    return np.arange(LENGTH, dtype="f8")


def _texts():
    return [f"text {i}" for i in range(LENGTH // 5)]


def arrow_array():
    import pyarrow as pa

    return pa.array(_numbers())


def arrow_array_with_nulls():
    import pyarrow as pa

    return pa.array(_numbers(), mask=np.arange(LENGTH) % 3 == 0)


def arrow_bool_array():
    import pyarrow as pa

    return pa.array(np.arange(8 * LENGTH) % 3 == 0)


def arrow_string_array():
    import pyarrow as pa

    return pa.array(_texts())


def arrow_list_array():
    import pyarrow as pa

    return pa.ListArray.from_arrays(np.arange(0, LENGTH + 1, 4, dtype="i4"), pa.array(_numbers()))


def arrow_struct_array():
    import pyarrow as pa

    return pa.StructArray.from_arrays([pa.array(_numbers()), pa.array(np.arange(LENGTH))], names=["x", "n"])


def arrow_dictionary_array():
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(np.arange(LENGTH, dtype="i4") % 3), pa.array(["a", "b", "c"]))


def arrow_chunked_array():
    import pyarrow as pa

    return pa.chunked_array([pa.array(_numbers()), pa.array(_numbers() + 1)])


def arrow_record_batch():
    import pyarrow as pa

    return pa.record_batch({"x": pa.array(_numbers()), "n": pa.array(np.arange(LENGTH))})


def arrow_table():
    import pyarrow as pa

    return pa.table({"x": pa.array(_numbers()), "text": pa.array([f"text {i}" for i in range(LENGTH)])})


def arrow_table_of_chunks():
    import pyarrow as pa

    return pa.concat_tables([pa.table({"x": pa.array(_numbers() + i)}) for i in range(3)])


def arrow_buffer():
    import pyarrow as pa

    return pa.py_buffer(bytes(range(256)) * 4_000)


# -------------------------------------------------------------------------------------------------------------- pandas


def pandas_frame():
    import pandas as pd

    return pd.DataFrame({"x": _numbers(), "y": _numbers() * 2})


def pandas_mixed_frame():
    import pandas as pd

    return pd.DataFrame({"x": _numbers(), "n": np.arange(LENGTH), "flag": np.arange(LENGTH) % 2 == 0})


def pandas_frame_with_dates():
    import pandas as pd

    return pd.DataFrame({"x": _numbers()}, index=pd.date_range("2020-01-01", periods=LENGTH, freq="s"))


def pandas_series():
    import pandas as pd

    return pd.Series(_numbers(), name="x")


def pandas_arrow_frame():
    import pandas as pd

    return pd.DataFrame(
        {
            "x": pd.array(_numbers(), dtype="double[pyarrow]"),
            "text": pd.array([f"text {i}" for i in range(LENGTH)], dtype="string[pyarrow]"),
        }
    )


def pandas_arrow_series():
    import pandas as pd

    return pd.Series(pd.array(_numbers(), dtype="double[pyarrow]"), name="x")


# --------------------------------------------------------------------------------------------------------------- scipy


def _sparse(name):
    import scipy.sparse

    # One entry per row, in another order than that of the columns.
    columns = np.arange(LENGTH)[::-1].copy()
    entries = scipy.sparse.coo_array((_numbers() + 1, (np.arange(LENGTH), columns)), shape=(LENGTH, LENGTH))
    return getattr(scipy.sparse, name)(entries)


def sparse_csr_array():
    return _sparse("csr_array")


def sparse_csc_array():
    return _sparse("csc_array")


def sparse_coo_array():
    return _sparse("coo_array")


def sparse_csr_matrix():
    return _sparse("csr_matrix")


MAKERS: dict[str, Callable[[], Any]] = {
    make.__name__: make
    for make in (
        arrow_array,
        arrow_array_with_nulls,
        arrow_bool_array,
        arrow_string_array,
        arrow_list_array,
        arrow_struct_array,
        arrow_dictionary_array,
        arrow_chunked_array,
        arrow_record_batch,
        arrow_table,
        arrow_table_of_chunks,
        arrow_buffer,
        pandas_frame,
        pandas_mixed_frame,
        pandas_frame_with_dates,
        pandas_series,
        pandas_arrow_frame,
        pandas_arrow_series,
        sparse_csr_array,
        sparse_csc_array,
        sparse_coo_array,
        sparse_csr_matrix,
    )
}


def equal(left: Any, right: Any) -> bool:
    """Tell whether both are of one type and hold the same; the library's own comparison decides."""
    if type(left) is not type(right):
        return False
    if hasattr(left, "tocsr"):
        return left.format == right.format and left.shape == right.shape and (left != right).nnz == 0
    if hasattr(left, "dtypes") and not bool(np.all(left.dtypes == right.dtypes)):
        return False
    return bool(left.equals(right))


def regions(value: Any) -> list[Region]:
    """List the buffers with the content of a value of one of these libraries."""
    if isinstance(value, np.ndarray):
        return [Region(value.ctypes.data, value.nbytes, not value.flags.writeable)]
    library = type(value).__module__.partition(".")[0]
    if library == "scipy":
        indices = (value.row, value.col) if value.format == "coo" else (value.indices, value.indptr)
        return [region for array in (value.data, *indices) for region in regions(array)]
    if library == "pandas":
        columns = [value] if value.ndim == 1 else [value[name] for name in value.columns]
        arrays = [
            column.array.__arrow_array__() if _is_arrow_backed(column) else column.to_numpy() for column in columns
        ]
        return [region for array in arrays for region in regions(array)]
    return [
        Region(buffer.address, buffer.size, not buffer.is_mutable) for buffer in _arrow_buffers(value) if buffer.size
    ]


def _is_arrow_backed(series):
    import pandas as pd

    return isinstance(series.dtype, pd.ArrowDtype) or getattr(series.dtype, "storage", "") == "pyarrow"


def _arrow_buffers(value):
    import pyarrow as pa

    if isinstance(value, pa.Buffer):
        return [value]
    if isinstance(value, pa.Table | pa.RecordBatch):
        return [buffer for column in value.columns for buffer in _arrow_buffers(column)]
    if isinstance(value, pa.ChunkedArray):
        return [buffer for chunk in value.chunks for buffer in _arrow_buffers(chunk)]
    return [buffer for buffer in value.buffers() if buffer is not None]


def is_right(name: str, value: Any) -> bool:
    """Tell, in a task or in the test, whether the value is what the maker of that name makes."""
    return equal(value, MAKERS[name]())


def all_read_only(value: Any) -> bool:
    """Tell whether the library refuses writes to every buffer of the value."""
    return all(region.read_only for region in regions(value))
