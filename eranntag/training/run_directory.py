"""A run's folder: its lock, the names of its files, and errors of writing."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from eranntag.errors import EranntagError, TrainingError
from eranntag.files import atomic, lock
from eranntag.training.distributed import World, restarted

STATE, HISTORY = "state.safetensors", "history.jsonl"
CHECKPOINTS = ("best.safetensors", "last.safetensors", "iteration-*.safetensors")
FILES = (HISTORY, STATE, *CHECKPOINTS)


def kept(iteration: int) -> str:
    """What the checkpoint of an iteration is called that is kept besides the last and the best."""
    return f"iteration-{iteration:07}"


def begin(folder: Path, world: World, restart: bool, stack: ExitStack) -> None:
    """The first process holds the folder until `stack` ends; an error of the first is raised in all.

    Checkpoints without a state are of no run that is interrupted, since that writes its state before them: they stay unless
    `restart` allows it.
    """
    refusal = ""
    if world.first:
        try:
            stack.enter_context(lock.lock_folder(folder))
            atomic.remove_temporary_files(folder)
            for pattern in FILES if restart and not restarted() else ():
                for path in folder.glob(pattern):
                    path.unlink()
            others = [path for pattern in CHECKPOINTS for path in sorted(folder.glob(pattern))]
            if others and not (folder / STATE).exists():
                refusal = (
                    f"{others[0]}: would be replaced, and there is no {STATE} to resume from; use another --out or --restart"
                )
        except EranntagError as error:
            refusal = str(error)
        except OSError as error:
            refusal = f"{error.filename}: cannot be removed ({error.strerror}); remove it, or use another --out"
    if refusal := "".join(world.gather([refusal])):
        raise TrainingError(refusal)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A full disk ends the run, in one line, and leaves the files that were there."""
    try:
        yield
    except OSError as error:
        advice = "what was saved before is kept; make room and give the same command again"
        name = error.filename or folder
        raise TrainingError(f"{name}: cannot be written ({error.strerror or error}); {advice}") from None
