"""The option --plot: a figure of one sound, or a page of many, beside the unchanged results."""

import glob
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eranntag.cli._options.inputs import InputOptions
from eranntag.cli._options.output import OutputOptions
from eranntag.cli._options.tagger import TaggerOptions
from eranntag.cli._results import Document, counted
from eranntag.inference.sources import STDIN

if TYPE_CHECKING:
    from eranntag.inference.detector import Detector
    from eranntag.types import Checkpoint, Failure
    from eranntag.visualization.preview import ClipPreview
    from eranntag.visualization.timeline import View

    Draw = Callable[[View, ClipPreview], None]

OPTION = click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw a figure of one sound (.png), or write a page of all sounds (.html).",
)


def check(plot: Path, inputs: InputOptions, output: OutputOptions) -> None:
    """Raise UsageError for a picture that cannot be made of these inputs, before any work."""
    from eranntag.visualization import figures
    from eranntag.visualization.gallery import page

    paths = inputs.paths
    figures.check_file(plot, "--plot", (".png", ".html"))
    if STDIN in paths:
        raise click.UsageError("--plot reads each sound twice, which standard input cannot be; name a file")
    if output.resume:
        raise click.UsageError("--plot draws all sounds, and --resume leaves out those that are done; use one of the two")
    if plot.exists() and any(os.path.isfile(path) and plot.samefile(path) for path in paths):
        raise click.UsageError(f"--plot {plot}: is a sound to be tagged; it is not overwritten")
    if output.output and output.output.resolve() == plot.resolve():
        raise click.UsageError("--plot and --output must be two files")
    if _is_page(plot):
        page.check()
        return
    is_pattern = len(paths) == 1 and glob.has_magic(paths[0]) and not os.path.exists(paths[0])
    if len(paths) != 1 or inputs.files_from or os.path.isdir(paths[0]) or is_pattern:
        raise click.UsageError("a .png shows one sound; name FILE.html for a page of several")
    figures.check(plot, "--plot", (".png",))


def show_all(
    detector: "Detector",
    sources: Iterator[Any],
    document: Document,
    record: Callable[["View"], Any],
    plot: Path,
    options: TaggerOptions,
    command: str,
) -> None:
    """Write `record(view)` of every sound to `document`, and its picture to `plot`; set the exit code.

    No record waits for a picture. `command` is the command line, shown on a page.
    """
    from eranntag.inference import pipeline
    from eranntag.types import Failure
    from eranntag.visualization import preview, timeline

    viewer = timeline.Viewer(detector)
    picture = _page(plot, command) if _is_page(plot) else _figure(plot, detector.tagger.checkpoint, options)
    with closing(viewer), counted(document) as show, picture as draw:

        def recorded_views() -> Iterator["View"]:
            for result in pipeline.predict(viewer, sources, options.batch):
                if isinstance(result, Failure):
                    show(result)
                else:
                    show(record(result))
                    yield result

        for result in preview.iter_previews(recorded_views(), with_mp3=_is_page(plot)):
            failure = result if isinstance(result, Failure) else _draw(draw, *result)
            if failure:
                show(failure)


def _is_page(plot: Path) -> bool:
    return plot.suffix.lower() == ".html"


def _draw(draw: "Draw", view: "View", preview: "ClipPreview") -> "Failure | None":
    """Draw one picture; return what went wrong, which does not stop the others."""
    from eranntag.errors import WriteError, error_reason
    from eranntag.types import Failure

    source = view.prediction.source
    try:
        draw(view, preview)
    except WriteError:  # this would fail for every sound
        raise
    except Exception as error:
        return Failure(source, f"no picture of it: {error_reason(error, source)}")
    return None


def _page(plot: Path, command: str) -> AbstractContextManager["Draw"]:
    from eranntag.visualization.gallery import page

    return page.document(plot, command)


@contextmanager
def _figure(plot: Path, checkpoint: "Checkpoint", options: TaggerOptions) -> Iterator["Draw"]:
    """Yield `draw(view, preview)`, which draws the attention of 2APAE, and of other networks the timeline of the sound."""
    from eranntag.checkpoints import loading
    from eranntag.visualization import attention, clip

    def draw(view: "View", preview: "ClipPreview") -> None:
        if attention.has_attention(checkpoint):
            found = loading.find(options.checkpoint, options.registry, options.offline)
            attention.draw(found.network(), view.prediction, plot)
        else:
            clip.draw(view, preview, plot)

    yield draw
