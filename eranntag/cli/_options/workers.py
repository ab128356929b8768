"""Which processes compute: this one, several, or those of a Ray cluster."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from eranntag.cli import _process
from eranntag.cli._options.group import option
from eranntag.cli._options.tagger import TaggerOptions
from eranntag.inference import devices
from eranntag.inference.sources import STDIN

PROCESSES_PER_CPU = 4  # at most: processes also wait for disks


@dataclass(frozen=True)
class WorkerOptions:
    """How the work is shared among processes."""

    jobs: int | None = option(
        "--jobs", type=click.IntRange(1), metavar="N", help="Share the work among N processes of this machine."
    )
    ray: str | None = option(
        "--ray", metavar="ADDRESS", help="Share the work among the machines of a Ray cluster: auto, local, ray://HOST:PORT."
    )

    def check(self, paths: tuple[str, ...], plot: Path | None, device: str) -> None:
        """Raise UsageError for options that exclude each other, before any work."""
        if self.jobs and self.ray:
            raise click.UsageError("the work is shared by --jobs or by --ray, not by both")
        name = "--jobs" if self.jobs else "--ray" if self.ray else ""
        most = PROCESSES_PER_CPU * devices.usable_cpus()
        if (self.jobs or 0) > most:
            raise click.UsageError(f"--jobs {self.jobs}: on the processors here {most} can be of use, at most")
        if name and STDIN in paths:
            raise click.UsageError(
                f"{name}: standard input is one sound, of this process alone; leave out {name} or name files"
            )
        if name and plot:
            raise click.UsageError(f"--plot is drawn by one process; leave out {name}")
        if name and device.startswith("cuda:"):
            raise click.UsageError(f"{name} shares the GPUs of CUDA_VISIBLE_DEVICES; use --device cuda")

    def results(
        self,
        scorer: Any,
        sources: Iterable[Any],
        options: TaggerOptions,
        build: Callable[[Any], Any] | None = None,
    ) -> Iterator[Any]:
        """Return an iterator over the result or Failure of each source.

        This process computes them with `scorer`; other processes load the tagger of `options` and use `build(tagger)`, or
        the tagger itself.
        """
        if self.ray:
            from eranntag.integrations import ray

            gpus = 0 if options.device == "cpu" else None
            return ray.predict(partial(_load_scorer, options, build), sources, self.ray, options.batch, gpus=gpus)
        if self.jobs:
            from eranntag.inference import workers

            local = replace(options, offline=True)  # the checkpoint is on this machine by now
            return workers.predict(partial(_load_scorer, local, build), sources, self.jobs, options.batch)
        from eranntag.inference import pipeline

        return pipeline.predict(scorer, sources, options.batch)


def _load_scorer(options: TaggerOptions, build: Callable[[Any], Any] | None) -> Any:
    _process.shorten_messages()
    tagger = replace(options, verbose=False).load(many=True)
    return build(tagger) if build else tagger
