"""`--jobs`: several processes give what one does, and a sound that kills its process is one failure."""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import listening
import pytest
import runs
from click.testing import CliRunner
from listening import Ear, Heeded

from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.errors import EranntagError
from eranntag.inference import workers
from eranntag.inference.tagger import Tagger
from eranntag.types import Failure

NAMES = [f"{number}.wav" for number in range(300)]


def told(results: Any) -> list[tuple[str, str | None]]:
    return [(each.source, each.reason if isinstance(each, Failure) else None) for each in results]


def test_the_same_in_the_same_order_by_processes_that_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PAUSE_SECONDS", 1e-4)
    listed = Failure("folder", "cannot be read")

    def slow_list() -> Iterator[Any]:
        yield from NAMES[:100]
        yield from [None] * 3000  # for long
        yield listed
        yield from ("broken.wav", "slow.wav", "signals.wav", *NAMES[100:])
        while len({each.pid for each in results if isinstance(each, Heeded)}) < 2:  # one may start late
            more.append("more.wav")
            yield from ("more.wav", None)

    results: list[Any] = []
    more: list[str] = []
    for result in workers.predict(Ear, slow_list(), 2):
        results.append(result)
    failures = {"folder": "cannot be read", "broken.wav": "damaged"}
    wanted = [*NAMES[:100], "folder", "broken.wav", "slow.wav", "signals.wav", *NAMES[100:], *more]
    assert told(results) == [(name, failures.get(name)) for name in wanted]
    processes = {each.pid: each.processors for each in results if isinstance(each, Heeded)}
    assert len(processes) == 2 and os.getpid() not in processes
    if len(os.sched_getaffinity(0)) > 1:
        first, second = processes.values()
        assert not set(first) & set(second) and set(first) | set(second) == os.sched_getaffinity(0)


def test_a_sound_that_kills_its_process_is_one_failure() -> None:
    names = [*NAMES[:20], "segv 1.wav", *NAMES[20:40], "exit.wav", "segv 2.wav"]
    results = told(workers.predict(Ear, names, 1))
    assert [name for name, _ in results] == names
    failed = {name: reason for name, reason in results if reason}
    assert failed.keys() == {"segv 1.wav", "exit.wav", "segv 2.wav"}
    assert "died (Segmentation fault)" in (failed["segv 1.wav"] or "") and "died (exit code 7)" in (failed["exit.wav"] or "")


def test_a_tagger_that_cannot_be_loaded_is_an_error() -> None:
    with pytest.raises(EranntagError, match="no such checkpoint") as caught:
        list(workers.predict(listening.fails, NAMES, 2))
    assert "in fails\n" in "".join(traceback.format_exception(caught.value)), "--debug shows where"
    with pytest.raises(EranntagError, match=r"^in a process of --jobs: .*No space left on device"):
        list(workers.predict(listening.has_no_room, NAMES, 1))
    with pytest.raises(EranntagError, match=r"exited during start-up \(exit code 9\); use fewer of them"):
        list(workers.predict(listening.dies, NAMES, 1))


def test_a_process_gets_no_signal_of_the_group_from_its_first_moment() -> None:
    worker = workers._Worker(Ear, None, 0, 1)
    worker.start()
    status = Path(f"/proc/{worker._process.pid}/status")
    blocked = int(status.read_text().partition("SigBlk:")[2].split()[0], 16)
    assert all(blocked >> number - 1 & 1 for number in (signal.SIGINT, signal.SIGTERM))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    worker.kill()
    worker.end()
    assert not status.exists(), "nor is a zombie left"


def test_processes_that_cannot_be_started_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def start(process: Any) -> None:
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        before(process)
        started.append(process)

    before = SpawnProcess.start
    monkeypatch.setattr(SpawnProcess, "start", start)
    with pytest.raises(EranntagError, match=r"cannot be started \(Resource temporarily unavailable\); use fewer of them"):
        list(workers.predict(Ear, NAMES, 2))
    assert started[0].exitcode == -signal.SIGKILL


@pytest.mark.kill
def test_no_process_is_left_when_nobody_wants_more_or_the_parent_is_killed(tmp_path: Path) -> None:
    results = workers.predict(partial(listening.note, str(tmp_path)), NAMES, 1)
    next(results)
    results.close()  # type: ignore[attr-defined]
    (pid,) = os.listdir(tmp_path)
    _gone(int(pid))
    code = f"""
import listening, os, signal
from functools import partial
from multiprocessing.context import SpawnProcess
from eranntag.inference import workers
if __name__ == "__main__":
    for result in workers.predict(partial(listening.note, {str(tmp_path)!r}), [f"slow {{i}}" for i in range(1000)], 1):
        os.kill(os.getpid(), signal.SIGKILL)
"""
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, script], env=environment, timeout=60)
    (other,) = {name for name in os.listdir(tmp_path) if name.isdecimal()} - {pid}
    _gone(int(other))


def _gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.02)


def test_predict_with_jobs_writes_the_same_bytes(tmp_path: Path, tiny_tagger: Tagger, wav: Callable[..., Path]) -> None:
    weights.save(tiny_tagger.network, checkpoint := tmp_path / "tiny.safetensors")  # type: ignore[attr-defined]
    sounds = [str(wav(f"{hz}.wav", runs.tone(hz))) for hz in (200, 440, 3000)]
    common = ["predict", *sounds, "absent.wav", "-c", str(checkpoint), "--engine", "eager", "--format", "jsonl"]
    alone, shared = (CliRunner().invoke(cli, [*common, *more]) for more in ([], ["--jobs", "1"]))
    assert (shared.exit_code, shared.stdout, shared.stderr) == (3, alone.stdout, alone.stderr)
    for more, words in {
        ("--jobs", "1", "-"): "standard input is one sound",
        ("--jobs", "1", "--ray", "local"): "not by both",
        ("--jobs", "1", "--device", "cuda:1"): "use --device cuda",
        ("--jobs", "0"): "0 is not in the range",
        ("--jobs", "100000"): "can be of use, at most",
    }.items():
        refused = CliRunner().invoke(cli, [*common, *more])
        assert refused.exit_code == 2 and words in refused.stderr


@pytest.mark.kill
def test_ctrl_c_ends_all(tmp_path: Path) -> None:
    results = workers.predict(partial(listening.note, str(tmp_path)), ["slow"] * 50, 2)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            for number, _ in enumerate(results):
                if not number:
                    signal.setitimer(signal.ITIMER_REAL, 0.2)
    finally:
        signal.signal(signal.SIGALRM, before)
    for pid in os.listdir(tmp_path):
        _gone(int(pid))
