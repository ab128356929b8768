"""The attention of 2APAE in one window of a sound: the seven panels of Figure 3 of Deshmukh, Raj, Singh, "Multi-Task Learning
for Interpretable Weakly Labelled Sound Event Detection"."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from eranntag.audio import reader
from eranntag.audio.filterbanks import mel_edges
from eranntag.types import Checkpoint, Prediction
from eranntag.visualization.clip import time_axis
from eranntag.visualization.figures import COLORS, MAP, drawing, literal, png, write
from eranntag.visualization.ticks import duration, octave_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from eranntag.inference.network import Network
    from eranntag.models.apae import Explanation

SHOWN = 50  # the most probable classes
ATTENDED = 2  # of these, those whose attention to frequencies is shown


def has_attention(checkpoint: Checkpoint) -> bool:
    """Return whether the network is 2APAE, with two steps of attention and a decoder, and not one of its baselines."""
    return checkpoint.family == "apae" and str(checkpoint.model.get("pooling", "two-step")).startswith("two-step")


def draw(network: Network, prediction: Prediction, path: Path) -> None:
    """Write the figure of the file `prediction.source` to `path` (.png). Raises AudioError when it cannot be read."""
    explanation = explain(network, prediction.source)
    with drawing() as new_figure:
        write(path, png(_figure(new_figure, network, explanation, prediction)))


def explain(network: Network, source: str) -> Explanation:
    """Return the Explanation of the first window of the file `source`."""
    import torch

    config = network.frontend.config
    frames = network.model.config.frames
    samples = _beginning(source, config.sample_rate_hz, _window_seconds(network) + 1)  # more than the window
    waveform = np.zeros(config.padded_samples(len(samples), network.model.frame_multiple), np.float32)
    waveform[: len(samples)] = samples
    with torch.inference_mode():
        explanation: Explanation = network.model.explain(network.frontend(torch.from_numpy(waveform)[None])[..., :frames])
    return explanation


def _beginning(source: str, rate: int, seconds: float) -> np.ndarray:
    beginning = np.zeros(0, np.float32)
    samples = round(seconds * rate)
    for block in reader.mono_blocks(reader.open_stream(source), rate):
        beginning = np.concatenate([beginning, block])
        if len(beginning) >= samples:
            break
    return beginning[:samples]


def _window_seconds(network: Network) -> float:
    """Return the length of a window."""
    config = network.frontend.config
    return float(network.model.config.frames * config.hop_samples / config.sample_rate_hz)


def _figure(new_figure: type[Figure], network: Network, explained: Explanation, prediction: Prediction) -> Figure:
    """Return the figure: panels over frequencies above, panels over classes below."""
    best = _best(explained, [network.checkpoint.labels.index(label) for label in prediction.labels])
    heights = (5.4, 0.13 * min(SHOWN, len(best)) + 1.2)  # inches
    figure = new_figure(figsize=(13, sum(heights)), layout="constrained")
    figure.suptitle(_title(network, prediction), fontsize=10)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    window = _window_seconds(network)
    for axes in (*_frequencies(above, network, explained, best), *_classes(below, network, explained, best)):
        time_axis(axes, window)
        if prediction.seconds < window:
            axes.axvline(prediction.seconds, color="white", linestyle="--", linewidth=1)
    return figure


def _title(network: Network, prediction: Prediction) -> str:
    window = _window_seconds(network)
    shown, length = duration(window, decimals=2), duration(prediction.seconds, decimals=2)
    if prediction.seconds > window:
        part = f"the first {shown} of {length}"
    elif prediction.seconds < window:
        part = f"{length} and, behind the dashed line, the silence up to {shown}"
    else:
        part = "the window"
    name = os.path.basename(prediction.source)
    return f"{literal(name, 90)}\n{literal(f'{part}, {network.checkpoint.name}', 120)}"


def _frequencies(figure: SubFigure, network: Network, explained: Explanation, best: np.ndarray) -> list[Axes]:
    """Draw the standardized image, the output of the decoder, and A1 of the most probable classes."""
    steps, labels = explained.steps, network.checkpoint.labels
    panels = [("input: standardized image", explained.image[0, 0]), ("output of the decoder", explained.reconstruction[0, 0])]
    for index in best[:ATTENDED]:
        title = f"A1, attention to frequencies: {literal(labels[index])} ({steps.clip_scores[0, index]:.3f})"
        panels.append((title, steps.frequency_attention[0, index]))
    grid = list(figure.subplots(2, 2, sharey=True).flat)
    for axes in grid[len(panels) :]:
        axes.remove()  # a network of one class
    drawn = []
    for axes, (title, values) in zip(grid[: len(panels)], panels, strict=True):
        _panel(axes, values.numpy(), title, (0, _window_seconds(network), 0, len(values)), origin="lower")
        config = network.frontend.config
        if getattr(config, "n_mels", 0) == len(values):
            axes.set_yticks(*octave_ticks(mel_edges(len(values), config.fmin_hz, config.fmax_hz)))
        drawn.append(axes)
    return drawn


def _classes(figure: SubFigure, network: Network, explained: Explanation, best: np.ndarray) -> list[Axes]:
    """Draw Z_p1 and A2 in time, and Z_p2, of SHOWN classes in the order of the labels."""
    steps, shown = explained.steps, np.sort(best[:SHOWN])
    frames, attention, clip = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1, 0.5))
    extent = (0, _window_seconds(network), len(shown), 0)
    _panel(frames, steps.frame_scores[0].numpy()[shown], "Z_p1, classes in time", extent)
    _panel(attention, steps.time_attention[0].numpy()[shown], "A2, attention to time", extent)
    scores = steps.clip_scores[0].numpy()[shown]
    places = np.arange(len(shown)) + 0.5
    clip.barh(places, scores, color=COLORS[0])
    clip.set_title("Z_p2, classes of the window", fontsize=9)
    clip.set(xlabel="score", xlim=(min(0, scores.min()), max(1, scores.max())))  # the paper's equations give no bounds
    frames.set_yticks(places, [literal(network.checkpoint.labels[index], 24) for index in shown], fontsize=7)
    return [frames, attention]


def _best(explained: Explanation, classes: list[int]) -> np.ndarray:
    """Return `classes` in the order of their scores, the highest first."""
    scores = explained.steps.clip_scores[0].numpy()[classes]
    return np.array(classes)[(-scores).argsort(kind="stable")]


def _panel(
    axes: Axes,
    values: np.ndarray,
    title: str,
    extent: tuple[float, float, float, float],
    origin: Literal["upper", "lower"] = "upper",
) -> None:
    image = axes.imshow(values, cmap=MAP, aspect="auto", interpolation="nearest", extent=extent, origin=origin)
    axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.01, aspect=30)
    axes.set_title(title, fontsize=9)
