"""A sound as a row of the page: static HTML in which names and labels are escaped."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from eranntag.inference.sources import STDIN
from eranntag.results.formats import clock, printable
from eranntag.types import Event
from eranntag.visualization.gallery import thumbnail
from eranntag.visualization.ticks import CLOCK_SECONDS, duration, time_ticks

if TYPE_CHECKING:
    import numpy as np

    from eranntag.visualization.preview import ClipPreview
    from eranntag.visualization.timeline import View

TAGS = 5
TICKS = 8  # of a time axis, at most
LANE_SCORE = 0.2  # a label without an event has a lane if its score in time reaches this
Color = Callable[[str], str]  # label -> CSS classes

ROW = """\
<tr role="row" data-seconds="{seconds}" data-score="{score}" data-events="{events}">
<th role="rowheader" scope="row" class="file" title="{path}">{heading}</th>
<td role="cell" class="seconds">{clock}</td>
<td role="cell" class="tags">{tags}</td>
<td role="cell" class="scores">{bars}</td>
<td role="cell" class="events">{count}</td>
<td role="cell" class="labels">{labels}</td>
<td role="cell" class="picture">{sound}<div class="track">
<img class="mel" alt="spectrogram of {name}; Enter plays" tabindex="0" role="button" decoding="async" src="{image}">
<div class="hz"><span>{highest}</span><span>0</span></div>
{lanes}
<div class="axis">{axis}</div></div></td>
</tr>
"""


def row(view: View, preview: ClipPreview, folder: Path, color: Color) -> str:
    """Return the HTML of the row of one sound, on a page in `folder`."""
    prediction, events = view.prediction, view.detection.events
    tags = prediction.top(TAGS)
    name = _name(prediction.source)
    labels = dict.fromkeys(event.label for event in events)
    link = "" if preview.mp3 else _url(prediction.source, folder)
    return ROW.format(
        seconds=f"{prediction.seconds:.6f}",
        score=f"{tags[0].score:.6f}" if tags else "",
        events=len(events),
        path=escape(prediction.source),
        heading=_heading(name, link, embedded=bool(preview.mp3)),
        name=name,
        clock=duration(prediction.seconds),
        tags="".join(f"<span>{escape(tag.label)}</span>" for tag in tags),
        bars="".join(f'<span style="--score:{tag.score:.3f}">{tag.score:.3f}</span>' for tag in tags),
        count=f"{len(events)} event{'s' * (len(events) != 1)}",
        labels=", ".join(map(escape, labels)),
        sound=_sound(f"data:audio/mpeg;base64,{_base64(preview.mp3)}" if preview.mp3 else link),
        image=_data(thumbnail.spectrogram(preview.mel)),
        highest=f"{preview.highest_hz / 1000:.2g} kHz",
        lanes="\n".join(_lanes(view, color)),
        axis=_axis(prediction.seconds),
    )


def _heading(name: str, link: str, embedded: bool) -> str:
    if link:
        return f'<a class="name" href="{link}">{name}</a> <small>linked, not embedded</small>'
    return f'<span class="name">{name}</span>{"" if embedded else " <small>without its sound</small>"}'


def _sound(url: str) -> str:
    """Return a player for browsers without scripts: hundreds of players would be slow, and the script needs only one."""
    return f'<noscript><audio controls preload="none" src="{url}"></audio></noscript>' if url else ""


def _lanes(view: View, color: Color) -> list[str]:
    """Return a lane for each label that has an event or a score of LANE_SCORE, in the order of `view.labels`."""
    events: dict[str, list[Event]] = {}
    for event in view.detection.events:
        events.setdefault(event.label, []).append(event)
    scores = {label: lane for label, lane in zip(view.labels, view.lanes, strict=True) if lane.size}
    shown = [label for label, lane in scores.items() if label in events or lane.max() >= LANE_SCORE]
    labels = dict.fromkeys([*shown, *events])
    return [_lane(label, scores.get(label), events.get(label, []), view.prediction.seconds, color) for label in labels]


def _lane(label: str, scores: np.ndarray | None, events: list[Event], seconds: float, color: Color) -> str:
    heat = "" if scores is None else f'<img alt="" src="{_data(thumbnail.heat(scores))}">'
    classes = color(label) if events else ""
    bars = []
    for event in events:
        score = "" if event.score is None else f", score {event.score:.3f}"
        title = f"{escape(label)} {event.onset:.2f} to {event.offset:.2f} s{score}"
        place = f"left:{percent(event.onset, seconds)};width:{percent(event.offset - event.onset, seconds)}"
        bars.append(
            f'<i class="{classes}" style="{place}" data-at="{event.onset:.3f}" tabindex="0" role="button"'
            f' title="{title}" aria-label="{title}"></i>'
        )
    return f'<div class="lane"><b title="{escape(label)}">{escape(label)}</b><div>{heat}{"".join(bars)}</div></div>'


def _axis(seconds: float) -> str:
    return "".join(_tick(tick, seconds) for tick in time_ticks(seconds, TICKS))


def _tick(tick: float, seconds: float) -> str:
    text = f"{tick:g} s" if seconds < CLOCK_SECONDS else clock(tick)
    end = ' class="end"' if tick > 0.95 * seconds else ""  # no space on its right
    return f'<span{end} style="left:{percent(tick, seconds)}">{text}</span>'


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0:.3f}%"


def escape(text: str) -> str:
    return html.escape(printable(text))


def _name(source: str) -> str:
    return escape(os.path.basename(source) or source or "clip")


def _url(source: str, folder: Path) -> str:
    """Return the percent-encoded link from a page in `folder` to the sound's file; "" if there is no such file."""
    if source == STDIN or not os.path.isfile(source):
        return ""
    try:
        relative = Path(os.path.relpath(source, folder)).as_posix()
    except ValueError:  # another drive
        return Path(source).absolute().as_uri()
    return quote(os.fsencode(relative))


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{_base64(png)}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
