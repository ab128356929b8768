"""The option --plot: a picture of one sound, or a page of many, beside the results, which stay what they are without it."""

import glob
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import inputs as inputs_options
from eranntag.inference.sources import STDIN

OPTION = click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the one sound (.png), or make a page of all (.html)."
)


def check(plot: Path, paths: tuple[str, ...], files_from: str | None, output: Path | None, resume: bool = False) -> None:
    """Before any work."""
    from eranntag.visualization import figures
    from eranntag.visualization.gallery import page

    figures.check_file(plot, "--plot", (".png", ".html"))
    if STDIN in paths:
        raise click.UsageError("--plot reads each sound twice, which standard input cannot be; name a file")
    if resume:
        raise click.UsageError("--plot draws all sounds, and --resume leaves out those that are done; use one of the two")
    if plot.exists() and any(os.path.isfile(path) and plot.samefile(path) for path in paths):
        raise click.UsageError(f"--plot {plot}: is a sound to be tagged; it is not overwritten")
    if output and output.resolve() == plot.resolve():
        raise click.UsageError("--plot and --output must be two files")
    if plot.suffix.lower() == ".html":
        page.check()
        return
    if len(paths) != 1 or files_from or os.path.isdir(paths[0]) or (glob.has_magic(paths[0]) and not os.path.exists(paths[0])):
        raise click.UsageError("a .png shows one sound; name FILE.html for a page of several")
    figures.check(plot, "--plot", (".png",))


def show_all(
    detector: Any,
    sources: Iterator[Any],
    document: AbstractContextManager[Callable[[Any], bool]],
    record: Callable[[Any], Any],
    plot: Path,
    options: dict[str, Any],
    command: str,
) -> None:
    """`_inputs.show_all` of the `record` of each View, none of which waits for its picture; and the pictures into `plot`.

    `command` is what was typed, and `options` name the checkpoint.
    """
    from eranntag.inference import pipeline
    from eranntag.types import Failure
    from eranntag.visualization import timeline

    viewer = timeline.Viewer(detector)
    picture = _page(plot, command) if plot.suffix.lower() == ".html" else _figure(plot, detector.tagger.checkpoint, options)
    with closing(viewer), inputs_options.telling(document) as tell, picture as draw:

        def told() -> Iterator[Any]:
            for result in pipeline.predict(viewer, sources, options["batch"]):
                if isinstance(result, Failure):
                    tell(result)
                else:
                    tell(record(result))
                    yield result

        for sight in timeline.sights(told(), carry=plot.suffix.lower() == ".html"):
            if isinstance(sight, Failure):
                tell(sight)
            else:
                _attempt(draw, *sight, tell)


def _attempt(draw: Callable[..., None], view: Any, sight: Any, tell: Callable[[Any], None]) -> None:
    """What goes wrong with one picture is that sound's failure; the others go on."""
    from eranntag.errors import WriteError, error_reason
    from eranntag.types import Failure

    try:
        draw(view, sight)
    except WriteError:  # not this sound's failure
        raise
    except Exception as error:
        tell(Failure(view.prediction.source, f"no picture of it: {error_reason(error, view.prediction.source)}"))


def _page(plot: Path, command: str) -> AbstractContextManager[Callable[..., None]]:
    from eranntag.visualization.gallery import page

    return page.document(plot, command)


@contextmanager
def _figure(plot: Path, checkpoint: Any, options: dict[str, Any]) -> Iterator[Callable[..., None]]:
    """Yield `draw(view, sight)`: of 2APAE why it says what it says, of others the sound."""
    from eranntag.checkpoints import loading
    from eranntag.visualization import attention, clip

    def draw(view: Any, sight: Any) -> None:
        if attention.has(checkpoint):
            found = loading.find(options["checkpoint"], options["registry"], options["offline"])
            attention.draw(found.network(), view.prediction, plot)
        else:
            clip.draw(view, sight, plot)

    yield draw
