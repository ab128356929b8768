"""A run's folder: who may write there, and what a full disk does."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from safetensors import SafetensorError

from eranntag import atomic, lock
from eranntag.errors import EranntagError, TrainingError
from eranntag.training.distributed import World, restarted

STATE, HISTORY = "state.safetensors", "history.jsonl"
FILES = (STATE, "best.safetensors", "last.safetensors", "iteration-*.safetensors", HISTORY)


def kept(iteration: int) -> str:
    """What the checkpoint of an iteration is called that is kept besides the last and the best."""
    return f"iteration-{iteration:07}"


def begin(folder: Path, world: World, restart: bool, stack: ExitStack) -> None:
    """The first process holds the folder until `stack` ends; what it cannot do, all refuse to go on without."""
    refusal = ""
    if world.first:
        try:
            stack.enter_context(lock.held(folder))
            atomic.discard_unfinished(folder)
            for pattern in FILES if restart and not restarted() else ():
                for path in folder.glob(pattern):
                    path.unlink()
        except (EranntagError, OSError) as error:
            refusal = str(error)
    if refusal := "".join(world.gather([refusal])):
        raise TrainingError(refusal)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A full disk ends the run, in one line, and leaves the files that were there."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "what was saved before is kept; make room and give the same command again"
        raise TrainingError(f"{folder}: cannot be written ({reason}); {advice}") from None
