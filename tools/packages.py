"""Debian packages -> the sound files in them, with the licenses of the package."""

import hashlib
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from programs import run

from eranntag.audio.reader import EXTENSIONS
from eranntag.errors import DataError

ZIPPED = {".zip", ".pk3", ".pk4", ".wz", ".npk"}
CARVED = {".cat", ".res", ".rcc", ".pak"}  # containers of games, which hold complete WAV and Ogg files
UNFREE = re.compile(r"\b(NC|ND|non-?commercial|no-?deriv\w*|non-?free)\b", re.IGNORECASE)
WELL_KNOWN = (
    "(?:A|L)?GPL|CC[ -]BY(?:-SA)?|CC0|Creative Commons [A-Z][\\w -]+?License|BSD|MIT|Artistic|"
    "Permission is hereby granted, free of charge"
)


@dataclass(frozen=True)
class Sound:
    """A file on disk, its name in its source, and its license."""

    path: Path
    name: str
    licence: str


def fetch(package: str, folder: Path) -> Path:
    """The package's file in `folder`, downloaded by apt-get if absent; DataError if apt-get has no such package."""
    for path in folder.glob(f"{package}_*.deb"):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["apt-get", "download", "-q", package], cwd=folder, capture_output=True, text=True)
    for path in folder.glob(f"{package}_*.deb"):
        return path
    reasons = [line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E:")] or ["no message"]
    raise DataError(f"{package}: apt-get download: {reasons[0]}; `apt-get update`, then run the same command again")


def version(deb: Path) -> str:
    return run(["dpkg-deb", "-f", deb, "Version"]).strip()


def sounds(deb: Path, package: str, folder: Path) -> list[Sound]:
    """The package's sound files, also those in archives, written to `folder`, in the order of their names."""
    found, copyright_file = [], ""
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isfile() and (content := archive.extractfile(member)):
                if name == f"usr/share/doc/{package}/copyright":
                    copyright_file = content.read().decode(errors="replace")
                else:
                    found += extracted(name, content, folder)
    licence = licenses(copyright_file)
    if UNFREE.search(licence):
        raise DataError(f"{package}: its licenses are not free: {licence}")
    return [Sound(path, name, licence) for name, path in sorted(found)]


def extracted(name: str, content: BinaryIO, folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, path) of each sound in a file or archive."""
    suffix = PurePosixPath(name).suffix.lower()
    sound = suffix.removeprefix(".") in EXTENSIONS
    if not (sound or suffix in ZIPPED | CARVED | {".tar"}):
        return
    path = folder / f"{hashlib.sha1(name.encode()).hexdigest()}{suffix}"
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)
    if sound:
        yield name, path
        return
    with closing(_members(path, suffix)) as members:
        for inner, part in members:
            yield from extracted(f"{name}/{inner}", part, folder)
    path.unlink()


def _members(path: Path, suffix: str) -> Iterator[tuple[str, BinaryIO]]:
    if suffix in CARVED:
        yield from ((f"{index:04}{kind}", BytesIO(part)) for index, (kind, part) in enumerate(carved(path.read_bytes())))
    elif suffix == ".tar":
        with tarfile.open(path) as tar:
            yield from ((member.name, file) for member in tar if member.isfile() and (file := tar.extractfile(member)))
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    with archive.open(member) as file:
                        yield member.filename, file


def carved(content: bytes) -> Iterator[tuple[str, bytes]]:
    """(suffix, content) of the WAV and Ogg files that a container holds uncompressed."""
    for match in re.finditer(rb"RIFF(....)WAVE|OggS\x00\x02", content, re.DOTALL):
        start = match.start()
        if match[1]:
            yield ".wav", content[start : start + 8 + int.from_bytes(match[1], "little")]
        else:
            yield ".ogg", content[start : _ogg_end(content, start)]


def _ogg_end(content: bytes, at: int) -> int:
    """Where the last of the pages that begin at `at` ends (RFC 3533, section 6)."""
    last = False
    while content.startswith(b"OggS", at) and not last:
        last = bool(content[at + 5] & 4)
        segments = content[at + 26]
        at += 27 + segments + sum(content[at + 27 : at + 27 + segments])
    return at


def licenses(text: str) -> str:
    """Names of the licenses in a package's copyright file: those of a machine-readable one (DEP-5), else the well-known
    names in it, else its first words."""
    names = re.findall(r"^License:[ \t]*(\S.*?)[ \t]*$", text, re.MULTILINE)
    names = names or re.findall(rf"\b(?:{WELL_KNOWN})(?:-?[ v\d.+]*\d\+?)?", text)
    return "; ".join(dict.fromkeys(names)) or " ".join(text.split()[:12]) or "as its source package"
