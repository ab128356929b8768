"""What test_cluster starts, as it costs one start of Ray: `clustered.py FOLDER` does what `FOLDER/plan.json` says.

What comes of it goes to `FOLDER/results.pickle`.
"""

import json
import os
import pickle
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from eranntag.integrations import ray, ray_session
from eranntag.integrations.worker import Load


def fragile(checkpoint: str) -> Any:
    """A Tagger whose process dies of what is called "deadly"."""
    tagger = Load(checkpoint, "cpu", engine="eager")()
    prepare = tagger.prepare_source

    def crash(source: Any, name: str = "") -> Any:
        if "deadly" in source:
            os.kill(os.getpid(), signal.SIGSEGV)
        return prepare(source, name)

    tagger.prepare_source = crash
    return tagger


def main(folder: Path) -> dict[str, Any]:
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    names, checkpoint = [os.fsdecode(bytes.fromhex(name)) for name in plan["names"]], plan["checkpoint"]
    library = ray_session.import_ray()
    found: dict[str, Any] = {}
    with ray_session.connected(library, "local"):
        found["sigterm"] = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        found["results"] = list(ray.predict(partial(fragile, checkpoint), names))
    found["over"] = not library.is_initialized()
    return found


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "results.pickle").write_bytes(pickle.dumps(main(place)))
