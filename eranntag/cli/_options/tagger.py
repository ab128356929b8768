"""Which checkpoint tags, and how it is executed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from eranntag.cli._options import common
from eranntag.cli._options.group import from_decorator, option

if TYPE_CHECKING:
    from eranntag.inference.tagger import Tagger


@dataclass(frozen=True)
class TaggerOptions:
    """The checkpoint, its engine, device, dtype and batch size."""

    checkpoint: str | None = option(
        "-c", "--checkpoint", metavar="NAME", help="A name from `eranntag checkpoints`, a file, or hf:OWNER/REPO."
    )
    engine: str = from_decorator(common.ENGINE)
    device: str = from_decorator(common.DEVICE)
    dtype: str = option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16 or float16.")
    batch: int | None = option(
        "--batch", type=click.IntRange(1), show_default="1 on a CPU, 16 on a GPU", help="Clips per batch."
    )
    registry: str | None = from_decorator(common.REGISTRY)
    offline: bool = from_decorator(common.OFFLINE)
    verbose: bool = option("-v", "--verbose", is_flag=True, help="Print on standard error which engine runs, and why.")

    def load(self, many: bool) -> "Tagger":
        """Return the Tagger that the options name; `many`: it is to be fast on many clips."""
        from eranntag.checkpoints import loading
        from eranntag.cli._allocator import keep_memory
        from eranntag.cli.display import progress, terminal

        keep_memory()
        with progress.download_bar() as report:
            tagger = loading.load(
                self.checkpoint,
                device=self.device,
                dtype=self.dtype,
                engine=self.engine,
                registry=self.registry,
                offline=self.offline,
                report=report,
                many=many,
            )
        if self.verbose:
            for note in tagger.notes:
                terminal.print_status(f"eranntag: {note}")
        return tagger
