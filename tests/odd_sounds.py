"""Odd and broken sound files, each with what is to become of it. Deterministic; nothing is kept in the repository.

`files()` yields them all: what libsndfile and PyAV write, whole and cut, headers that lie, and what is no sound at all.
"""

import io
import pickle
import random
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile

RATE = 8000
SAMPLES = 4000
SECONDS = SAMPLES / RATE
SUBTYPES = {  # of soundfile's formats, the first of each with all its damage
    "WAV": "PCM_16 PCM_U8 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW IMA_ADPCM MS_ADPCM GSM610 G721_32",
    "WAVEX": "PCM_16 PCM_24 FLOAT ULAW",
    "AIFF": "PCM_16 PCM_S8 PCM_U8 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW",
    "AU": "PCM_16 PCM_S8 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW G723_40",
    "CAF": "PCM_16 PCM_S8 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAC_16 ALAC_24",
    "W64": "PCM_16 PCM_U8 PCM_24 FLOAT DOUBLE IMA_ADPCM GSM610",
    "RF64": "PCM_16 PCM_24 FLOAT DOUBLE ULAW",
    "FLAC": "PCM_16 PCM_S8 PCM_24",
    "OGG": "VORBIS OPUS",
    "MP3": "MPEG_LAYER_III",
    "AVR": "PCM_16 PCM_U8", "HTK": "PCM_16", "MAT4": "PCM_16 FLOAT", "MAT5": "PCM_16 DOUBLE", "MPC2K": "PCM_16",
    "NIST": "PCM_16 ULAW", "SDS": "PCM_24", "SVX": "PCM_16 PCM_S8", "VOC": "PCM_16 ULAW", "WVE": "ALAW",
    "IRCAM": "PCM_16", "PAF": "PCM_16", "PVF": "PCM_16",
}  # fmt: skip
NEED_AV = ("chunks data twice.wav", "chunks fmt twice.wav", "chunks RIFF in RIFF.wav", "unknown length.caf")
WITHOUT_LENGTH = ("IRCAM", "PAF", "PVF")  # whose headers have none: a cut file cannot be told from a shorter one
WHOLE_BLOCKS = ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "G723_40")  # which are longer than what was written


@dataclass(frozen=True)
class Odd:
    """A file `name` of `content`: sound of `seconds`, `slack` of them more or less; or an error with `reason`."""

    name: str
    content: bytes
    seconds: float | None = None
    reason: str = ""
    slack: float = 0.0


def waveform(samples: int = SAMPLES, rate: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(7)
    return 0.4 * np.sin(2 * np.pi * 440 * np.arange(samples) / rate) + 0.05 * rng.uniform(-1, 1, samples)


def encoded(sound: np.ndarray | None = None, form: str = "WAV", subtype: str | None = None, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform() if sound is None else sound, rate, format=form, subtype=subtype)
    return file.getvalue()


def patched(content: bytes, offset: int, new: bytes) -> bytes:
    return content[:offset] + new + content[offset + len(new) :]


def files() -> Iterator[Odd]:
    for group in (
        _formats,
        _cut,
        _surrounded,
        _wave_headers,
        _wave_chunks,
        _other_headers,
        _flac,
        _ogg,
        _mp3,
        _samples,
        _no_sound,
    ):
        yield from group()


def _formats() -> Iterator[Odd]:
    for form, subtypes in SUBTYPES.items():
        for subtype in subtypes.split():
            rate = 48000 if subtype == "OPUS" else RATE
            content = encoded(waveform(rate // 2, rate), form, subtype, rate)
            slack = 0.15 if subtype in WHOLE_BLOCKS else 2 / RATE if form == "VOC" else 0.0  # VOC's last byte is heard too
            yield Odd(f"whole {form} {subtype}.x", content, SECONDS, slack=slack)
    for endian in ("LITTLE", "BIG"):
        for form in ("WAV", "AIFF", "AU", "CAF"):
            file = io.BytesIO()
            soundfile.write(file, waveform(), RATE, format=form, subtype="PCM_16", endian=endian)
            yield Odd(f"whole {form} {endian}.x", file.getvalue(), SECONDS)


def _cut() -> Iterator[Odd]:
    for form, subtypes in SUBTYPES.items():
        content = encoded(form=form, subtype=subtypes.split()[0])
        places = {"in the magic": 3, "in the header": 20, "half": len(content) // 2, "late": len(content) * 19 // 20}
        if form not in ("VOC", "SDS"):  # whose last byte is a mark that nobody needs
            places["last byte"] = len(content) - 1
        for place, length in places.items():
            there = SECONDS * (length - (len(content) - 2 * SAMPLES)) / (2 * SAMPLES)
            if form in WITHOUT_LENGTH and there > 0:
                yield Odd(f"cut {form} {place}.x", content[:length], there, slack=1 / RATE)
            else:
                yield Odd(f"cut {form} {place}.x", content[:length], reason="")


def _surrounded() -> Iterator[Odd]:
    rest = np.random.default_rng(0).bytes(777)
    for form in ("WAV", "AIFF", "AU", "CAF", "W64", "RF64", "OGG", "MP3", "AVR", "MPC2K", "MAT5", "SVX"):
        content = encoded(form=form, subtype=SUBTYPES[form].split()[0])
        tail = b"TAG" + rest[:125] if form == "MP3" else rest
        yield Odd(f"{form} and something behind.x", content + tail, SECONDS)
    for form in ("WAV", "AIFF", "FLAC", "OGG", "CAF"):
        content = encoded(form=form, subtype=SUBTYPES[form].split()[0])
        yield Odd(f"something before {form}.x", b"\x07" * 100 + content, reason="not a readable audio file")
    sds = encoded(form="SDS")
    yield Odd("another bit.sds", patched(sds, 21 + 127, b"\xf1"), reason="damaged")
    yield Odd("FLAC and something behind.x", encoded(form="FLAC") + rest, reason="damaged")


WAVE = encoded()


def _wave_headers() -> Iterator[Odd]:
    for rate in (1, 99, 3_072_001, 2**31 - 1):
        yield Odd(f"rate {rate}.wav", patched(WAVE, 24, struct.pack("<I", rate)), reason="100 to 3072000 Hz")
    for rate in (0, 2**31, 2**32 - 1):
        yield Odd(f"rate {rate}.wav", patched(WAVE, 24, struct.pack("<I", rate)), reason="")
    for rate in (100, 7919, 44101, 192_000, 3_072_000):
        yield Odd(f"rate {rate}.wav", patched(WAVE, 24, struct.pack("<I", rate)), SAMPLES / rate)
    for bits in (0, 20, 24, 32, 64, 255, 65535):
        reason = "" if bits == 0 else "contradicts itself"
        yield Odd(f"bits {bits}.wav", patched(WAVE, 34, struct.pack("<H", bits)), reason=reason)
    yield Odd("bits 12.wav", patched(WAVE, 34, struct.pack("<H", 12)), SECONDS)
    yield Odd("align 0.wav", patched(WAVE, 32, bytes(2)), SECONDS)
    yield Odd("align 1.wav", patched(WAVE, 32, b"\1\0"), reason="contradicts itself")
    for channels in (0, 1025, 2000, 65535):
        yield Odd(f"{channels} channels.wav", patched(WAVE, 22, struct.pack("<H", channels)), reason="")
    for codec in (0, 0x1234, 0xFFFF):
        yield Odd(f"codec {codec}.wav", patched(WAVE, 20, struct.pack("<H", codec)), reason="")
    for size in (0, 1):
        yield Odd(f"data of {size}.wav", patched(WAVE, 40, struct.pack("<I", size)), reason="holds no samples")
    for size, samples in ((2, 1), (7999, 3999), (0x7FFFFFFF, SAMPLES), (0x80000000, SAMPLES), (0xFFFFFFFF, SAMPLES)):
        yield Odd(f"data of {size}.wav", patched(WAVE, 40, struct.pack("<I", size)), samples / RATE)
    for size in (8001, 1 << 20, 0xFFFF0000 - 0x2000, 0x7FFF0000):
        yield Odd(f"data of {size}.wav", patched(WAVE, 40, struct.pack("<I", size)), reason="cut short")
    for size in (0, 1, 0xFFFFFFFF):
        yield Odd(f"RIFF of {size}.wav", patched(WAVE, 4, struct.pack("<I", size)), SECONDS)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _riff(*chunks: bytes) -> bytes:
    content = b"".join(chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WAVE" + content


def _wave_chunks() -> Iterator[Odd]:
    form, data = WAVE[12:36], WAVE[36:]
    notes = _chunk(b"LIST", b"INFO" + b"".join(_chunk(b"INAM", b"x" * 200) for _ in range(100)))
    many = b"".join(_chunk(b"JUNK", bytes(10)) for _ in range(3000))  # more than libsndfile's log holds
    good = {
        "LIST before fmt": (notes, form, data), "LIST behind fmt": (form, notes, data), "LIST behind data": (form, data, notes),
        "odd JUNK": (_chunk(b"JUNK", b"odd"), form, data), "bext": (_chunk(b"bext", bytes(602)), form, data),
        "cue behind": (form, data, _chunk(b"cue ", bytes(28))), "unknown": (form, _chunk(b"~?!#", bytes(9)), data),
        "many": (form, many, data), "data twice": (form, data, data), "fmt twice": (form, form, data),
        "RIFF in RIFF": (form, _riff(form, data), data), "id3 behind": (form, data, _chunk(b"id3 ", bytes(99))),
    }  # fmt: skip
    for what, chunks in good.items():
        yield Odd(f"chunks {what}.wav", _riff(*chunks), SECONDS)
    for what in ("LIST before fmt", "LIST behind fmt", "many"):
        yield Odd(f"chunks {what} cut.wav", _riff(*good[what])[:-3000], reason="cut short")
    yield Odd("chunks without fmt.wav", _riff(data), reason="not a readable audio file")
    yield Odd("chunks without data.wav", _riff(form), reason="not a readable audio file")
    yield Odd("chunks LIST alone.wav", _riff(notes), reason="not a readable audio file")
    yield Odd("chunks fmt huge.wav", patched(WAVE, 16, b"\xff\xff\xff\x7f"), reason="")
    yield Odd("a thousand channels.wav", encoded(np.tile(waveform(80)[:, None], 1000)), 0.01)
    yield Odd("1024 channels.wav", encoded(np.tile(waveform(80)[:, None], 1024)), 0.01)
    tone = waveform()[:, None]
    yield Odd("eight channels that cancel.wav", encoded(tone * np.array([1, -1] * 4)), SECONDS)


def _other_headers() -> Iterator[Odd]:
    au = encoded(form="AU", subtype="PCM_16")
    yield Odd("unknown length.au", patched(au, 8, b"\xff" * 4), SECONDS)
    yield Odd("too long.au", patched(au, 8, struct.pack(">I", 9000)), reason="cut short")
    yield Odd("no rate.au", patched(au, 16, bytes(4)), reason="")
    caf = encoded(form="CAF", subtype="PCM_16")
    at = caf.index(b"data") + 4
    yield Odd("unknown length.caf", patched(caf, at, b"\xff" * 8), SECONDS)
    yield Odd("too long.caf", patched(caf, at, struct.pack(">q", 1 << 40)), reason="cut short")
    aiff = encoded(form="AIFF", subtype="PCM_16")
    at = aiff.index(b"SSND") + 4
    yield Odd("too long.aiff", patched(aiff, at, struct.pack(">I", 1 << 24)), reason="cut short")
    at = aiff.index(b"COMM") + 8
    yield Odd("no channels.aiff", patched(aiff, at, bytes(2)), reason="")
    yield Odd("32767 channels.aiff", patched(aiff, at, b"\x7f\xff"), reason="")
    rf64 = encoded(form="RF64", subtype="PCM_16")
    at = rf64.index(b"ds64") + 16
    yield Odd("too long.rf64", patched(rf64, at, struct.pack("<Q", 1 << 40)), reason="cut short")
    w64 = encoded(form="W64", subtype="PCM_16")
    at = w64.index(b"data\xf3\xac") + 16
    yield Odd("too long.w64", patched(w64, at, struct.pack("<Q", 1 << 40)), reason="cut short")


def _flac() -> Iterator[Odd]:
    flac = encoded(form="FLAC")
    fields = int.from_bytes(flac[18:26], "big")  # rate 20 bits, channels 3, width 5, total samples 36
    unknown = patched(flac, 18, (fields >> 36 << 36).to_bytes(8, "big"))
    yield Odd("unknown length.flac", unknown, SECONDS)
    yield Odd("unknown length and no MD5.flac", patched(unknown, 26, bytes(16)), SECONDS)
    for what, length in (("half", len(flac) // 2), ("last byte", -1)):
        yield Odd(f"unknown length cut {what}.flac", unknown[:length], reason="damaged")
    yield Odd("no MD5.flac", patched(flac, 26, bytes(16)), SECONDS)
    yield Odd("another MD5.flac", patched(flac, 26, b"x" * 16), SECONDS)  # what it is of is whole: every frame has a CRC
    most = patched(flac, 18, (fields >> 36 << 36 | (1 << 36) - 1).to_bytes(8, "big"))
    yield Odd("two to the 36 samples.flac", most, reason="cut short")
    for at in (len(flac) // 3, len(flac) // 2, len(flac) - 40):
        yield Odd(f"another bit at {at}.flac", patched(flac, at, bytes([flac[at] ^ 16])), reason="damaged")


def _ogg() -> Iterator[Odd]:
    vorbis, opus = (encoded(waveform(48000), "OGG", subtype, 48000) for subtype in ("VORBIS", "OPUS"))
    yield Odd("chain.ogg", vorbis + vorbis, 2.0)
    yield Odd("chain.opus", opus + opus + opus, 3.0)
    yield Odd("chain of two codecs.ogg", vorbis + opus, 2.0)
    yield Odd("chain of two rates.ogg", vorbis + encoded(form="OGG"), reason="changes its rate or channels")
    stereo = encoded(np.tile(waveform(48000)[:, None], 2), "OGG", "VORBIS", 48000)
    yield Odd("chain of mono and stereo.ogg", vorbis + stereo, reason="changes its rate or channels")
    yield Odd("chain cut short.ogg", (vorbis + vorbis)[:-100], reason="cut short")
    yield Odd("no last flag.ogg", _without_last_flag(vorbis), reason="cut short")
    for at in (200, len(vorbis) // 2, len(vorbis) - 50):
        yield Odd(f"another bit at {at}.ogg", patched(vorbis, at, bytes([vorbis[at] ^ 16])), reason="damaged")


def _without_last_flag(ogg: bytes) -> bytes:
    """Its last page as of a station that was switched off, with the right checksum."""
    at = ogg.rindex(b"OggS")
    page = patched(patched(ogg[at:], 5, bytes([ogg[at + 5] & ~4])), 22, bytes(4))
    total = 0
    for byte in page:  # as RFC 3533 has it
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ (0x04C11DB7 if total & 0x80000000 else 0)) & 0xFFFFFFFF
    return ogg[:at] + patched(page, 22, struct.pack("<I", total))


def _mp3() -> Iterator[Odd]:
    mp3 = encoded(form="MP3")
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 0]) + bytes(256)
    yield Odd("ID3v2.mp3", tag + mp3, SECONDS)
    yield Odd("ID3v2 twice.mp3", tag + tag + mp3, SECONDS)
    yield Odd("ID3v2 and cut.mp3", tag + mp3[: len(mp3) // 2], reason="cut short")
    yield Odd("ID3v2 alone.mp3", tag, reason="")
    yield Odd("ID3v2 of 256 MB.mp3", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3, reason="")
    yield Odd("two in one.mp3", mp3 + mp3, reason="are counted in the first")
    yield Odd("two and a tag in one.mp3", mp3 + tag + mp3, reason="are counted in the first")
    yield Odd("two rates in one.mp3", mp3 + encoded(form="MP3", rate=16000), reason="changes its rate")
    for form in ("WAV", "AIFF", "FLAC"):
        yield Odd(f"ID3v2.{form.lower()}", tag + encoded(form=form), SECONDS)
    yield Odd("ID3v1.mp3", mp3 + b"TAG" + bytes(125), SECONDS)
    yield Odd("APE.mp3", mp3 + b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8), SECONDS)
    for mode in ("CONSTANT", "VARIABLE", "AVERAGE"):
        file = io.BytesIO()
        soundfile.write(file, waveform(), RATE, format="MP3", bitrate_mode=mode)
        yield Odd(f"{mode}.mp3", file.getvalue(), SECONDS)
        yield Odd(f"{mode} cut.mp3", file.getvalue()[:-50], reason="cut short")
    yield Odd(
        "one frame and noise.mp3", b"\xff\xfb\x90\x00" + random.Random(0).randbytes(5000), reason="not a readable audio file"
    )
    count = mp3.index(b"Info" if b"Info" in mp3 else b"Xing") + 8
    claimed = struct.unpack(">I", mp3[count : count + 4])[0]
    yield Odd("fifty times as long.mp3", patched(mp3, count, struct.pack(">I", 50 * claimed)), reason="cut short")


def _samples() -> Iterator[Odd]:
    for what, sample in (("NaN", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf)):
        for form in ("WAV", "AIFF", "CAF"):
            sound = waveform(100)
            sound[50] = sample
            yield Odd(f"{what}.{form.lower()}", encoded(sound, form, "FLOAT"), reason="NaN or infinite")
    for level in (1e10, 1e20, 1e30, 3e38):
        yield Odd(f"level {level}.wav", encoded(level * waveform(100), subtype="FLOAT"), reason="1 is full scale")
    yield Odd("level 1e300.wav", encoded(1e300 * waveform(100), subtype="DOUBLE"), reason="NaN or infinite")
    for level in (1e-45, 1e-40, 1e-30, 0, 30, 32768, 2.0**31):
        yield Odd(f"level {level}.wav", encoded(level * waveform(), subtype="FLOAT"), SECONDS)
    yield Odd("constant.wav", encoded(np.ones(SAMPLES), subtype="FLOAT"), SECONDS)
    yield Odd("one sample.wav", encoded(np.array([0.5])), 1 / RATE)
    yield Odd("one sample of silence.wav", encoded(np.zeros(1)), 1 / RATE)
    for form in ("WAV", "AIFF", "FLAC", "CAF", "AU"):
        yield Odd(f"no samples.{form.lower()}", encoded(np.zeros(0), form), reason="")


def _no_sound() -> Iterator[Odd]:
    noise = random.Random(1).randbytes(20_000)
    page = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
    picture = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in (
            (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b""),
        )
    )  # fmt: skip
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.wav", WAVE)
    with sqlite3.connect(":memory:") as base:
        base.execute("CREATE TABLE sounds (name TEXT)")
        database = base.serialize()
    base.close()
    contents = {
        "empty.wav": b"", "one byte.wav": b"R", "text.wav": b"This is no sound.\n" * 40, "page.mp3": page, "image.wav": picture,
        "database.wav": database, "archive.wav": packed.getvalue(), "paper.wav": b"%PDF-1.7\n" + noise, "noise.wav": noise,
        "object.wav": pickle.dumps({"x": list(range(99))}), "zeros.wav": bytes(1 << 20), "ones.wav": b"\xff" * (1 << 16),
        "script.wav": b"#!/bin/sh\necho sound\n", "text.raw": b"The quick brown fox jumps over the lazy dog. " * 99,
        "playlist.mp3": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nwhole WAV PCM_16.x\n#EXT-X-ENDLIST\n",
        "list.wav": b"ffconcat version 1.0\nfile whole.wav\n", "jpeg.wav": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + noise,
        "session.wav": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    }  # fmt: skip
    for name, content in contents.items():
        yield Odd(name, content, reason="empty file" if not content else "not a readable audio file")
    magics = {
        "mpc2k": b"\1\4", "avr": b"2BIT", "sds": b"\xf0\x7e", "voc": b"Creative Voice File\x1a", "nist": b"NIST_1A\n",
        "pvf": b"PVF1\n", "mat": b"MATLAB 5.0", "paf": b" paf", "adts": b"\xff\xf1\x50", "ac3": b"\x0b\x77", "amr": b"#!AMR\n",
        "wav": b"RIFF\xff\xff\xff\xffWAVE", "aiff": b"FORM\0\0\xff\xffAIFF", "m4a": b"\0\0\0 ftypM4A ", "mka": b"\x1aE\xdf\xa3",
        "ogg": b"OggS\0\2", "flac": b"fLaC", "caf": b"caff\0\1\0\0", "w64": b"riff\x2e\x91\xcf\x11", "au": b".snd\0\0\0\x18",
        "xi": b"Extended Instrument: ", "svx": b"FORM\0\0\xff\xff8SVX", "wma": b"\x30\x26\xb2\x75",
        "flv": b"FLV\1\4",
    }  # fmt: skip
    for kind, magic in magics.items():
        yield Odd(f"noise that begins well.{kind}", magic + noise, reason="")
        yield Odd(f"zeros that begin well.{kind}", magic + bytes(5000), reason="")
