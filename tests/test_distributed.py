"""Several processes compute what one does: the same losses, gradients and statistics, up to rounding.

They run on the CPU (gloo), as `torchrun` starts them.
"""

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import runs
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn

from eranntag.engines.eager import Eager
from eranntag.errors import TrainingError, UsageError
from eranntag.files import lock
from eranntag.inference.network import Network
from eranntag.training import distributed, loop
from eranntag.training.data import WaveformCache
from eranntag.training.distributed import World, connected, wrapped
from eranntag.training.validation import Validation
from eranntag.types import Checkpoint, Example

ITERATIONS = 3
LEARNING_RATE = 2e-5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.esc50(tmp_path_factory.mktemp("data") / "ESC-50-master")


def options(data: Path, out: Path, *changes: object) -> list[object]:
    """A run of three iterations. Adam turns rounding of tiny gradients into steps of the learning rate: it is low."""
    short = ["--iterations", ITERATIONS, "--evaluate-every", 2, "--batch", 4, "--lr", LEARNING_RATE, "--fold", 1, *runs.TINY]
    return ["train", "esc50", "--data", data, "--out", out, "--model", "erann-2-1", *short, *changes]


def gradients(out: Path) -> Tensor:
    """Those of a run's first and only iteration, from Adam's first moment (0.1 of them)."""
    state = load_file(out / "state.safetensors")
    return torch.cat([10 * state[name].flatten() for name in sorted(state) if name.endswith(".exp_avg")])


def vector(out: Path, statistics: bool) -> Tensor:
    """The network's learned numbers in one row, or BatchNorm's running statistics."""
    state = load_file(out / "state.safetensors")
    names = [name for name in sorted(state) if name.startswith("model.") and "num_batches" not in name]
    return torch.cat([state[name].flatten() for name in names if ("running" in name) == statistics])


def assert_same_run(ours: Path, theirs: Path) -> None:
    """The same history and statistics, and weights that are apart by a small part of the way that they went."""
    assert [row.keys() for row in runs.history(ours)] == [row.keys() for row in runs.history(theirs)]
    for our, their in zip(runs.history(ours), runs.history(theirs), strict=True):
        assert our == pytest.approx(their, rel=1e-4)
    torch.testing.assert_close(vector(ours, statistics=True), vector(theirs, statistics=True), rtol=1e-3, atol=1e-3)
    difference = vector(ours, statistics=False) - vector(theirs, statistics=False)
    assert difference.norm() < 0.1 * LEARNING_RATE * ITERATIONS * len(difference) ** 0.5


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in one process."""
    out = tmp_path_factory.mktemp("runs") / "alone"
    assert runs.command(*options(data, out)).exit_code == 0
    return out


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(5):
        runs.write(folder / f"{number}.wav", np.tile(runs.tone(300 + 100 * number), 1 + number % 2))
    (folder / "1.wav").write_text("no sound")
    return folder


ACCUMULATED = ("--mixup", "none", "--batch", 8, "--set", "accumulate=2", "--iterations", 1)


@pytest.fixture(scope="module")
def together(data: Path, clips: Path) -> tuple[Path, CompletedProcess[str]]:
    """The folder in which two processes left what they computed (several.py), and how torchrun, which started them, ended.

    In it they go on with the run "stopped", which one process has begun.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1)
        steps, step = iter([True, False]), loop.Trainer.step

        def interrupted(run: Any, stream: Any) -> Tensor:
            if next(steps):
                return step(run, stream)
            raise KeyboardInterrupt

        patch.setattr(loop.Trainer, "step", interrupted)
        assert runs.command(*options(data, clips / "stopped")).exit_code == 130
    plan = {
        "accumulated": options(data, clips / "accumulated", *ACCUMULATED),
        "interrupted": options(data, clips / "stopped"),
        "undivided": options(data, clips / "undivided", "--batch", 3),
        "taken": options(data, clips / "taken"),
        "whole": options(data, clips / "whole"),
    }
    (clips / "plan.json").write_text(json.dumps([[name, [*map(str, arguments)]] for name, arguments in plan.items()]))
    with lock.lock_folder(clips / "taken"):
        return clips, runs.processes(2, clips, start=[str(Path(__file__).with_name("several.py"))])


def said(together: tuple[Path, CompletedProcess[str]], name: str) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of a command in each of the two processes."""
    folder, done = together
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads((folder / f"{name}-{rank}.json").read_text())) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_only_the_first_speaks(
    together: tuple[Path, CompletedProcess[str]], alone: Path
) -> None:
    folder, done = together
    out = folder / "whole"
    assert (done.returncode, done.stdout) == (0, f"{out / 'last.safetensors'}\n"), done.stderr
    assert_same_run(out, alone)
    assert {path.name for path in out.iterdir()} == {path.name for path in alone.iterdir()}
    assert done.stderr.count(f"iteration {ITERATIONS}/{ITERATIONS}") == 1
    assert "Warning" not in done.stderr


@pytest.mark.slow
def test_the_accumulated_parts_are_the_same_in_two_processes(
    data: Path, together: tuple[Path, CompletedProcess[str]], tmp_path: Path
) -> None:
    """Without mixup. BatchNorm sees a part at a time, so the parts must hold the same examples."""
    assert runs.command(*options(data, tmp_path / "one", *ACCUMULATED)).exit_code == 0
    assert [code for code, _, _ in said(together, "accumulated")] == [0, 0]
    ours, theirs = gradients(together[0] / "accumulated"), gradients(tmp_path / "one")
    assert (ours - theirs).norm() < 1e-2 * theirs.norm()  # rounding, through twenty layers of BatchNorm


@pytest.mark.slow
def test_one_process_goes_on_for_two_and_two_for_one(
    data: Path, alone: Path, together: tuple[Path, CompletedProcess[str]]
) -> None:
    """An iteration in one process, then one in two, then one in one: each time Ctrl-C comes before the next."""
    first, second = said(together, "interrupted")
    assert first[:2] == second[:2] == (130, "")
    assert f"iteration 2/{ITERATIONS}" in first[2] and f"iteration 1/{ITERATIONS}" not in first[2], first
    assert "eranntag: interrupted" in first[2]
    assert "iteration 1/" not in second[2] and "Traceback" not in first[2] + second[2], second
    out = together[0] / "stopped"
    assert runs.command(*options(data, out)).exit_code == 0
    assert_same_run(out, alone)


@pytest.mark.slow
def test_a_batch_that_cannot_be_divided_is_a_line_before_any_training(together: tuple[Path, CompletedProcess[str]]) -> None:
    each = said(together, "undivided")
    assert [(code, stdout) for code, stdout, _ in each] == [(2, "")] * 2
    assert "eranntag: error: a batch of 3 cannot be divided among 2 processes x 1 parts" in each[0][2]
    assert not (together[0] / "undivided").exists()


@pytest.mark.skipif(lock.fcntl is None, reason="no locks here")
@pytest.mark.slow
def test_a_folder_that_is_taken_is_refused_without_waiting_for_each_other(
    together: tuple[Path, CompletedProcess[str]],
) -> None:
    """The first alone asks for the folder; the second is not left behind."""
    first, second = said(together, "taken")
    assert first[0] == 1 and second[0] != 0
    assert f"eranntag: error: {together[0] / 'taken'}: another process is writing there" in first[2]
    assert [path.name for path in (together[0] / "taken").iterdir()] == [".lock"]


@pytest.mark.parametrize(("batch", "size", "accumulate"), [(8, 1, 1), (8, 2, 1), (8, 1, 4), (24, 2, 3), (32, 8, 4)])
def test_shares_are_disjoint_and_cover_every_part_as_one_process_would(batch: int, size: int, accumulate: int) -> None:
    alone = [list(range(batch)[part]) for part in World().shares(batch, accumulate)]
    together = [[range(batch)[part] for part in World(rank, size).shares(batch, accumulate)] for rank in range(size)]
    for number, examples in enumerate(alone):
        parts = [parts[number] for parts in together]
        assert len({len(part) for part in parts}) == 1
        assert sorted(place for part in parts for place in part) == examples
    assert sorted(place for examples in alone for place in examples) == list(range(batch))


@pytest.mark.parametrize(("batch", "size", "accumulate"), [(3, 2, 1), (4, 2, 4), (8, 3, 1)])
def test_impossible_shares_are_a_usage_error(batch: int, size: int, accumulate: int) -> None:
    with pytest.raises(UsageError, match=f"batch of {batch} cannot be divided among {size} processes x {accumulate} parts"):
        World(0, size).shares(batch, accumulate)


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with connected(torch.device("cpu")) as found:
        assert found == (World(0, 1), torch.device("cpu"))
    world, values = World(), torch.ones(2)
    world.wait()
    assert world.first and world.gather([1, 2]) == [1, 2] and world.mean(values) is values


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_whole_batch_but_for_batch_norm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without batch statistics examples are independent, and there is no difference."""
    for kind in (nn.BatchNorm1d, nn.BatchNorm2d):
        monkeypatch.setattr(kind, "train", lambda norm, mode=True: nn.Module.train(norm, False))
    for parts in (1, 2, 4):
        changes = ("--iterations", 1, "--set", f"accumulate={parts}")
        assert runs.command(*options(data, tmp_path / str(parts), *changes)).exit_code == 0
    whole = gradients(tmp_path / "1")
    assert whole.norm() > 0
    for parts in ("2", "4"):
        assert (gradients(tmp_path / parts) - whole).norm() < 1e-4 * whole.norm()
        loss, expected = (runs.history(tmp_path / name)[0]["loss"] for name in (parts, "1"))
        assert loss == pytest.approx(expected, rel=1e-5)


# What the processes themselves compute: `child` runs in two of them, `results` holds what each saw


class Normalised(nn.Module):
    """Both kinds of BatchNorm that ERANN has, with weights that are not the identity's."""

    def __init__(self) -> None:
        super().__init__()
        self.norm2, self.norm1 = nn.BatchNorm2d(3), nn.BatchNorm1d(4)
        for norm in (self.norm1, self.norm2):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, 4, 5)"""
        return self.norm1(self.norm2(x).mean(1).tanh())


def normalised(world: World, share: slice, dtype: torch.dtype) -> dict[str, Tensor]:
    """Output, gradients and statistics for `share` of a batch whose loss is a mean over all of it."""
    torch.manual_seed(1)
    x = (3 + 2 * torch.randn(6, 3, 4, 5)).to(dtype)
    model = Normalised()
    network = wrapped(model, world, torch.device("cpu"))
    part = x[share].requires_grad_()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        output = network(part)
    (output.float() * torch.arange(6 * 4 * 5).view(6, 4, 5)[share]).mean().backward()
    with torch.no_grad():
        evaluated = model.eval()(x[share].float())
    gradients = {f"gradient {name}": parameter.grad for name, parameter in model.named_parameters()}
    statistics = {f"statistics {name}": value.clone() for name, value in model.named_buffers()}
    return {"output": output.detach(), "input": part.grad, "evaluated": evaluated, **gradients, **statistics}


def scored(world: World, folder: Path) -> tuple[np.ndarray, list[Example]]:
    """Scores of five clips of two lengths, the second of which is broken."""
    examples = [Example(str(folder / f"{number}.wav"), (number % 2,)) for number in range(5)]
    frontend = {"sample_rate_hz": 44100}
    torch.manual_seed(2)
    network = Network(Checkpoint("x", "erann", {"s_m": 2, "width": 1}, "logmel", frontend, ("a", "b"), "softmax")).eval()
    return Validation(WaveformCache(examples, 44100), "accuracy", world, 1).scores(Eager(network))


def child(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    world = World(rank, 2)
    share = slice(3 * rank, 3 * rank + 3)
    found: dict[str, Any] = {str(dtype): normalised(world, share, dtype) for dtype in (torch.float32, torch.bfloat16)}
    scores, examples = scored(world, folder)
    found["scores"] = torch.from_numpy(scores)
    found["clips"] = [example.path for example in examples]
    found["gathered"] = world.gather(["x", rank])
    found["mean"] = world.mean(torch.tensor([1.0, 4.0 * rank]))
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(together: tuple[Path, CompletedProcess[str]]) -> list[dict[str, Any]]:
    folder, done = together
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.slow
def test_batch_norm_over_two_processes_is_batch_norm_of_the_whole_batch(
    results: list[dict[str, Any]], dtype: torch.dtype
) -> None:
    whole = normalised(World(), slice(0, 6), dtype)
    parts = [result[str(dtype)] for result in results]
    close = {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 1e-1}
    for name in ("output", "evaluated"):
        together = torch.cat([part[name] for part in parts])
        assert together.dtype == whole[name].dtype
        torch.testing.assert_close(together, whole[name], **close)
    # each process has the mean over its half: its gradients of the input are twice those of the mean over all
    torch.testing.assert_close(torch.cat([part["input"] for part in parts]), 2 * whole["input"], **close)
    for name in whole.keys() - {"output", "evaluated", "input"}:
        torch.testing.assert_close(parts[0][name], whole[name], **close)
        torch.testing.assert_close(parts[0][name], parts[1][name], rtol=0, atol=0)


@pytest.mark.slow
def test_clips_are_scored_in_two_processes_as_in_one(results: list[dict[str, Any]], clips: Path) -> None:
    scores, examples = scored(World(), clips)
    assert [Path(example.path).stem for example in examples] == ["0", "2", "3", "4"]
    for result in results:
        assert result["clips"] == [example.path for example in examples]
        torch.testing.assert_close(result["scores"].numpy(), scores)


@pytest.mark.slow
def test_every_process_hears_what_all_found(results: list[dict[str, Any]]) -> None:
    for result in results:
        assert result["gathered"] == ["x", 0, "x", 1]
        assert result["mean"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("[../pair.cc:545] Read error [127.0.0.1]:1234: Connection reset by peer", True),
        ("[../pair.cc:553] Connection closed by peer [127.0.0.1]:1234. This is a remote error; GLHF!", True),
        ("NCCL error: remote process exited or there was a network error", True),
        ("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", False),
    ],
)
def test_the_end_of_another_process_is_told_from_errors_of_ones_own(
    text: str, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert distributed.peer_is_gone(RuntimeError(text)) == gone
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in (("init_process_group", None), ("get_rank", 0), ("get_world_size", 2), ("destroy_process_group", None)):
        monkeypatch.setattr(distributed.dist, name, lambda *_, value=value: value)
    with pytest.raises(TrainingError if gone else RuntimeError), connected(torch.device("cpu")) as (world, _):
        assert world == World(0, 2)
        raise RuntimeError(text)
