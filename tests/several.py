"""What torchrun starts for test_distributed, which costs one start of two processes: `several.py FOLDER`.

`FOLDER/plan.json` holds [[name, arguments of the command line], ...]. What each command but the last says goes to
`FOLDER/NAME-RANK.json` as [exit code, stdout, stderr]; for these the processes meet in files, as torchrun lets them meet once.
The last is run as `python -m eranntag` runs it, to the end of the process.
"""

import json
import os
import runpy
import sys
from functools import partial
from pathlib import Path

import runs
import test_distributed
import torch.distributed as dist

from eranntag.training import loop


def interrupt_the_second_step() -> None:
    """As if Ctrl-C came before it, in every process; all is saved after the first."""
    calls, step = iter([True, False]), loop.Trainer.step

    def interrupted(run, stream):  # type: ignore[no-untyped-def]
        if next(calls):
            return step(run, stream)
        loop.Trainer.step, loop.SAVE_SECONDS = step, seconds
        raise KeyboardInterrupt

    seconds = loop.SAVE_SECONDS
    loop.Trainer.step, loop.SAVE_SECONDS = interrupted, -1


def main() -> None:
    folder, rank, meet = Path(sys.argv[1]), int(os.environ["RANK"]), dist.init_process_group
    *first, (_, last) = json.loads((folder / "plan.json").read_text())
    test_distributed.child(rank, folder)
    for name, arguments in first:
        file = f"file://{folder / name}.meeting"
        dist.init_process_group = partial(meet, init_method=file, rank=rank, world_size=2)
        if name == "interrupted":
            interrupt_the_second_step()
        result = runs.command(*arguments)
        (folder / f"{name}-{rank}.json").write_text(json.dumps([result.exit_code, result.stdout, result.stderr]))
        if dist.is_initialized():  # after an error
            dist.destroy_process_group()
    dist.init_process_group = meet
    sys.argv = ["eranntag", *last]
    runpy.run_module("eranntag", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
