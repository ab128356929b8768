"""Completeness of audio without a container: MPEG audio (MP3 and its kin), ADTS (AAC), AC-3, AMR.

These streams have no length, but each frame has its own, and the last frame must be complete. A file that is cut between
two frames cannot be detected, unless a tag in MP3's first frame counts them.
"""

import re
from collections.abc import Callable

from eranntag.audio._byte_range import ByteRange
from eranntag.errors import AudioError

FrameLength = Callable[[bytes], int]

HEADER_BYTES = 8  # at least what every FrameLength reads
READ_BYTES = 1 << 20
_TAGS = (b"TAG", b"APET", b"LYRI", b"ID3", b"3DI", b"\0")  # what may follow the last frame

_LAYER_1 = (range(32, 449, 32), (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256))
_LAYER_2 = (
    (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_LAYER_3 = (
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    _LAYER_2[1],
)
_AC3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AMR = (13, 14, 16, 18, 20, 21, 27, 32, 6, 6, 6, 6, 1, 1, 1, 1)
_AMR_WB = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 6, 6, 1, 1, 1, 1)


def skip_id3(file: ByteRange, name: str) -> ByteRange:
    """Return the file without leading ID3v2 tags: libsndfile ends a WAV file behind one too early."""
    start = _end_of_id3(file, 0)
    if start and start >= file.size:
        raise AudioError(f"{name}: cut short: there is only a tag, or a part of one")
    return file.subrange(start, file.size - start) if start else file


def _end_of_id3(file: ByteRange, offset: int) -> int:
    while (header := file.read_at(offset, 10))[:3] == b"ID3" and len(header) == 10:
        footer = 10 if header[5] & 0x10 else 0
        size = sum((byte & 0x7F) << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True))  # 7 bits each
        offset += 10 + footer + size
    return offset


def check_frames(file: ByteRange, name: str) -> None:
    """Raise AudioError if frames are missing or incomplete, or change their sample rate; other formats pass.

    Also for a single frame that is followed by something else, which is no audio.
    """
    header = file.read_at(0, HEADER_BYTES)
    if header.startswith(b"#!AMR-WB"):
        _check_frames(file, name, 9, lambda frame: _AMR_WB[frame[0] >> 3 & 15])
    elif header.startswith(b"#!AMR"):
        _check_frames(file, name, 6, lambda frame: _AMR[frame[0] >> 3 & 15])
    elif header.startswith(b"\xf0\x7e"):
        _check_sample_dump(file, name)
    else:
        for frame_length in (_mpeg, _adts, _ac3):
            if frame_length(header):
                _check_frames(file, name, 0, frame_length)
                return


def _check_frames(file: ByteRange, name: str, start: int, frame_length: FrameLength) -> None:
    count, end = _count_frames(file, name, start, frame_length)
    rest = file.read_at(end, HEADER_BYTES)
    if end > file.size or (0 < len(rest) < HEADER_BYTES and rest[0] == file.read_at(start, 1)[0]):
        raise AudioError(f"{name}: cut short: its last frame is incomplete")
    complete = not rest or rest.startswith(_TAGS)
    if count < 2 and not complete:
        raise AudioError(f"{name}: not a readable audio file (one frame and then something else)")
    expected = _frames_in_tag(file.read_at(start, 200))
    if complete and count < expected:
        raise AudioError(f"{name}: cut short: {count} of {expected} frames are there")
    if expected and count > expected + 2:  # the tag's own frame, and what encoders forget
        counts = f"{count} frames are there, and {expected} are counted in the first"
        raise AudioError(f"{name}: {counts}; write it again as one file")


def _count_frames(file: ByteRange, name: str, offset: int, frame_length: FrameLength) -> tuple[int, int]:
    """Return the number of consecutive frames and the end of the last one, which may lie behind the file's."""
    count = 0
    buffer = b""
    buffer_start = offset
    stream_format = None
    while offset < file.size:
        if offset + HEADER_BYTES > buffer_start + len(buffer):
            buffer_start = offset
            buffer = file.read_at(offset, READ_BYTES)
        header = buffer[offset - buffer_start : offset - buffer_start + HEADER_BYTES].ljust(HEADER_BYTES, b"\0")
        size = frame_length(header)
        if not size:
            if header[:3] != b"ID3":
                break
            offset = _end_of_id3(file, offset)  # between two concatenated files
            continue
        if frame_length is _mpeg:
            frame_format = (header[1] & 0x1E, header[2] & 0x0C, header[3] >= 0xC0)  # version, layer, sample rate, mono
            if stream_format is None:
                stream_format = frame_format
            elif frame_format != stream_format:
                if _mpeg(file.read_at(offset + size, HEADER_BYTES)):
                    problem = "changes its rate or channels midway"
                    raise AudioError(f"{name}: {problem}; write it again as one WAV or FLAC file")
                break
        count += 1
        offset += size
    return count, offset


def _check_sample_dump(file: ByteRange, name: str) -> None:
    """Raise AudioError for damaged packets of a MIDI sample dump; libsndfile only prints a warning about them."""
    count, end = _count_frames(file, name, 21, lambda header: 127 if header[:2] == b"\xf0\x7e" and header[3] == 2 else 0)
    if not count or end < file.size:
        raise AudioError(f"{name}: damaged (no packet at byte {end})")


def _frames_in_tag(frame: bytes) -> int:
    """Return the number of frames in LAME's or Xing's tag in MP3's first frame; 0 without one."""
    tag = re.search(rb"(Xing|Info)\0\0\0([\1\3\5\7\t\v\r\17])(....)", frame, re.DOTALL)
    return int.from_bytes(tag[3], "big") if tag else 0


def _mpeg(header: bytes) -> int:
    """Return the bytes of a frame of MPEG audio (ISO 11172-3, 13818-3, and version 2.5); 0 for others and free format."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version = header[1] >> 3 & 3  # 0 is version 2.5, 2 is 2, 3 is 1
    layer = 4 - (header[1] >> 1 & 3)
    bit_rate_index = header[2] >> 4
    sample_rate_index = header[2] >> 2 & 3
    if version == 1 or layer == 4 or bit_rate_index in (0, 15) or sample_rate_index == 3:
        return 0
    bit_rate = (_LAYER_1, _LAYER_2, _LAYER_3)[layer - 1][version != 3][bit_rate_index - 1] * 1000
    sample_rate = (44100, 48000, 32000)[sample_rate_index] // {3: 1, 2: 2, 0: 4}[version]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bit_rate // sample_rate + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bit_rate // sample_rate + padding


def _adts(header: bytes) -> int:
    """Return the bytes of a frame of AAC (ISO 14496-3, 1.A.3); 0 for others."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size >= 7 else 0


def _ac3(header: bytes) -> int:
    """Return the bytes of a frame of AC-3 or E-AC-3 (ETSI TS 102 366); 0 for others."""
    if len(header) < 6 or header[:2] != b"\x0b\x77":
        return 0
    if header[5] >> 3 > 10:  # E-AC-3
        return 2 * (((header[2] & 7) << 8 | header[3]) + 1)
    sample_rate_index = header[4] >> 6  # 48, 44.1, 32 kHz
    size_code = header[4] & 63
    if sample_rate_index == 3 or size_code >= 2 * len(_AC3):
        return 0
    bit_rate = _AC3[size_code >> 1]
    return 2 * (2 * bit_rate, bit_rate * 960 // 441 + size_code % 2, 3 * bit_rate)[sample_rate_index]
