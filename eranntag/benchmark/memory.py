"""How much memory `eranntag predict` holds while it goes through many files, and through one that lasts for hours."""

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
KINDS = 16  # of short files, 1 to 4 s; each has many names
BLOCK_SECONDS = 60
_HELD = ("VmRSS", "VmHWM")


@dataclass(frozen=True)
class Held:
    """Bytes in RAM of one process: `at` (files done, bytes), and the `peak`. `seconds` for `sound_seconds` of sound."""

    at: tuple[tuple[int, int], ...]
    peak: int
    seconds: float
    sound_seconds: float


@dataclass(frozen=True)
class Memory:
    """Of `files` short files (None: not measured), and of one sound each, by its hours."""

    files: Held | None
    hours: dict[float, Held]


def measured(options: list[str], files: int, hours: tuple[float, ...], tell: Callable[[str], None]) -> Memory:
    """`options` are those of `eranntag predict`. UsageError where the system does not tell, EranntagError when it fails."""
    if not Path("/proc/self/status").exists():
        raise UsageError("bench memory reads /proc, which only Linux has; run it there")
    with tempfile.TemporaryDirectory(prefix="eranntag-") as name:
        folder = Path(name)
        many = None
        if files:
            tell(f"{files} files")
            sound = _many(folder / "many", files)
            many = _held(["--format", "jsonl", *options, str(folder / "many")], sound, files)
        long = {}
        for each in hours:
            tell(f"{each:g} h")
            long[each] = _held(["--format", "jsonl", *options, str(_long(folder / "long.flac", each))], each * 3600, 1)
        return Memory(many, long)


def _noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1000, int(seconds * RATE)).astype(np.int16)


def _many(folder: Path, files: int) -> float:
    """Seconds of sound in them."""
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


def _long(path: Path, hours: float) -> Path:
    block = _noise(BLOCK_SECONDS, 0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(round(hours * 3600 / BLOCK_SECONDS)):
            file.write(block)
    return path


def _held(words: list[str], sound_seconds: float, files: int) -> Held:
    """Of one `eranntag predict`, asked twenty times on its way and, as its results come, at the end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(eranntag.__file__).parents[1]), *sys.path))}
    started, at, peak = time.perf_counter(), [], 0
    command = [sys.executable, "-m", "eranntag", "predict", *words]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        for done, line in enumerate(process.stdout, 1):
            json.loads(line)
            if done % max(1, files // 20) == 0:
                now, highest = _memory(process.pid)
                at, peak = [*at, (done, now)], max(peak, highest)
    if process.returncode or not at:
        raise EranntagError(f"`eranntag predict {' '.join(words)}` failed with exit code {process.returncode}; see above")
    return Held(tuple(at), peak, time.perf_counter() - started, sound_seconds)


def _memory(pid: int) -> tuple[int, int]:
    """Bytes in RAM now, and the most so far; zeros when the process has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        lines = []
    held = {name: 1024 * int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if name in _HELD}
    return held.get("VmRSS", 0), held.get("VmHWM", 0)
