"""A disk that is full, or that does not want to be written: each command ends in one line that names the file and says what to
do, the file that was there stays as it was, and nothing else is left."""

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs

from eranntag.benchmark import report_page
from eranntag.checkpoints import weights
from eranntag.errors import EranntagError
from eranntag.files import atomic
from eranntag.inference.network import Network
from eranntag.models import cnn14
from eranntag.recipes import esc50
from eranntag.training.label_enhancement import additions, enhance, teacher
from eranntag.training.label_enhancement.ontology import Neighbors
from eranntag.types import Checkpoint
from eranntag.visualization.gallery import page as gallery

resource = pytest.importorskip("resource")

LIMIT = 3000  # bytes
REMEDY = "cannot be written (File too large); raise the limit of a file's size (ulimit -f), or choose another place"


@pytest.fixture
def full() -> Iterator[None]:
    """No file may grow beyond LIMIT: write() fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.esc50(tmp_path_factory.mktemp("ESC-50-master"), folds=2)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two of one tiny network."""
    folder = tmp_path_factory.mktemp("checkpoints")
    spec = Checkpoint("tiny", "cnn14", {"channels": 1}, "logmel", {}, esc50.LABELS, "softmax")
    paths = folder / "a.safetensors", folder / "b.safetensors"
    for path in paths:
        weights.save(Network(spec), path)
    return paths


def enhancement(clips: int) -> enhance.Enhancement:
    nothing = np.zeros(50)
    neighbours = Neighbors(np.zeros((50, 50), bool))
    return enhance.Enhancement(
        esc50.RECIPE, clips, neighbours, nothing, nothing, np.array([(clip, 0) for clip in range(clips)])
    )


def write_additions(path: Path) -> None:
    additions.write(path, [str(clip) for clip in range(1000)], enhancement(1000), {})


def write_scores(path: Path) -> None:
    teacher.gather(iter([np.zeros(1000, np.float32)] * 2), (2, 1000), path, {"teacher": "", "classes": "", "clips": ""})


def write_page(path: Path) -> None:
    with gallery.document(path, "x" * 100) as show:
        show(*_view_and_preview())


def _view_and_preview() -> tuple[Any, Any]:
    from eranntag.inference.detector import Detection
    from eranntag.types import Prediction
    from eranntag.visualization.preview import ClipPreview
    from eranntag.visualization.timeline import View

    prediction = Prediction(("dog",), np.array([0.5], np.float32), 1.0, "x.wav", "tiny")
    view = View(prediction, Detection((), 1.0, 0.1, 16000.0, "x.wav", "tiny"), ("dog",), np.zeros((1, 4), np.float32))
    return view, ClipPreview(np.zeros((64, 400), np.float32), b"")


def write_tables(path: Path) -> None:
    report_page.write(path, "number\n" * 1000)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("name", "write"),
    [("x.csv", write_additions), ("x.npy", write_scores), ("x.html", write_page), ("x.md", write_tables)],
)
def test_a_full_disk_leaves_the_old_file(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("what was there")
    with pytest.raises(EranntagError) as caught:
        write(path)
    assert str(caught.value) == f"{path}: {REMEDY}"
    assert os.listdir(tmp_path) == [name] and path.read_text() == "what was there"


@pytest.mark.parametrize("form", ["average", "onnx", "openvino", "png"])
def test_commands_on_a_full_disk(form: str, checkpoints: tuple[Path, Path], tmp_path: Path, request: Any) -> None:
    if form in ("onnx", "openvino"):
        pytest.importorskip({"onnx": "onnxruntime"}.get(form, form))
    pytest.importorskip("matplotlib")
    path = tmp_path / {"average": "x.safetensors", "onnx": "x.onnx", "openvino": "x.xml", "png": "x.png"}[form]
    path.write_text("what eranntag made")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.jsonl").write_text('{"iteration": 1, "loss": 1, "lr": 1}\n')
    command: tuple[object, ...] = {
        "average": ("average", *checkpoints, "-o", path, "--force"),
        "png": ("plot", tmp_path / "run", "-o", path),
    }.get(form, ("export", checkpoints[0], "--format", form, "-o", path, "--force"))
    request.getfixturevalue("full")
    assert runs.error(runs.command(*command)) == f"{path}: {REMEDY}"
    assert sorted(os.listdir(tmp_path)) == ["run", path.name] and path.read_text() == "what eranntag made"


def events(root: Path) -> Path:
    for kind, hz in (("high", 2000.0), ("low", 200.0)):
        for number in range(4):
            runs.write(root / kind / f"{number}.wav", runs.tone(hz + number))
    return root


@pytest.mark.parametrize("what", ["pack", "mix", "train"])
@pytest.mark.slow
def test_what_goes_on_after_a_full_disk(what: str, data: Path, tmp_path: Path, request: Any) -> None:
    """Training, packing and mixing keep what is finished; the same command goes on."""
    out = tmp_path / "out"
    short = ("--device", "cpu", "--batch", 2, "--iterations", 1, "--workers", 1, "--set", "crop_seconds=1")
    command: tuple[object, ...] = {
        "pack": ("data", "pack", "esc50", out, "--data", data),
        "mix": (
            "data",
            "mix",
            events(tmp_path / "events"),
            "synthetic",
            out,
            "--snr",
            "0",
            "--clips-per-fold",
            1,
            "--folds",
            2,
        ),
        "train": ("train", "esc50", "--data", data, "--out", out, "--model", "cnn14", *short),
    }[what]
    with pytest.MonkeyPatch.context() as patch:
        if what == "train":
            patch.setattr(cnn14, "from_name", lambda name: cnn14.Config(channels=1) if name == "cnn14" else None)
        request.getfixturevalue("full")
        line = runs.error(runs.command(*command))
        assert line.startswith(str(out)) and "cannot be written (File too large)" in line and "same command" in line
        assert not [path for path in out.rglob("*") if path.suffix in (".part", ".tar", ".flac", ".safetensors")]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        assert runs.command(*command).exit_code == 0


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here: needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_small_file_system(tmpfs: Path, checkpoints: tuple[Path, Path], data: Path) -> None:
    path = tmpfs / "x.safetensors"
    path.write_text("what was there")
    line = runs.error(runs.command("average", *checkpoints, "-o", path, "--force"))
    assert line == f"{path}: cannot be written (No space left on device); make room there, or choose another place"
    assert os.listdir(tmpfs) == ["x.safetensors"] and path.read_text() == "what was there"
    line = runs.error(runs.command("data", "pack", "esc50", tmpfs / "pack", "--data", data))
    assert "(No space left on device); finished shards are kept" in line and not list(tmpfs.rglob("*.part"))


# What `atomic.replace` writes, and where


def test_a_name_may_have_255_bytes(tmp_path: Path) -> None:
    for name in ("x" * 255, "音" * 85, os.fsdecode(b"\xff" * 255)):
        atomic.write_text(tmp_path / name, "x")
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()
    with pytest.raises(EranntagError, match="choose a shorter name"):
        atomic.write_text(tmp_path / ("x" * 256), "x")


def test_links_are_written_through_and_other_names_keep_the_old_content(tmp_path: Path) -> None:
    for name in ("link", "dangling", "hard"):
        (tmp_path / name).mkdir()
    (tmp_path / "target").write_text("old")
    os.link(tmp_path / "target", tmp_path / "hard" / "other")
    (tmp_path / "link" / "x").symlink_to("../target")
    (tmp_path / "dangling" / "x").symlink_to("../absent")
    atomic.write_text(tmp_path / "link" / "x", "new")
    atomic.write_text(tmp_path / "dangling" / "x", "new")
    assert (tmp_path / "target").read_text() == (tmp_path / "absent").read_text() == "new"
    assert (tmp_path / "link" / "x").is_symlink() and (tmp_path / "hard" / "other").read_text() == "old"


def test_permissions_are_the_files_or_the_umasks(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "new", "x")
        (tmp_path / "old").touch(0o600)
        os.chmod(tmp_path / "old", 0o604)
        with atomic.replace(tmp_path / "old") as temporary:
            assert temporary.stat().st_mode & 0o777 == 0o600  # never more than the file has
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o604


def test_no_thread_sees_another_umask(tmp_path: Path) -> None:
    """The mask belongs to the process: whoever sets it for a moment opens the files of other threads to all."""
    masks = []

    def umask(mask: int) -> int:
        masks.append(mask)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "umask", umask)
        threads = [threading.Thread(target=atomic.write_text, args=(tmp_path / "x", str(n) * 1000)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert masks == [] and len(set((tmp_path / "x").read_text())) == 1 and os.listdir(tmp_path) == ["x"]


def test_what_is_no_ordinary_file_stays(tmp_path: Path) -> None:
    """As root, a rename over /dev/null would replace it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path, why in (
        (Path(os.devnull), "Not a regular file"),
        (tmp_path / "pipe", "Not"),
        (tmp_path / "folder", "Is a dir"),
    ):
        before = path.stat().st_mode
        with pytest.raises(EranntagError, match=f"^{path}: cannot be written \\({why}.*\\); choose another place"):
            atomic.write_text(path, "x")
        assert path.stat().st_mode == before
    for path in (tmp_path / "absent" / "x", Path("/proc/x")):
        with pytest.raises(EranntagError, match=f"^{path}: cannot be written"):
            atomic.write_text(path, "x")


def test_errors_of_others_are_not_the_files(tmp_path: Path) -> None:
    for error in (
        BrokenPipeError(errno.EPIPE, "closed"),
        FileNotFoundError(errno.ENOENT, "gone", "/elsewhere/x"),
        ValueError("x"),
    ):
        with pytest.raises(type(error)) as caught, atomic.replace(tmp_path / "x"):
            raise error
        assert caught.value is error and os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, flags: int, *_: object, real: Any = os.open, **options: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return int(real(path, flags, *_, **options))

    monkeypatch.setattr(os, "open", refuse)
    for write in (write_additions, write_tables):
        with pytest.raises(EranntagError, match=r"x: cannot be written \(Read-only file system\); choose another place"):
            write(tmp_path / "x")
    path = tmp_path / "x"
    with pytest.raises(EranntagError, match="same command goes on"), atomic.translate_dataset_write_errors(path, "shards"):
        atomic.write_text(path, "")
