"""A range of bytes of a file, as a read-only file of its own for decoders."""

import io
from typing import Any, BinaryIO, Protocol


class SeekableReader(Protocol):
    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def readinto(self, buffer: Any, /) -> int | None: ...


class ByteRange(io.RawIOBase):
    """`size` bytes from `start` of a seekable file; by default all that it has now, even if it grows later.

    It never raises: soundfile calls it from C, where an exception is printed and lost. Bytes that cannot be read are
    missing, and `failure` holds the error.
    """

    def __init__(self, file: SeekableReader | BinaryIO, start: int = 0, size: int | None = None) -> None:
        self._failure: OSError | None = None
        self._file: Any = file  # BinaryIO lacks readinto
        self.start = start
        self.size = size or 0
        self._position = 0
        try:
            if size is None:
                self.size = file.seek(0, io.SEEK_END) - start
        except OSError as error:
            self._failure = error

    @property
    def failure(self) -> OSError | None:
        inner = self._file.failure if isinstance(self._file, ByteRange) else None
        return self._failure or inner

    @classmethod
    def of_bytes(cls, content: bytes) -> "ByteRange":
        return cls(io.BytesIO(content))

    def subrange(self, start: int, size: int) -> "ByteRange":
        return ByteRange(self, start, size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)[: max(self.size - self._position, 0)].cast("B")
        if not len(view) or self.failure is not None:
            return 0
        try:
            self._file.seek(self.start + self._position)
            count: int = self._file.readinto(view) or 0
        except OSError as error:
            self._failure = error
            return 0
        self._position += count
        return count

    def read_at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`, or as many as there are."""
        self.seek(offset)
        content = b""
        while len(content) < count:
            more = self.read(count - len(content))
            if not more:
                break
            content += more
        return content
