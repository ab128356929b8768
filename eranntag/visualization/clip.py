"""One sound: its spectrogram, above it what the network hears when."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eranntag.results.formats import clock
from eranntag.visualization.figures import COLOURS, MAP, drawing, literal, png, write
from eranntag.visualization.spectrogram import FLOOR, band_edges_hz
from eranntag.visualization.timeline import Sight, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEPTH_DB = 80  # what is so far below the loudest is as dark as silence
HEAT = "Blues"  # white where a label does not sound
OCTAVES_HZ = tuple(16000 / 2**octave for octave in range(13))
TIME_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
TICKS = 12  # of the time, at most
MINUTES = 90  # seconds from which times are told as 1:30


def draw(view: View, sight: Sight, path: Path) -> None:
    """Write the figure (.png)."""
    with drawing() as new_figure:
        write(path, png(_figure(new_figure, view, sight)))


def _figure(new_figure: type[Figure], view: View, sight: Sight) -> Figure:
    """Both share the axis of time; beside each what its colours mean."""
    lanes = len(view.labels)
    heights = (0.24 * lanes + 0.1, 2.6)  # inches
    figure = new_figure(figsize=(10, sum(heights) + 1.3), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=heights, width_ratios=(50, 1))
    below = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=below)
    heat, loudness = _timeline(above, view), _spectrogram(below, sight, view.prediction.seconds)
    figure.colorbar(heat, cax=figure.add_subplot(grid[0, 1]), label="score", ticks=(0, 0.5, 1))
    figure.colorbar(loudness, cax=figure.add_subplot(grid[1, 1]), label="dB below the loudest")
    _title(figure, view)
    return figure


def _title(figure: Figure, view: View) -> None:
    count = len(view.detection.events)
    hidden = len({event.label for event in view.detection.events} - {*view.labels})
    about = f"{length(view.prediction.seconds)}, {view.prediction.checkpoint}, {count or 'no'} event{'s' * (count != 1)}"
    about += f", of which those of {hidden} more label{'s' * (hidden != 1)} have no room" if hidden else ""
    name = os.path.basename(view.prediction.source) or "clip"
    figure.suptitle(f"{literal(name, 90)}\n{literal(about, 120)}", fontsize=10)


def _timeline(axes: Axes, view: View) -> object:
    """A lane for each label, the best on top: its score in time, and in the lower half of the lane its events."""
    seconds, lanes = view.prediction.seconds, len(view.labels)
    image = axes.imshow(
        view.lanes, cmap=HEAT, vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=(0, seconds, lanes - 0.5, -0.5)
    )
    for event in view.detection.events:
        if event.label in view.labels:
            lane = view.labels.index(event.label)
            span = [(event.onset, max(event.offset - event.onset, seconds / 500))]
            axes.broken_barh(span, (lane + 0.02, 0.4), facecolor=COLOURS[4], edgecolor="black", linewidth=0.9)
    scores = dict(zip(view.prediction.labels, view.prediction.scores, strict=True))
    axes.set_yticks(range(lanes), [f"{literal(label, 28)}  {scores[label]:.3f}" for label in view.labels], fontsize=8)
    axes.set_yticks(np.arange(1, lanes) - 0.5, minor=True)
    axes.grid(axis="y", which="minor", color="0.8", linewidth=0.6)
    axes.tick_params(which="both", left=False, labelbottom=False)
    axes.text(-0.012, 1.02, "score of the clip", transform=axes.transAxes, ha="right", va="bottom", fontsize=7, color="0.35")
    return image


def _spectrogram(axes: Axes, sight: Sight, seconds: float) -> object:
    bands = len(sight.image)
    loudest = max(float(sight.image.max()), 10 * np.log10(FLOOR) + DEPTH_DB)  # what is nearly silent stays dark
    image = axes.imshow(
        sight.image - loudest, cmap=MAP, vmin=-DEPTH_DB, vmax=0, aspect="auto", origin="lower", extent=(0, seconds, 0, bands)
    )
    axes.set_yticks(*hz_ticks(band_edges_hz(sight.highest_hz)))
    axes.set(ylabel="frequency (mel scale)", xlim=(0, seconds))
    time_axis(axes, seconds)
    return image


def hz_ticks(edges: np.ndarray) -> tuple[list[float], list[str]]:
    """Where octaves lie on an axis from 0 to the number of mel bands, which have these `edges` in Hz, and how they are told."""
    middles = edges[1:-1]
    places: dict[float, float] = {}
    for hz in OCTAVES_HZ:
        place = float(np.interp(hz, middles, np.arange(len(middles)) + 0.5))
        if middles[0] <= hz <= middles[-1] and place + len(middles) / 20 < min(places.values(), default=np.inf):
            places[hz] = place
    return list(places.values()), [f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz:g} Hz" for hz in places]


def time_axis(axes: Axes, seconds: float) -> None:
    step = next((step for step in TIME_STEPS if seconds <= TICKS * step), 3600 * -(-seconds // (3600 * TICKS)))
    ticks = np.arange(0, seconds * (1 + 1e-9), step)
    axes.set_xticks(ticks, [clock(tick) if seconds > MINUTES else f"{tick:g}" for tick in ticks])
    axes.set_xlabel("time" if seconds > MINUTES else "time (s)")


def length(seconds: float) -> str:
    return clock(seconds) if seconds > MINUTES else f"{seconds:.2f} s" if seconds >= 1 else f"{seconds:.3g} s"
