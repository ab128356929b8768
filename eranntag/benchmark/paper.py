"""The speeds that are published, in clips a second on one NVIDIA V100 with 10-s (AudioSet) and 5-s (ESC-50) clips.

ERANN v2, Tables 4 and 6.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Speeds:
    """None where the table has no such row; 0 where the paper ran out of memory."""

    audioset_batch_1: int | None = None
    audioset_batch_32: int | None = None
    esc50_batch_32: int | None = None


V100 = {
    "erann-0-3": Speeds(None, None, 421),
    "erann-1-3": Speeds(None, None, 583),
    "erann-0-4": Speeds(None, None, 300),
    "erann-1-4": Speeds(None, None, 428),
    "erann-2-4": Speeds(137, 246, 482),
    "erann-2-5": Speeds(96, 149, 294),
    "erann-0-6": Speeds(53, 74, 150),
    "erann-1-6": Speeds(71, 108, 218),
    "erann-2-6": Speeds(82, 124, 245),
    "erann-3-6": Speeds(79, 128, None),
    "AST": Speeds(49, 0, 176),
}
