"""What people see: tables, bars, colours. The only file that imports rich; results go to stdout, the rest to stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def training_log() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a `report` for `training.loop.train`: one plain line an event, on stderr."""
    counters = {"decode": 0}

    def report(event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "decode":
            counters["decode"] += 1
            if event["done"] == event["total"]:
                print(f"decoded {event['total']} clips", file=sys.stderr, flush=True)
        elif kind == "train":
            left = (event["total"] - event["iteration"]) * event["seconds"] / event["iteration"]
            print(
                f"iteration {event['iteration']}/{event['total']}  loss {event['loss']:.4f}  rate {event['lr']:.2e}  "
                f"{event['seconds'] / event['iteration']:.2f} s an iteration  {left / 60:.0f} min left",
                file=sys.stderr,
                flush=True,
            )
        else:
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in event.items() if isinstance(value, float))
            print(f"iteration {event['iteration']}  held-out {numbers}", file=sys.stderr, flush=True)

    yield report
