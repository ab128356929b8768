"""What is to be measured, and how long."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """`batches` of clips of `seconds`; `clips` files a pass from end to end; about `budget` seconds for each measurement;
    `cold_runs` starts of fresh processes (0: none, and so no memory either)."""

    batches: tuple[int, ...] = (1, 32)
    seconds: float = 10.0
    clips: int = 64
    engine: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    budget: float = 5.0
    cold_runs: int = 5
