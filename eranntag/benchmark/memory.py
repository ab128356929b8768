"""The memory of `eranntag predict` on many files, and on a file of hours."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

import eranntag
from eranntag.errors import EranntagError, UsageError

RATE = 44100
KINDS = 16  # of short files, 1 to 4 s; each has many hard links
BLOCK_SECONDS = 60


@dataclass(frozen=True)
class MemoryUse:
    """Bytes in RAM of one process, which took `seconds` for `sound_seconds`: (files done, bytes) in `at`, and the `peak`."""

    at: tuple[tuple[int, int], ...]
    peak: int
    seconds: float
    sound_seconds: float


@dataclass(frozen=True)
class Memory:
    """Memory use for many short `files` (None: not measured), and for one long file each, by its hours."""

    files: MemoryUse | None
    hours: dict[float, MemoryUse]


def measure(options: list[str], files: int, hours: tuple[float, ...], log: Callable[[str], None]) -> Memory:
    """Return the memory use of `eranntag predict` with `options`.

    Raises UsageError on systems other than Linux, EranntagError if the command fails.
    """
    if not Path("/proc/self/status").exists():
        raise UsageError("bench memory reads /proc, which only Linux has; run it there")
    with tempfile.TemporaryDirectory(prefix="eranntag-") as name:
        folder = Path(name)
        short = None
        if files:
            log(f"{files} files")
            sound = _write_short_files(folder / "many", files)
            short = _watch_predict(["--format", "jsonl", *options, str(folder / "many")], sound, files)
        long = {}
        for each in hours:
            log(f"{each:g} h")
            long[each] = _watch_predict(
                ["--format", "jsonl", *options, str(_write_long_file(folder / "long.flac", each))], each * 3600, 1
            )
        return Memory(short, long)


def _noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1000, int(seconds * RATE)).astype(np.int16)


def _write_short_files(folder: Path, files: int) -> float:
    """Write `files` short files into the new `folder` and return the seconds of sound in them."""
    folder.mkdir()
    lengths = [1 + 3 * kind / KINDS for kind in range(KINDS)]
    for kind, seconds in enumerate(lengths):
        form = ("wav", "flac")[kind % 2]
        soundfile.write(folder.parent / f"{kind}.{form}", _noise(seconds, kind), RATE)
    for number in range(files):
        kind = number % KINDS
        form = ("wav", "flac")[kind % 2]
        os.link(folder.parent / f"{kind}.{form}", folder / f"{number}.{form}")
    return sum(lengths[number % KINDS] for number in range(files))


def _write_long_file(path: Path, hours: float) -> Path:
    block = _noise(BLOCK_SECONDS, 0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(round(hours * 3600 / BLOCK_SECONDS)):
            file.write(block)
    return path


def _watch_predict(words: list[str], sound_seconds: float, files: int) -> MemoryUse:
    """Return the memory use of one `eranntag predict`, read twenty times while results come."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(eranntag.__file__).parents[1]), *sys.path))}
    started = time.perf_counter()
    at: list[tuple[int, int]] = []
    peak = 0
    command = [sys.executable, "-m", "eranntag", "predict", *words]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        for done, line in enumerate(process.stdout, 1):
            json.loads(line)
            if done % max(1, files // 20) == 0:
                now, highest = _memory(process.pid)
                at.append((done, now))
                peak = max(peak, highest)
    if process.returncode or not at:
        raise EranntagError(f"`eranntag predict {' '.join(words)}` failed with exit code {process.returncode}; see above")
    return MemoryUse(tuple(at), peak, time.perf_counter() - started, sound_seconds)


def _memory(pid: int) -> tuple[int, int]:
    """Return the bytes in RAM now and the peak so far; zeros if the process has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        lines = []
    fields = dict(line.split(":", 1) for line in lines)
    now, peak = (1024 * int(fields.get(name, "0").split()[0]) for name in ("VmRSS", "VmHWM"))
    return now, peak
