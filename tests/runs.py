"""An ESC-50 of ten one-second clips, and the commands that train on it: in this process, or in several."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from eranntag.cli import cli

RATE = 44100
CHECKOUT = Path(__file__).resolve().parents[1]
TINY = ["--device", "cpu", "--set", "crop_seconds=1", "--workers", "1"]


def tone(hz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)


def hiss(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, RATE)


def write(path: Path, waveform: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, RATE)
    return path


def esc50(root: Path, folds: int = 5) -> Path:
    """Two clips a fold: a dog that is a tone, and rain that is noise."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, folds + 1):
        for target, category, waveform in ((0, "dog", tone(200 + 100 * fold)), (10, "rain", hiss(fold))):
            name = f"{fold}-{fold}{target}-A-{target}.wav"
            write(root / "audio" / name, waveform)
            rows.append(f"{name},{fold},{target},{category},False,{fold}{target},A")
    (root / "meta").mkdir()
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return root


def command(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def processes(count: int, *args: object, start: Sequence[str] = ("-m", "eranntag")) -> subprocess.CompletedProcess[str]:
    """The same as a user starts it, in `count` processes on the CPU; `start` is what python runs."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
    line = [sys.executable, *torchrun, *start, *map(str, args)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=300, check=False)


@contextmanager
def stopped_before(number: int) -> Iterator[None]:
    """Ctrl-C before step `number` of a run in this process, which has saved all steps before it."""
    from eranntag.training import loop

    step, calls = loop.Trainer.step, iter(range(1, number + 1))

    def stopping(trainer: Any, batches: Any) -> Any:
        if next(calls) == number:
            raise KeyboardInterrupt
        return step(trainer, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1)  # after every iteration
        patch.setattr(loop.Trainer, "step", stopping)
        yield


def history(out: Path) -> list[dict[str, Any]]:
    """Without the seconds, which differ from run to run."""
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def error(result: Result | subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The error of a command that failed with `code`: the only line of its kind, and no traceback."""
    status = result.exit_code if isinstance(result, Result) else result.returncode
    lines = [line for line in result.stderr.splitlines() if line.startswith("eranntag: error: ")]
    assert status == code and len(lines) == 1 and "Traceback" not in result.stderr, result.stderr
    return lines[0].removeprefix("eranntag: error: ")
