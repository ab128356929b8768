"""The connection to a Ray cluster: quiet, without telemetry, and closed when the work is done."""

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eranntag.errors import EranntagError, UsageError, error_reason

CONNECT_SECONDS = 5


def import_ray() -> Any:
    """Return the module `ray`. Raises UsageError where it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # on stderr
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "(?s).*")  # on stdout, where the results are
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("Ray is not installed: pip install 'eranntag[ray]'") from None
    return ray


@contextmanager
def connected(ray: Any, address: str) -> Iterator[None]:
    """Connect until the block ends; a Ray that is started here ends with it. Raises EranntagError where there is none."""
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    here = {"include_dashboard": False} if address == "local" else {}
    try:
        _check_reachable(address)
        with _keep_signal_handlers(), _redirect_stderr():
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **here)
    except (RuntimeError, ValueError, OverflowError, OSError) as error:
        remedy = "start it with `ray start --head`, or name another --ray ADDRESS"
        raise EranntagError(f"Ray: no cluster answers at {address} ({error_reason(error).rstrip('.')}); {remedy}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise OSError where no server listens at HOST:PORT: Ray itself would try for minutes."""
    if found := re.fullmatch(r"(?:ray://)?\[?([^/\]]+?)\]?:(\d+)", address):
        socket.create_connection((found[1], int(found[2])), CONNECT_SECONDS).close()


@contextmanager
def _keep_signal_handlers() -> Iterator[None]:
    """Restore the handler of SIGTERM, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, terminate)


@contextmanager
def _redirect_stderr() -> Iterator[None]:
    """Discard what Ray's libraries print on stderr about their logging."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
