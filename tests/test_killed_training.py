"""Training that is killed, at every step of every save, and on a disk that forgets what was not synced: it goes on, and ends
as one that nobody disturbed, to the byte."""

import dataclasses
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eranntag.checkpoints import weights
from eranntag.errors import EranntagError
from eranntag.files import atomic, lock
from eranntag.models import cnn14
from eranntag.recipes import esc50
from eranntag.training import cross_validation, loop, state as saved

NEVER = 10**9
OPTIONS = ("--model", "cnn14", "--fold", 1, "--batch", 2, "--iterations", 3, "--evaluate-every", 1, "--mixup", "none")
SMALL = ("--augment", "none", "--device", "cpu", "--workers", 1, "--set", "crop_seconds=1")

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs the names of open files")


class Killed(BaseException):
    """Nothing catches it, and from then on nothing reaches the disk."""


class Disk:
    """The disk as `atomic` uses it. The process is killed as its step number `at` begins."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int = NEVER) -> None:
        self.at, self.steps = at, 0
        self.synced: set[str] = set()
        self.renamed: list[tuple[Path, bytes | None, bool]] = []  # since the folder was synced: before, and was the file synced
        self.real = {name: getattr(os, name) for name in ("open", "chmod", "fsync", "replace", "unlink")}
        for name in self.real:
            patch.setattr(os, name, getattr(self, name))
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: self.unlink(path, missing_ok))

    def step(self) -> None:
        self.steps += 1
        if self.steps >= self.at:
            raise Killed

    def open(self, path: Any, flags: int, *more: Any, **options: Any) -> int:
        if flags & os.O_EXCL:
            self.step()
        return int(self.real["open"](path, flags, *more, **options))

    def chmod(self, path: Any, mode: int, **options: Any) -> None:
        self.step()  # after the file is written
        self.real["chmod"](path, mode, **options)

    def fsync(self, handle: int) -> None:
        self.step()
        path = os.readlink(f"/proc/self/fd/{handle}")
        self.synced.add(path)
        self.renamed = [entry for entry in self.renamed if str(entry[0].parent) != path]

    def replace(self, source: Any, target: Any, **options: Any) -> None:
        self.step()
        target = Path(target)
        before = target.read_bytes() if target.exists() else None
        self.renamed.append((target, before, os.path.realpath(source) in self.synced))
        self.real["replace"](source, target, **options)

    def unlink(self, path: Any, missing_ok: bool = False) -> None:
        if self.steps >= self.at:
            raise Killed
        if os.path.lexists(path) or not missing_ok:
            self.real["unlink"](path)

    def power_cut(self, renames_kept: bool) -> None:
        """What was not synced is lost: what is in new files, and perhaps their names too."""
        for target, before, synced in reversed(self.renamed):
            if not synced:
                os.truncate(target, 0)
            if not renames_kept and before is None:
                self.real["unlink"](target)
            elif not renames_kept and before is not None:
                target.write_bytes(before)


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """A network of 32 channels at most, and a save after every iteration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cnn14, "from_name", lambda name: cnn14.Config(channels=1) if name == "cnn14" else None)
        patch.setattr(
            esc50,
            "RECIPE",
            dataclasses.replace(esc50.RECIPE, training=dataclasses.replace(esc50.RECIPE.training, crop_seconds=1.0)),
        )
        patch.setattr(loop, "SAVE_SECONDS", -1)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.esc50(tmp_path_factory.mktemp("ESC-50-master"), folds=2)


def train(data: Path, out: Path, *more: object) -> Any:
    return runs.command("train", "esc50", "--data", data, "--out", out, *OPTIONS, *SMALL, *more)


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A whole run's folder, and how many steps on the disk it took."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        assert train(data, out).exit_code == 0
    return out, disk.steps


def state(out: Path) -> dict[str, Any]:
    with safe_open(out / "state.safetensors", framework="pt") as file:
        progress = json.loads(file.metadata()["run"])
    return {**progress, "history": _timeless(progress["history"]), "seconds": 0, "sha256": ""}


def _timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def check_what_is_there(out: Path) -> None:
    """Whatever is there is whole, and the history is never ahead of the state."""
    for name in ("last.safetensors", "best.safetensors"):
        if (out / name).exists():
            weights.load(out / name)
            assert (out / "state.safetensors").exists()
    if (out / "state.safetensors").exists():
        load_file(out / "state.safetensors")
    if (out / "history.jsonl").exists():
        rows = runs.history(out)
        assert rows == state(out)["history"][: len(rows)]


def check_the_end(out: Path, expected: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        assert (out / name).read_bytes() == (expected / name).read_bytes()
    ours, theirs = load_file(out / "state.safetensors"), load_file(expected / "state.safetensors")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert state(out) == state(expected) and runs.history(out) == runs.history(expected) == state(out)["history"]
    assert list(out.glob(".*.part")) == []


@pytest.mark.kill
def test_killed_again_and_again_it_ends_the_same(undisturbed: tuple[Path, int], data: Path, tmp_path: Path) -> None:
    """By a power cut, at random steps on the disk: between two of a save's, or in an export of a checkpoint."""
    expected, steps = undisturbed
    assert steps > 60
    choose, kills = random.Random(8), 0
    while kills < 8:
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, choose.randint(1, steps // 3))
            try:
                assert train(data, tmp_path).exit_code == 0
                break
            except Killed:
                kills += 1
        disk.power_cut(renames_kept=choose.random() < 0.5)
        check_what_is_there(tmp_path)
    assert kills > 4 and train(data, tmp_path).exit_code == 0
    check_the_end(tmp_path, expected)


def test_a_power_cut_at_any_step_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    seen = set()
    for renames_kept in (False, True):
        for at in range(1, 8):
            path = tmp_path / f"{renames_kept}-{at}"
            path.write_text("old")
            with pytest.MonkeyPatch.context() as patch:
                disk, done = Disk(patch, at), False
                try:
                    atomic.write_text(path, "new")
                    done = True
                except Killed:
                    pass
            disk.power_cut(renames_kept)
            assert path.read_text() == "new" if done else path.read_text() in ("old", "new")
            seen.add((done, path.read_text()))
    assert seen == {(False, "old"), (False, "new"), (True, "new")}
    left = list(tmp_path.glob(".*.part"))
    (tmp_path / ".mine.part").touch()
    atomic.remove_temporary_files(tmp_path)
    assert left and list(tmp_path.glob(".*.part")) == [tmp_path / ".mine.part"]


DRIVER = """
import os, signal, sys, types, torch
torch.set_num_threads(1)
# its optimisers import its compiler, which takes 4 s, to tell it what to leave alone
sys.modules["torch._dynamo"] = types.SimpleNamespace(disable=lambda function, *_, **__: function, graph_break=lambda: None)
from eranntag.cli import main
from eranntag.models import cnn14
from eranntag.training import loop

cnn14.from_name = lambda name: cnn14.Config(channels=1) if name == "cnn14" else None
loop.SAVE_SECONDS = -1

def hit(place, name, number, at):
    real, calls = getattr(place, name), iter(range(1, 10**9))
    def function(*args, **options):
        if next(calls) == at:
            os.kill(os.getpid(), number)
        return real(*args, **options)
    setattr(place, name, function)

KILLS = [(os, "replace", signal.SIGKILL, 3), (os, "fsync", signal.SIGKILL, 9),
         (loop.TrainingLoop, "evaluate", signal.SIGTERM, 1), (loop.Trainer, "loss", signal.SIGKILL, 1), None]
for kill in KILLS:
    if (child := os.fork()) == 0:
        if kill:
            hit(*kill)
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.kill
def test_real_signals_end_a_run_that_then_ends_the_same(undisturbed: tuple[Path, int], data: Path, tmp_path: Path) -> None:
    """SIGKILL in a save and in an iteration; SIGTERM in an evaluation, which is finished and saved."""
    out = tmp_path / "run"
    arguments = ("train", "esc50", "--data", data, "--out", out, *OPTIONS, *SMALL)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(runs.CHECKOUT)}
    command = [sys.executable, "-c", DRIVER, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    codes = [int(line) for line in done.stdout.splitlines() if line.lstrip("-").isdigit()]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 143, -signal.SIGKILL, 0], done.stderr
    assert done.stderr.count("saved after iteration ") == 1 and "Traceback" not in done.stderr
    check_the_end(out, undisturbed[0])


# What is read from a state


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.fixture
def spoiled(undisturbed: tuple[Path, int], tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed[0], tmp_path / "run"))


def test_a_flipped_bit_anywhere_in_a_state_is_noticed(spoiled: Path, data: Path) -> None:
    path, choose = spoiled / "state.safetensors", random.Random(1)
    content = path.read_bytes()
    tensors = 8 + int.from_bytes(content[:8], "little")
    counter = content.index(b"best_iteration") + len('best_iteration\\": ')  # JSON in JSON
    assert content[counter : counter + 1].isdigit()
    noticed = []
    for at in (2, counter, tensors - 1, *(choose.randrange(tensors, len(content)) for _ in range(3)), len(content) - 1):
        path.write_bytes(flipped(content, at))
        result = train(data, spoiled)
        if at != tensors - 1:  # spaces there
            line = runs.error(result)
            assert line.startswith(f"{path}: ") and "--restart" in line
            noticed.append("SHA-256" in line)
    assert sum(noticed) >= 5


def rewritten(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """The state with a change, and with the SHA-256 of that."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        progress = json.loads(file.metadata()["run"])
    del progress["sha256"]
    change(tensors, progress)
    progress["sha256"] = saved._digest(tensors, progress)
    save_file(tensors, path, metadata={"run": json.dumps(progress)})


CHANGES: dict[str, Callable[[dict[str, torch.Tensor], dict[str, Any]], Any]] = {
    "not finite": lambda tensors, _: tensors["adam.0.exp_avg"].fill_(float("nan")),
    "does not fit": lambda tensors, _: tensors.pop("model.fc1.weight"),
    "a moment of shape": lambda tensors, _: tensors.update({"adam.0.exp_avg": torch.zeros(3)}),
    "does not fit the network": lambda tensors, _: tensors.update({"adam.x.exp_avg": torch.zeros(3)}),
    "its iteration is '3'": lambda _, progress: progress.update(iteration="3"),
    "its history is": lambda _, progress: progress.update(history=[3]),
    "not a run that can be resumed": lambda _, progress: progress.update(settings=3),
}


@pytest.mark.parametrize("words", CHANGES)
def test_a_state_that_fits_nothing_is_one_line(words: str, spoiled: Path, data: Path) -> None:
    rewritten(spoiled / "state.safetensors", CHANGES[words])
    line = runs.error(train(data, spoiled))
    assert line.startswith(f"{spoiled / 'state.safetensors'}: ") and words in line and "--restart" in line


class Canary:
    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


def pickled(path: Path) -> None:
    torch.save({"x": Canary()}, path)


def plainly_pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Canary()))


def bomb(path: Path) -> None:
    path.write_bytes((2**40).to_bytes(8, "little") + b"{}")


def deep(path: Path) -> None:
    save_file({"x": torch.zeros(1)}, path, metadata={"run": "[" * 100_000})


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [pickled, plainly_pickled, bomb, deep, pipe])
def test_a_state_is_never_unpickled_nor_waited_for(
    damage: Callable[[Path], None], spoiled: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = spoiled / "state.safetensors"
    damage(path)
    line = runs.error(train(data, spoiled))
    assert line.startswith(f"{path}: not a run that can be resumed (") and "--restart" in line
    assert not (tmp_path / "canary").exists()


def test_checkpoints_without_a_state_are_not_replaced_unasked(spoiled: Path, data: Path) -> None:
    (spoiled / "state.safetensors").unlink()
    best = (spoiled / "best.safetensors").read_bytes()
    line = runs.error(train(data, spoiled, "--seed", 1))
    assert line.startswith(f"{spoiled / 'best.safetensors'}: would be replaced") and "--restart" in line
    assert (spoiled / "best.safetensors").read_bytes() == best
    assert train(data, spoiled, "--seed", 1, "--restart").exit_code == 0
    assert (spoiled / "best.safetensors").read_bytes() != best


def test_the_folder_is_held_until_the_checkpoint_is_finished(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clips of the fold are measured last, and what they say goes into the checkpoint."""
    refused = []

    def scores(*args: Any, real: Any = cross_validation._scores) -> Any:
        with pytest.raises(EranntagError, match="another process is writing there"), lock.lock_folder(tmp_path / "run"):
            pass
        refused.append(True)
        return real(*args)

    monkeypatch.setattr(cross_validation, "_scores", scores)
    assert train(data, tmp_path / "run", "--validation", 0.5).exit_code == 0
    assert refused


def test_a_finished_run_without_its_checkpoint_says_what_to_do(spoiled: Path, data: Path) -> None:
    (spoiled / "last.safetensors").write_bytes(flipped((spoiled / "last.safetensors").read_bytes(), -9))
    line = runs.error(train(data, spoiled))
    assert str(spoiled / "last.safetensors") in line and "--restart" in line
