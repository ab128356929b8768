"""Ticks of axes: round times, and octaves on a mel scale."""

import numpy as np

from eranntag.results.formats import clock

STEPS_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
OCTAVES_HZ = tuple(16000 / 2**octave for octave in range(13))
CLOCK_SECONDS = 60  # from which on times are shown as 1:05


def time_ticks(seconds: float, most: int) -> list[float]:
    """Return up to `most` + 1 round times from 0 to `seconds`."""
    whole_hours = 3600 * (1 + seconds // (3600 * most))
    step = next((step for step in STEPS_SECONDS if seconds <= most * step), whole_hours)
    return [index * step for index in range(int(seconds / step * (1 + 1e-9)) + 1)]


def duration(seconds: float, decimals: int = 1) -> str:
    """Return a length of time, as in 0.25 s, 5.0 s, 1:05 or 2:01:05."""
    if seconds >= CLOCK_SECONDS:
        return clock(seconds)
    return f"{seconds:.{decimals}f} s" if seconds >= 1 else f"{seconds:.3g} s"


def octave_ticks(edges_hz: np.ndarray) -> tuple[list[float], list[str]]:
    """Return where octaves lie on an axis from 0 to the number of mel bands with these edges, and their labels."""
    centers = edges_hz[1:-1]
    places: dict[float, float] = {}
    for hz in OCTAVES_HZ:
        place = float(np.interp(hz, centers, np.arange(len(centers)) + 0.5))
        if centers[0] <= hz <= centers[-1] and place + len(centers) / 20 < min(places.values(), default=np.inf):
            places[hz] = place
    return list(places.values()), [f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz:g} Hz" for hz in places]
