"""Readers, one file each: `SUFFIXES`, and `read(path)` yielding (line, values)."""
