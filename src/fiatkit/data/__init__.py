"""Files in, rows out: readers, groups and splits. Knows nothing of tasks."""

from fiatkit.data.groups import group_rows
from fiatkit.data.rows import Row, read_rows

__all__ = ["Row", "group_rows", "read_rows"]
