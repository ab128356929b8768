"""Why 2APAE says what it says: the seven panels of Figure 3 of Deshmukh, Raj, Singh, "Multi-Task Learning for Interpretable
Weakly Labelled Sound Event Detection", for one window of a sound."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eranntag.audio import reader
from eranntag.audio.filterbanks import mel_edges
from eranntag.types import Checkpoint, Prediction
from eranntag.visualization.clip import hz_ticks, length, time_axis
from eranntag.visualization.figures import COLOURS, MAP, drawing, literal, png, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from eranntag.inference.network import Network
    from eranntag.models.apae import Explanation

SHOWN = 50  # classes that there is room for: the most probable
ATTENDED = 2  # classes whose attention to frequencies is shown


def has(checkpoint: Checkpoint) -> bool:
    """Whether its network has two steps of attention and a decoder, as 2APAE and not what it is compared with."""
    return checkpoint.family == "apae" and str(checkpoint.model.get("pooling", "two-step")).startswith("two-step")


def draw(network: Network, prediction: Prediction, path: Path) -> None:
    """Write the figure (.png) of the file `prediction.source`. Raises AudioError when it cannot be read."""
    explanation = explain(network, prediction.source)
    with drawing() as new_figure:
        write(path, png(_figure(new_figure, network, explanation, prediction)))


def explain(network: Network, source: str) -> Explanation:
    """Of the first window of a file."""
    import torch

    config, frames = network.frontend.config, network.model.config.frames
    samples = _beginning(source, config.sample_rate_hz, _seconds(network) + 1)  # more than the window sees
    waveform = np.zeros(config.padded_samples(len(samples), network.model.frame_multiple), np.float32)
    waveform[: len(samples)] = samples
    with torch.inference_mode():
        explanation: Explanation = network.model.explain(network.frontend(torch.from_numpy(waveform)[None])[..., :frames])
    return explanation


def _beginning(source: str, rate: int, seconds: float) -> np.ndarray:
    beginning, wanted = np.zeros(0, np.float32), round(seconds * rate)
    for block in reader.mono_blocks(reader.open_stream(source), rate):
        beginning = np.concatenate([beginning, block])
        if len(beginning) >= wanted:
            break
    return beginning[:wanted]


def _seconds(network: Network) -> float:
    """Of a window."""
    config = network.frontend.config
    return float(network.model.config.frames * config.hop_samples / config.sample_rate_hz)


def _figure(new_figure: type[Figure], network: Network, explained: Explanation, prediction: Prediction) -> Figure:
    """Above what is about frequencies, below what is about classes."""
    best = _best(explained, [network.checkpoint.labels.index(label) for label in prediction.labels])
    heights = (5.4, 0.13 * min(SHOWN, len(best)) + 1.2)  # inches
    figure = new_figure(figsize=(13, sum(heights)), layout="constrained")
    figure.suptitle(_title(network, prediction), fontsize=10)
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    window, heard = _seconds(network), min(prediction.seconds, _seconds(network))
    for axes in (*_frequencies(above, network, explained, best), *_classes(below, network, explained, best)):
        time_axis(axes, window)
        if heard < window:
            axes.axvline(heard, color="white", linestyle="--", linewidth=1)
    return figure


def _title(network: Network, prediction: Prediction) -> str:
    window, name = _seconds(network), os.path.basename(prediction.source)
    part = f"the first {length(window)} of {length(prediction.seconds)}" if prediction.seconds > window else "the window"
    if prediction.seconds < window:
        part = f"{length(prediction.seconds)} and, behind the dashed line, the silence up to {length(window)}"
    return f"{literal(name, 90)}\n{literal(f'{part}, {network.checkpoint.name}', 120)}"


def _frequencies(figure: SubFigure, network: Network, explained: Explanation, best: np.ndarray) -> list[Axes]:
    """The standardized image, what the decoder makes of it, and A1 of the most probable classes."""
    steps, labels = explained.steps, network.checkpoint.labels
    panels = [("input: standardized image", explained.image[0, 0]), ("output of the decoder", explained.reconstruction[0, 0])]
    for index in best[:ATTENDED]:
        title = f"A1, attention to frequencies: {literal(labels[index])} ({steps.clip_scores[0, index]:.3f})"
        panels.append((title, steps.frequency_attention[0, index]))
    grid = list(figure.subplots(2, 2, sharey=True).flat)
    for axes in grid[len(panels) :]:
        axes.remove()  # of one class
    drawn = []
    for axes, (title, values) in zip(grid[: len(panels)], panels, strict=True):
        _panel(axes, values.numpy(), title, (0, _seconds(network), 0, len(values)), origin="lower")
        config = network.frontend.config
        if getattr(config, "n_mels", 0) == len(values):
            axes.set_yticks(*hz_ticks(mel_edges(len(values), config.fmin_hz, config.fmax_hz)))
        drawn.append(axes)
    return drawn


def _classes(figure: SubFigure, network: Network, explained: Explanation, best: np.ndarray) -> list[Axes]:
    """Z_p1 and A2 in time, and Z_p2; of SHOWN classes, in the order of the labels."""
    steps, shown = explained.steps, np.sort(best[:SHOWN])
    frames, attention, clip = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1, 0.5))
    extent = (0, _seconds(network), len(shown), 0)
    _panel(frames, steps.frame_scores[0].numpy()[shown], "Z_p1, classes in time", extent)
    _panel(attention, steps.time_attention[0].numpy()[shown], "A2, attention to time", extent)
    said, places = steps.clip_scores[0].numpy()[shown], np.arange(len(shown)) + 0.5
    clip.barh(places, said, color=COLOURS[0])
    clip.set_title("Z_p2, classes of the window", fontsize=9)
    clip.set(xlabel="score", xlim=(min(0, said.min()), max(1, said.max())))  # the printed equations' have no bounds
    frames.set_yticks(places, [literal(network.checkpoint.labels[index], 24) for index in shown], fontsize=7)
    return [frames, attention]


def _best(explained: Explanation, classes: list[int]) -> np.ndarray:
    """Those of `classes`, the most probable first."""
    scores = explained.steps.clip_scores[0].numpy()[classes]
    return np.array(classes)[(-scores).argsort(kind="stable")]


def _panel(axes: Axes, values: np.ndarray, title: str, extent: tuple[float, ...], origin: str = "upper") -> None:
    image = axes.imshow(values, cmap=MAP, aspect="auto", interpolation="nearest", extent=extent, origin=origin)
    axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.01, aspect=30)
    axes.set_title(title, fontsize=9)
