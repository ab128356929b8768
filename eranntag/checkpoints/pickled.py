"""Reading the pickles of published weights: the only module that does so.

torch unpickles with `weights_only`, which runs no code. Alone that is not enough for files of others: the key of a dictionary
of nested tuples is hashed for ever, or beyond the end of the stack; a bytearray may have any length; and compressed archives
are unpacked. So the opcodes are checked before torch reads them.
"""

import io
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from eranntag.checkpoints import limits
from eranntag.errors import CheckpointError

MAX_PICKLE_BYTES = 4 << 20  # without the tensors; PANNs' file has 0.1 MB
MAX_TUPLE_SIZE = 1000  # values of a tuple and of the tuples in it; those of torch.save have ten or so
LEGACY_PICKLES = 5  # of the format before zip archives: two numbers, the machine, what was saved, the names of its storages
NUMPY = (  # the globals in the pickle of an array
    "numpy.ndarray", "numpy.dtype", "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar",
)  # fmt: skip
# The globals in the pickle of a tensor. torch allows more, such as a bytearray of any length.
TENSORS = re.compile(r"torch\.(_utils\._rebuild_\w+|serialization\._get_layout|[A-Z]\w+Storage|Size|b?float\d+|u?int\d+|bool)")
PLAIN = ("collections.OrderedDict", "_codecs.encode")


class SkippedArray:
    """The stand-in for numpy's objects, so that no pickle reaches numpy: PANNs' files may contain the state of a sampler."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def load_pickled(file: Path, remedy: str) -> Any:
    """Return what torch.save wrote, with `SkippedArray` for arrays; tensors of a zip archive are mapped into memory.

    Raises CheckpointError, which ends in `remedy` where that may help, for other files and for anything that could be code.
    """
    zipped = _check_file(file, remedy)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([(SkippedArray, name) for name in NUMPY]):
            warnings.simplefilter("ignore")  # that a format or kind of tensor is old or slow
            return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror}); {remedy}") from None
    except Exception:  # torch raises many kinds of errors for damaged files
        raise CheckpointError(f"{file}: not a file of torch.save, or not all of it; download it again") from None


def _check_file(file: Path, remedy: str) -> bool:
    """Return whether the file is a zip archive, as torch.save writes it; False for the older format.

    Raises CheckpointError for other files, for compressed archives and for pickles that `_check_opcodes` refuses.
    """
    try:
        with limits.open_regular_file(file, remedy)[0] as opened:
            if zipfile.is_zipfile(opened):
                _check_archive(opened, file)
                return True
            opened.seek(0)
            _check_opcodes(opened.read(MAX_PICKLE_BYTES), LEGACY_PICKLES, file)
            return False
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file; {remedy}") from None
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, LookupError, RuntimeError) as error:
        raise CheckpointError(f"{file}: not a file of torch.save, or not all of it ({error}); download it again") from None


def _check_archive(opened: Any, file: Path) -> None:
    """Raise ValueError for an archive with compressed members or large pickles; check the pickles."""
    with zipfile.ZipFile(opened) as archive:
        members = archive.infolist()
        if any(each.compress_type != zipfile.ZIP_STORED or each.file_size != each.compress_size for each in members):
            raise ValueError("its archives are not compressed")
        pickles = [member for member in members if member.filename.endswith(".pkl")]
        if (size := sum(member.file_size for member in pickles)) > MAX_PICKLE_BYTES:
            raise ValueError(f"{size} bytes of it are no tensors")
        for member in pickles:
            _check_opcodes(archive.read(member), 1, file)


def _check_opcodes(content: bytes, pickles: int, file: Path) -> None:
    """Raise CheckpointError for globals that are no tensors, ValueError for tuples over MAX_TUPLE_SIZE and for no pickle."""
    stream = io.BytesIO(content)
    for _ in range(pickles):
        machine = _SizeMachine()
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL":  # the only opcode by which torch loads a name
                _check_global(str(argument).replace(" ", "."), file)
            machine.execute(opcode, argument)


class _SizeMachine:
    """A pickle machine whose stack and memo hold the size of each object instead of the object: 1, or that of a tuple."""

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.marks: list[int] = []  # positions in the stack
        self.memo: dict[Any, int] = {}

    def execute(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        operands = self._pop_operands(opcode)
        if opcode.name == "MARK":
            self.marks.append(len(self.stack))
        elif opcode.name.endswith("PUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode.name.endswith("GET"):
            self.stack.append(self.memo[argument])
        elif opcode.name.startswith("TUPLE"):
            size = 1 + sum(operands)
            if size > MAX_TUPLE_SIZE:
                raise ValueError(f"it has a tuple of more than {MAX_TUPLE_SIZE} values")
            self.stack.append(size)
        else:
            self.stack += [1] * len(opcode.stack_after)

    def _pop_operands(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        """Remove the operands from the stack and return them, those below the mark excepted."""
        kinds = opcode.stack_before
        if pickletools.markobject in kinds:
            start = self.marks.pop()
            below = kinds.index(pickletools.markobject)
        else:
            start = len(self.stack) - len(kinds)
            below = 0
        operands = self.stack[start:]
        del self.stack[start - below :]
        return operands


def _check_global(name: str, file: Path) -> None:
    if not (TENSORS.fullmatch(name) or name in NUMPY or name in PLAIN):
        reason = f"it asks for {limits.short_repr(name)[1:-1]}, which is no tensor and could run code; nothing of it was run"
        raise CheckpointError(f"{file}: refused: {reason}")
