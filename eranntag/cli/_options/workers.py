"""What commands that go through sounds have in common: who computes: this process, several, or a cluster."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import click

from eranntag.cli import _process
from eranntag.cli._options import tagger as tagger_options
from eranntag.inference import devices
from eranntag.inference.sources import STDIN

EACH = 4  # processes for a processor, at most: they wait for disks, too
_OPTIONS = [
    click.option("--jobs", type=click.IntRange(1), metavar="N", help="Share the work among N processes."),
    click.option(
        "--ray", metavar="ADDRESS", help="Share it among the machines of a Ray cluster: auto, local, ray://HOST:PORT."
    ),
]


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them to a command; `check` and `results` take them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check(given: dict[str, Any], paths: tuple[str, ...], plot: Any) -> None:
    """Before any work."""
    named = [f"--{name}" for name in ("jobs", "ray") if given[name]]
    if len(named) == 2:
        raise click.UsageError("the work is shared by --jobs or by --ray, not by both")
    most = EACH * devices.usable_cpus()
    if (given["jobs"] or 0) > most:
        raise click.UsageError(f"--jobs {given['jobs']}: on the processors here {most} can be of use, at most")
    if named and STDIN in paths:
        raise click.UsageError(
            f"{named[0]}: standard input is one sound, of this process alone; leave out {named[0]} or name files"
        )
    if named and plot:
        raise click.UsageError(f"--plot is drawn by one process; leave out {named[0]}")
    if named and given["device"].startswith("cuda:"):
        raise click.UsageError(f"{named[0]} shares the GPUs of CUDA_VISIBLE_DEVICES; use --device cuda")


def results(
    scorer: Any, sources: Iterable[Any], given: dict[str, Any], build: Callable[[Any], Any] | None = None
) -> Iterator[Any]:
    """A result or Failure of each source, by `scorer`; or by several processes, in each of which `build(tagger)` is one."""
    if given["ray"]:
        from eranntag.integrations import ray

        gpus = 0 if given["device"] == "cpu" else None
        return ray.predict(partial(_made, given, build), sources, given["ray"], given["batch"], gpus=gpus)
    if given["jobs"]:  # by now the checkpoint is on this machine
        from eranntag.inference import workers

        return workers.predict(partial(_made, {**given, "offline": True}, build), sources, given["jobs"], given["batch"])
    from eranntag.inference import pipeline

    return pipeline.predict(scorer, sources, given["batch"])


def _made(given: dict[str, Any], build: Callable[[Any], Any] | None) -> Any:
    _process.keep_to_a_line()  # there, as here
    tagger = tagger_options.load({**given, "verbose": False}, many=True)
    return build(tagger) if build else tagger
