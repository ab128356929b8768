"""A part of a file as a file of its own, which decoders may do to what they like."""

import io
from typing import BinaryIO


class Part(io.RawIOBase):
    """`size` bytes from `start` of a file that can seek; by default all that it has now, whatever is added behind.

    It never raises: soundfile calls it from C, where an exception is printed and lost. What it could not read is not there,
    and `failure` says why.
    """

    def __init__(self, file: BinaryIO, start: int = 0, size: int | None = None) -> None:
        self._failure: OSError | None = None
        self._file, self.start, self.size, self._at = file, start, size or 0, 0
        try:
            if size is None:
                self.size = file.seek(0, io.SEEK_END) - start
        except OSError as error:
            self._failure = error

    @property
    def failure(self) -> OSError | None:
        return self._failure or getattr(self._file, "failure", None)

    @classmethod
    def of(cls, content: bytes) -> "Part":
        return cls(io.BytesIO(content))

    def within(self, start: int, size: int) -> "Part":
        return Part(self, start, size)  # type: ignore[arg-type]  # a RawIOBase has all that is asked of a BinaryIO here

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer, /) -> int:  # type: ignore[no-untyped-def, override]  # whatever has the buffer protocol
        view = memoryview(buffer)[: max(self.size - self._at, 0)].cast("B")
        if not len(view) or self.failure is not None:
            return 0
        try:
            self._file.seek(self.start + self._at)
            count = self._file.readinto(view) or 0  # type: ignore[attr-defined]
        except OSError as error:
            self._failure, count = error, 0
        self._at += count
        return count

    def at(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`, or as many as are there."""
        self.seek(offset)
        content = b""
        while len(content) < count and (more := self.read(count - len(content))):
            content += more
        return content
