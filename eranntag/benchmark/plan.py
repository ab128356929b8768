"""The settings of a benchmark."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The settings of a benchmark.

    `batches` are batch sizes, of clips of `seconds`; `clips` is the number of files per end-to-end pass; each measurement takes
    about `budget` seconds; `cold_runs` processes are started (0 also skips the memory measurement).
    """

    batches: tuple[int, ...] = (1, 32)
    seconds: float = 10.0
    clips: int = 64
    engine: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    budget: float = 5.0
    cold_runs: int = 5
