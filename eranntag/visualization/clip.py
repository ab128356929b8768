"""A figure of one sound: its spectrogram, and above it the scores and events in time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eranntag.results.formats import clock
from eranntag.visualization.figures import COLORS, MAP, drawing, literal, png, write
from eranntag.visualization.preview import ClipPreview
from eranntag.visualization.spectrogram import FLOOR, band_edges_hz
from eranntag.visualization.ticks import CLOCK_SECONDS, duration, octave_ticks, time_ticks
from eranntag.visualization.timeline import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DEPTH_DB = 80  # below the loudest the color is that of silence
HEAT = "Blues"  # white is a score of 0
TICKS = 12  # of the time axis, at most


def draw(view: View, preview: ClipPreview, path: Path) -> None:
    """Write the figure to `path` (.png)."""
    with drawing() as new_figure:
        write(path, png(_figure(new_figure, view, preview)))


def _figure(new_figure: type[Figure], view: View, preview: ClipPreview) -> Figure:
    """Return the figure: two panels that share the time axis, each with a color bar."""
    lanes = len(view.labels)
    heights = (0.24 * lanes + 0.1, 2.6)  # inches
    figure = new_figure(figsize=(10, sum(heights) + 1.3), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=heights, width_ratios=(50, 1))
    below = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=below)
    heat = _timeline(above, view)
    loudness = _spectrogram(below, preview, view.prediction.seconds)
    figure.colorbar(heat, cax=figure.add_subplot(grid[0, 1]), label="score", ticks=(0, 0.5, 1))
    figure.colorbar(loudness, cax=figure.add_subplot(grid[1, 1]), label="dB below the loudest")
    _title(figure, view)
    return figure


def _title(figure: Figure, view: View) -> None:
    count = len(view.detection.events)
    hidden = len({event.label for event in view.detection.events} - {*view.labels})
    length = duration(view.prediction.seconds, decimals=2)
    about = f"{length}, {view.prediction.checkpoint}, {count or 'no'} event{'s' * (count != 1)}"
    about += f", of which those of {hidden} more label{'s' * (hidden != 1)} have no room" if hidden else ""
    name = os.path.basename(view.prediction.source) or "clip"
    figure.suptitle(f"{literal(name, 90)}\n{literal(about, 120)}", fontsize=10)


def _timeline(axes: Axes, view: View) -> AxesImage:
    """Draw a lane for each label, the best on top: its score in time, and its events in the lower half of the lane."""
    seconds, lanes = view.prediction.seconds, len(view.labels)
    image = axes.imshow(
        view.lanes, cmap=HEAT, vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=(0, seconds, lanes - 0.5, -0.5)
    )
    for event in view.detection.events:
        if event.label in view.labels:
            lane = view.labels.index(event.label)
            span = [(event.onset, max(event.offset - event.onset, seconds / 500))]
            axes.broken_barh(span, (lane + 0.02, 0.4), facecolor=COLORS[4], edgecolor="black", linewidth=0.9)
    scores = dict(zip(view.prediction.labels, view.prediction.scores, strict=True))
    axes.set_yticks(range(lanes), [f"{literal(label, 28)}  {scores[label]:.3f}" for label in view.labels], fontsize=8)
    axes.set_yticks(np.arange(1, lanes) - 0.5, minor=True)
    axes.grid(axis="y", which="minor", color="0.8", linewidth=0.6)
    axes.tick_params(which="both", left=False, labelbottom=False)
    axes.text(-0.012, 1.02, "score of the clip", transform=axes.transAxes, ha="right", va="bottom", fontsize=7, color="0.35")
    return image


def _spectrogram(axes: Axes, preview: ClipPreview, seconds: float) -> AxesImage:
    bands = len(preview.mel)
    loudest = max(float(preview.mel.max()), 10 * np.log10(FLOOR) + DEPTH_DB)  # near silence stays dark
    image = axes.imshow(
        preview.mel - loudest, cmap=MAP, vmin=-DEPTH_DB, vmax=0, aspect="auto", origin="lower", extent=(0, seconds, 0, bands)
    )
    axes.set_yticks(*octave_ticks(band_edges_hz(preview.highest_hz)))
    axes.set(ylabel="frequency (mel scale)", xlim=(0, seconds))
    time_axis(axes, seconds)
    return image


def time_axis(axes: Axes, seconds: float) -> None:
    """Put ticks and a label on the horizontal axis, which goes from 0 to `seconds`."""
    ticks = time_ticks(seconds, TICKS)
    if seconds > CLOCK_SECONDS:
        axes.set_xticks(ticks, [clock(tick) for tick in ticks])
        axes.set_xlabel("time")
    else:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel("time (s)")
