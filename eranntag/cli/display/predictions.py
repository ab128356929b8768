"""Predictions for people, on standard output, or in one of the formats of `eranntag.results.formats`."""

import sys
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from rich.console import Console
from rich.text import Text

from eranntag.cli.display import documents
from eranntag.results.formats import FORMATS, printable
from eranntag.results.resumable_file import ResumableFile
from eranntag.types import Prediction


def document(
    form: str, output: ResumableFile | None, top: int | None, threshold: float, ignore_closed_pipe: bool = False
) -> AbstractContextManager[documents.Show]:
    """Return the `documents.document` of predictions, with the `top` tags of each that reach `threshold`."""
    style = FORMATS[form](top, threshold) if form in FORMATS else Tags(top, threshold, color=output is None)
    return documents.document(style, output, ignore_closed_pipe)


class Tags:
    """The style "table": the file's name, then a line for each tag."""

    for_terminals: ClassVar[bool] = True  # the text may hold colors, and is escaped already

    def __init__(self, top: int | None, threshold: float, color: bool) -> None:
        self.top, self.threshold = top, threshold
        self.console = Console(soft_wrap=True, highlight=False) if color else Console(file=sys.stderr, color_system=None)

    def start(self) -> str:
        return ""

    def record(self, prediction: Prediction) -> str:
        text = heading(prediction)
        tags = prediction.top(self.top, self.threshold)
        for tag in tags:
            text.append(f"  {tag.score:.3f}  ", "cyan")
            text.append(f"{printable(tag.label)}\n")
        if not tags:
            text.append("  no tag reaches the threshold\n", "dim")
        return self.render(text)

    def render(self, text: Text) -> str:
        """Return `text` with the escape sequences of its colors."""
        with self.console.capture() as captured:
            self.console.print(text, end="", soft_wrap=True)
        return captured.get()

    def finish(self, complete: bool) -> str:
        return ""


def heading(result: Any) -> Text:
    """Return the line with the name and length of the sound."""
    return Text.assemble((printable(result.source or "clip"), "bold"), (f"  {result.seconds:.1f} s\n", "dim"))
