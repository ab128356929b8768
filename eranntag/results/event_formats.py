"""Formats of events: for programs (docs/output.md), and label tracks for audio editors.

Each format is a class as in `eranntag.results.formats`, with `record(detection)`. Those in ALONE hold the events of one sound.
"""

import html
from typing import Any

from eranntag.results import formats
from eranntag.results.formats import SCHEMA, described, guarded, named, printable

ALONE = ("audacity", "raven", "vtt")
SUFFIXES = {"json": ".json", "jsonl": ".jsonl", "csv": ".csv", "vtt": ".vtt"}  # of files in a folder; else .txt


class Jsonl(formats.Jsonl):
    """One object a line."""

    def __init__(self) -> None:
        super().__init__(None, 0.0)

    def record(self, detection: Any) -> str:
        return described({"schema": SCHEMA, **detection.to_dict()}) + "\n"


class Json(formats.Json):
    """One object: {"schema", "results": [...], "complete"}."""

    def __init__(self) -> None:
        super().__init__(None, 0.0)

    def record(self, detection: Any) -> str:
        self.count += 1
        return ("\n" if self.count == 1 else ",\n") + described(detection.to_dict())


class Csv(formats.Csv):
    """A row for each event: source, seconds, onset, offset, label, score, checkpoint. No event: no row."""

    def __init__(self) -> None:
        super().__init__(None, 0.0)

    def start(self) -> str:
        return self._line(["source", "seconds", "onset", "offset", "label", "score", "checkpoint"])

    def record(self, detection: Any) -> str:
        source, seconds, checkpoint = named(detection.source), round(detection.seconds, 6), detection.checkpoint
        rows = ((f"{each.onset:.6f}", f"{each.offset:.6f}", each.label, f"{each.score:.6f}") for each in detection.events)
        return "".join(self._line([source, seconds, *row, checkpoint]) for row in rows)


class Audacity:
    """A label track: onset, offset (seconds) and label, between tabs."""

    def start(self) -> str:
        return ""

    def record(self, detection: Any) -> str:
        return "".join(f"{each.onset:.6f}\t{each.offset:.6f}\t{printable(each.label)}\n" for each in detection.events)

    def finish(self, complete: bool) -> str:
        return ""


class Raven(Audacity):
    """A selection table over the frequencies of the network's input; its texts are guarded, as spreadsheets open it, too."""

    def start(self) -> str:
        times, frequencies = "Begin Time (s)\tEnd Time (s)", "Low Freq (Hz)\tHigh Freq (Hz)"
        return f"Selection\tView\tChannel\t{times}\t{frequencies}\tAnnotation\tScore\n"

    def record(self, detection: Any) -> str:
        return "".join(
            f"{number}\tSpectrogram 1\t1\t{each.onset:.6f}\t{each.offset:.6f}\t0\t{detection.nyquist_hz:g}\t"
            f"{printable(guarded(each.label))}\t{each.score:.6f}\n"
            for number, each in enumerate(detection.events, 1)
        )


class Vtt(Audacity):
    """WebVTT: subtitles for a player."""

    def start(self) -> str:
        return "WEBVTT\n"

    def record(self, detection: Any) -> str:
        return "".join(
            f"\n{_clock(each.onset)} --> {_clock(max(each.offset, each.onset + 0.001))}\n"
            f"{html.escape(printable(each.label), quote=False)}\n"
            for each in detection.events
        )


def _clock(seconds: float) -> str:
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds / 1000:06.3f}"


FORMATS: dict[str, Any] = {
    "json": Json,
    "jsonl": Jsonl,
    "csv": Csv,
    "audacity": Audacity,
    "raven": Raven,
    "vtt": Vtt,
}
