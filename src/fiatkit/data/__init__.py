"""Files in, rows out: readers, groups and splits. Knows nothing of tasks."""

from fiatkit.data.groups import group_rows
from fiatkit.data.rows import Row, frame_rows, iter_rows, read_rows

__all__ = ["Row", "frame_rows", "group_rows", "iter_rows", "read_rows"]
