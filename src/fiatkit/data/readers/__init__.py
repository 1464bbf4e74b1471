"""Readers, one file each: `SUFFIXES`, and `read(source)` yielding (line, values).

A format without lines says `COUNTED = "row"` and yields the number of the row instead.
"""
