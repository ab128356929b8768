"""A Scorer for test_jobs whose processes start fast: a sound is its name, and some names do harm."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eranntag.errors import AudioError, EranntagError
from eranntag.inference.prepared import LongAudio, PreparedClip


@dataclass(frozen=True)
class Heeded:
    """A result: the name, and which process heard it on which processors."""

    source: str
    pid: int
    processors: tuple[int, ...]


class Ear:
    batch, parallel = 2, 1

    def prepare_source(self, source: Any, name: str = "") -> PreparedClip:
        if "segv" in source:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "exit" in source:
            os._exit(7)
        if "signals" in source:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        if "slow" in source:
            time.sleep(0.5)
        if "broken" in source:
            raise AudioError(f"{source}: damaged")
        return PreparedClip(source, 1.0, np.zeros(4, np.float32))

    def scores(self, prepared: np.ndarray) -> Sequence[Any]:
        return list(prepared)

    def prediction(self, scores: Any, seconds: float, source: str) -> Heeded:
        return Heeded(source, os.getpid(), tuple(sorted(os.sched_getaffinity(0))))

    def predict_long(self, audio: LongAudio) -> Heeded:
        return self.prediction(None, audio.seconds, audio.source)


def fails() -> Ear:
    raise EranntagError("no such checkpoint")


def has_no_room() -> Ear:
    raise OSError(28, "No space left on device")


def dies() -> Ear:
    os._exit(9)


def note(folder: str) -> Ear:
    """An Ear whose process says in `folder` that it lives."""
    Path(folder, str(os.getpid())).touch()
    return Ear()
