"""Somebody's pickle, read: the only place that does so.

torch reads it with `weights_only`, so that nothing but tensors and plain containers is made of it and none of its code runs.
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

MAX_PICKLE = 4 << 20  # bytes of what is not tensors; PANNs' file has 0.1 MB
MAX_VALUES = 1000  # of a tuple; those of torch.save have ten or so
OLDER_PICKLES = 5  # of the format before zip archives: two numbers, the machine, what was saved, the names of its storages
NUMPY = (  # what the pickle of an array names
    "numpy.ndarray", "numpy.dtype", "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar",
)  # fmt: skip
# And that of tensors. torch knows more, such as a bytearray of any length.
TENSORS = re.compile(r"torch\.(_utils\._rebuild_\w+|serialization\._get_layout|[A-Z]\w+Storage|Size|b?float\d+|u?int\d+|bool)")
PLAIN = ("collections.OrderedDict", "_codecs.encode")


class _Skipped:
    """What stands for numpy's objects, so that no pickle reaches numpy: beside the weights PANNs' files may hold the state of
    a sampler."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def read(file: Path, remedy: str) -> Any:
    """What torch.save wrote, with `_Skipped` for arrays; a zip archive is mapped into memory, the older format read.

    Raises CheckpointError, which ends in `remedy` where that may help, also for whatever could be code.
    """
    zipped = _is_plain_zip(file, remedy)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([(_Skipped, name) for name in NUMPY]):
            warnings.simplefilter("ignore")  # that a format or kind of tensor is old or slow
            return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror}); {remedy}") from None
    except Exception:  # whatever torch makes of bytes that are not its own
        raise CheckpointError(f"{file}: not a file of torch.save, or not all of it; download it again") from None


def _is_plain_zip(file: Path, remedy: str) -> bool:
    """Whether it is a zip archive, as torch.save writes them: nothing in it compressed, so that none of it is larger than it
    looks. False for the older format. CheckpointError for what is neither, and where what is no tensors is too much."""
    try:
        with limits.opened(file, remedy)[0] as opened:
            if not zipfile.is_zipfile(opened):
                opened.seek(0)
                _check(opened.read(MAX_PICKLE), OLDER_PICKLES, file)
                return False
            with zipfile.ZipFile(opened) as archive:
                entries = archive.infolist()
                if any(each.compress_type != zipfile.ZIP_STORED or each.file_size != each.compress_size for each in entries):
                    raise ValueError("its archives are not compressed")
                pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
                if (size := sum(entry.file_size for entry in pickles)) > MAX_PICKLE:
                    raise ValueError(f"{size} bytes of it are no tensors")
                for entry in pickles:
                    _check(archive.read(entry), 1, file)
                return True
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file; {remedy}") from None
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, LookupError, RuntimeError) as error:
        raise CheckpointError(f"{file}: not a file of torch.save, or not all of it ({error}); download it again") from None


def _check(content: bytes, pickles: int, name: Path) -> None:
    """CheckpointError for what asks for more than tensors. ValueError for a tuple of too many values, with those of the tuples
    in it: as a key it would be hashed to the last of them, for years or beyond the end of the stack. Also for no pickle."""
    file = io.BytesIO(content)
    for _ in range(pickles):
        stack: list[int] = []  # how many values each object has
        marks: list[int] = []
        memo: dict[Any, int] = {}
        for opcode, argument, _ in pickletools.genops(file):
            before, values = opcode.stack_before, 1
            if opcode.name == "GLOBAL":  # torch knows no other way to name something
                _check_global(str(argument).replace(" ", "."), name)
            if pickletools.markobject in before:
                at, under = marks.pop(), before.index(pickletools.markobject)
            else:
                at, under = len(stack) - len(before), 0
            if opcode.name.startswith("TUPLE") and (values := 1 + sum(stack[at:])) > MAX_VALUES:
                raise ValueError(f"it has a tuple of more than {MAX_VALUES} values")
            if opcode.name == "MARK":
                marks.append(len(stack))
            elif opcode.name.endswith("PUT"):
                memo[argument] = stack[-1]
            elif opcode.name.endswith("GET"):
                stack.append(memo[argument])
            else:
                del stack[at - under :]
                stack += [values] * len(opcode.stack_after)


def _check_global(asked: str, name: Path) -> None:
    if not (TENSORS.fullmatch(asked) or asked in NUMPY or asked in PLAIN):
        asks = f"it asks for {limits.shown(asked)[1:-1]}, which is no tensor and could run code; nothing of it was run"
        raise CheckpointError(f"{name}: refused: {asks}")
