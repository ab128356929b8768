"""Export: a checkpoint -> ONNX or OpenVINO IR for other programs, checked against the reference before it is written.

The network alone, from image (batch, 1, rows, frames) to `logits` and `scores` (batch, classes) and `embedding` (batch, size),
for any batch and any number of frames that `frame_multiple` divides. The front-end stays outside (ONNX Runtime's STFT is slow
and inexact); the file's metadata describes it. torch is imported late, so that wrong options are refused at once.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import eranntag
from eranntag import registry as folders
from eranntag.audio import reader
from eranntag.checkpoints import header, loading
from eranntag.checkpoints.export_formats import FORMATS, Format, Run
from eranntag.checkpoints.output import check_output
from eranntag.checkpoints.transfer import ProgressCallback
from eranntag.engines import verify
from eranntag.errors import EranntagError, UsageError, error_reason
from eranntag.files import atomic
from eranntag.inference.activations import ACTIVATIONS
from eranntag.types import Clip

CLIP_SECONDS = 30  # of each clip of the user's are compared
REPEATS = 2  # of the built-in sounds, for a second duration
HALF_LIMIT = verify.LIMITS["float16"]


@dataclass(frozen=True)
class Exported:
    """The written file(s), of `size` bytes together. `difference` is the largest one of a probability from the reference's, on
    the sound `worst` of `sounds`."""

    path: Path
    size: int
    difference: float
    worst: str
    sounds: tuple[str, ...]


def export(
    name: str,
    form: str,
    output: Path | None = None,
    clips: Sequence[str | os.PathLike[str]] = (),
    half: bool = False,
    force: bool = False,
    registry: str | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> Exported:
    """Write the checkpoint behind `name` (as for `loading.load`) as `form`, one of FORMATS; `force` overwrites.

    `clips` are sounds to compare on, beside the built-in ones. Raises UsageError, AudioError, what `loading.load` raises,
    and EranntagError, with nothing written, where the file would compute something else than the reference.
    """
    format = _format(form, half)
    path = _output_path(name, format, output, force)
    real = [_read_beginning(clip) for clip in clips]
    file = loading.find(name, registry, offline, report)
    network = file.network()
    if network.learned:
        learned = f"its front-end, {network.checkpoint.frontend_family}, is learned, and the file would lack it"
        raise UsageError(f"{name}: {learned}; export a checkpoint with another")
    about = _metadata(network, file.sha256)
    if not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"--output {path}: its folder may not be written")
    beginning = f".{atomic.truncated_name(path.name)}."
    with atomic.translate_write_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=beginning) as folder:
        draft = Path(folder) / path.name
        _check_disk_space(draft, network)
        try:
            format.write(network, about, draft, half)
            difference, worst, sounds = _compare(format.load(draft), network, real)
        except OSError:
            raise
        except Exception as error:  # an exporter's or a runtime's, for an unsupported operation
            raise EranntagError(f"{name}: cannot be exported as {form}: {error_reason(error)}") from error
        limit = HALF_LIMIT if half else verify.LIMITS["float32"]
        if not difference <= limit:
            what = f"{form} gives other probabilities, by {difference:.3g} for {worst}, where {limit} is the limit"
            raise EranntagError(f"{name}: {what}; nothing was written")
        size = sum(draft.with_suffix(suffix).stat().st_size for suffix in format.suffixes)
        _move_into_place([draft.with_suffix(suffix) for suffix in format.suffixes], path)
    return Exported(path, size, difference, worst, sounds)


def _format(form: str, half: bool) -> Format:
    if form not in FORMATS:
        raise UsageError(f"format {form!r} is none of {', '.join(FORMATS)}")
    format = FORMATS[form]
    if missing := [package for package in format.packages if not find_spec(package)]:
        raise UsageError(f"--format {form} needs {' and '.join(missing)}: pip install {format.install}")
    if half and not format.half:
        raise UsageError(f"--half is not for --format {form}; leave it out")
    return format


def _output_path(name: str, format: Format, output: Path | None, force: bool) -> Path:
    """Return `output`, or a path in the current folder made of the name. Raises UsageError if it may not be written."""
    path = output or Path(Path(name).name.removesuffix(".safetensors").partition("@")[0] + format.suffixes[-1])
    check_output(path, format.suffixes, force)
    return path


def _read_beginning(source: str | os.PathLike[str]) -> Clip:
    """Return the first CLIP_SECONDS of a file."""
    sound = reader.open_stream(source)
    limit, blocks = CLIP_SECONDS * sound.rate, list[np.ndarray]()
    for block in sound.blocks:
        blocks.append(block)
        if sum(block.shape[1] for block in blocks) >= limit:
            break
    return Clip(np.concatenate(blocks, 1)[:, :limit], sound.rate, Path(sound.source).name)


def _metadata(network: Any, sha256: str) -> dict[str, str]:
    """Return the metadata that a program needs to use the file, and its origin."""
    config, family = network.frontend.config, network.checkpoint.frontend_family
    shape = {"rows": config.rows, "frame_multiple": network.model.frame_multiple}
    words = folders.get("eranntag.features", family).IN_WORDS
    image = {"family": family, **dataclasses.asdict(config), **shape, "computed": words}
    return {
        header.KEY: json.dumps(dataclasses.asdict(network.checkpoint)),
        "eranntag-image": json.dumps(image),
        "eranntag-version": eranntag.__version__,
        "eranntag-source-sha256": sha256,
    }


def _compare(run: Run, network: Any, clips: Sequence[Clip]) -> tuple[float, str, tuple[str, ...]]:
    """Return the largest difference of a probability (infinite for NaN), its sound, and the names of all sounds."""
    import torch

    from eranntag.engines.eager import Eager

    reference, found, names = Eager(network), list[tuple[float, str]](), dict[str, None]()
    for sources, waveforms in _test_batches(reference, clips):
        with torch.inference_mode():
            image = network.frontend(torch.from_numpy(waveforms)).numpy()
        logits, scores = run(image)[:2]  # the embedding lies on the way to them
        expected = reference.scores(waveforms)
        for ours in (scores, ACTIVATIONS[network.checkpoint.activation](logits)):
            if ours.shape != expected.shape:
                raise ValueError(f"{ours.shape} is the shape of the scores, not {expected.shape}")
            differences = np.nan_to_num(np.abs(ours - expected).max(1), nan=np.inf)
            found += zip(differences.tolist(), sources, strict=True)
        names |= dict.fromkeys(sources)
    return *max(found), tuple(names)


def _test_batches(reference: Any, clips: Sequence[Clip]) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield names and waveforms (batch, samples): one by one, and the built-in ones as a batch of another length, which detects
    shapes that became constants."""
    built_in = verify.signals(reference.frontend.sample_rate_hz)
    for clip in (*built_in, *clips):
        yield [clip.source], reference.waveform(clip)[None]
    longer = [dataclasses.replace(clip, waveform=np.tile(clip.waveform, REPEATS)) for clip in built_in]
    yield [clip.source for clip in longer], np.stack([reference.waveform(clip) for clip in longer])


def _check_disk_space(draft: Path, network: Any) -> None:
    """Raise OSError if the disk has no space for the weights, which OpenVINO's exporter reports incomprehensibly."""
    if hasattr(os, "posix_fallocate"):
        with open(draft, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, sum(tensor.nbytes for tensor in network.tensors().values()))
        draft.unlink()


def _move_into_place(files: Sequence[Path], path: Path) -> None:
    """Move the finished `files` to the folder of `path`. The last one, which programs open, is moved last: a kill in between
    leaves no file that opens, rather than an old graph beside new weights."""
    if len(files) > 1:
        path.unlink(missing_ok=True)
    for file in files:
        with atomic.replace(path.with_suffix(file.suffix)) as temporary:
            shutil.move(file, temporary)
