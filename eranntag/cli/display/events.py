"""Events of sounds, as a table for people or in one of the formats of `eranntag.results.event_formats`."""

from contextlib import AbstractContextManager
from typing import Any

from eranntag.cli.display import documents, predictions
from eranntag.results.event_formats import FORMATS, SUFFIXES
from eranntag.results.formats import encoded, printable
from eranntag.results.resumable_file import ResumableFile
from eranntag.results.resumable_folder import ResumableFolder


class Table(predictions.Tags):
    """The style "table": the file's name, then a line for each event: onset, offset (seconds), score, label."""

    def __init__(self, color: bool = False) -> None:
        super().__init__(None, 0.0, color)

    def record(self, detection: Any) -> str:
        text = predictions.heading(detection)
        for event in detection.events:
            text.append(f"  {event.onset:8.2f} {event.offset:8.2f}  ")
            text.append(f"{event.score:.3f}  ", "cyan")
            text.append(f"{printable(event.label)}\n")
        if not detection.events:
            text.append("  no event\n", "dim")
        return self.render(text)


def style(form: str, color: bool = False) -> Any:
    """Return the style of `form`, "table" or one of FORMATS."""
    return Table(color) if form == "table" else FORMATS[form]()


def document(form: str, output: ResumableFile | None, ignore_closed_pipe: bool = False) -> Any:
    """Return the `documents.document` of Detections."""
    return documents.document(style(form, color=output is None), output, ignore_closed_pipe)


def folder(form: str, place: ResumableFolder) -> AbstractContextManager[documents.Show]:
    """Return the `documents.folder` of Detections, with a file for each sound."""

    def content(detection: Any) -> bytes:
        one = style(form)
        return encoded(one.start() + one.record(detection) + one.finish(True))

    return documents.folder(place, SUFFIXES.get(form, ".txt"), content)
