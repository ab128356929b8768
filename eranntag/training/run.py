"""A run from its beginning to its end: data + settings -> checkpoints in a folder, resumable at any moment."""

from contextlib import ExitStack
from pathlib import Path

from eranntag.errors import TrainingError
from eranntag.network import Network
from eranntag.training import files, start, state
from eranntag.training.distributed import Machine
from eranntag.training.division import Division
from eranntag.training.loop import Outcome, Report, Run
from eranntag.training.settings import Settings
from eranntag.types import Recipe


def train(
    recipe: Recipe,
    division: Division,
    settings: Settings,
    folder: Path,
    machine: Machine,
    held: ExitStack,
    base: Network | None = None,
    restart: bool = False,
    report: Report = lambda _: None,
) -> Outcome:
    """Train to `settings.iterations`, going on from `folder` when a run is there. `base` is fine-tuned; None starts anew. The
    folder is `held` until that ends.

    `report` receives a dict with `event` ("resume", "pace", "broken", "train", "evaluate", "stopped", "saved") and numbers.
    However a run is stopped, it goes on from the last whole iteration that was saved, at most a minute ago (several processes:
    at the first note after that minute), and ends with the same numbers.
    """
    resumed = (folder / files.STATE).exists() and not restart
    network = start.network(recipe, settings, base, settings.pretrained and not resumed)
    if not (base or resumed) and hasattr(network.model, "standardise"):
        start.standardise(network, division.training, machine)
    augment = start.augmentation(settings, network)
    shares = machine.world.shares(settings.batch, settings.accumulate)
    files.begin(folder, machine.world, restart, held)
    run = Run(recipe, settings, folder, machine, augment, shares, network, report)
    if machine.world.gather([(folder / files.STATE).exists()])[0]:
        state.resume(run.state, settings, folder / files.STATE)
        run.write_history()  # it may have ended between the two
    if len(set(machine.world.gather([run.state.iteration]))) > 1:
        raise TrainingError(f"{folder}: the processes see different states there; it must be one folder for all of them")
    outcome = run.go(division)
    machine.world.wait()
    return outcome
