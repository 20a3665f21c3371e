"""Bytes that are needed again and again but need not fill memory: written once to a file without a name, and mapped.

The file is gone with the process, whatever ends it. Space is allocated before it is mapped, so a full disk is an
error when something is added, never a signal when it is read.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import weakref
from pathlib import Path

from gossamer.errors import DiskFull

SEGMENT_BYTES = 64 << 20
"""Allocated and mapped at once."""


class Spool:
    """Byte strings on disk. One thread adds; any may read what was added."""

    def __init__(self, directory: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._end = 0  # of what is allocated
        self._free = memoryview(b"")  # the mapped rest of the last segment
        self._at = 0  # its offset in the file

    def add(self, data: bytes) -> memoryview:
        """Write ``data`` and return it as it lies in the file.

        Raises:
            DiskFull: no space; what was added before stays readable.
        """
        try:
            if len(data) > len(self._free):
                self._grow(len(data))
            written = 0
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], self._at + written)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(
                    f"no space left for a round's updates in {self._directory}; free some, nothing was lost"
                ) from error
            raise
        view, self._free = self._free[: len(data)], self._free[len(data) :]
        self._at += len(data)
        return view

    def _grow(self, wanted: int) -> None:
        if self._fd < 0:
            self._fd = _unnamed(self._directory)
            weakref.finalize(self, os.close, self._fd)
        page = mmap.ALLOCATIONGRANULARITY
        size = -(-max(wanted, self._segment_bytes) // page) * page
        os.posix_fallocate(self._fd, self._end, size)
        self._free = memoryview(mmap.mmap(self._fd, size, prot=mmap.PROT_READ, offset=self._end))
        self._at = self._end
        self._end += size


def _unnamed(directory: Path) -> int:
    """A new file that has no name, or has it no longer."""
    fd, name = tempfile.mkstemp(prefix="round-", suffix=".spool", dir=directory)
    Path(name).unlink()
    return fd
