"""Music by fluidsynth with the FluidR3 sound font: every General MIDI instrument, drum kits, percussion, small bands."""

import random
import struct
from collections.abc import Iterable
from pathlib import Path

from programs import run

from eranntag.errors import DataError

RATE_HZ = 44100
SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
Note = tuple[float, float, int, int, int]  # onset and length in beats, channel, key, velocity
DRUMS = 9  # the channel
KITS = (0, 8, 16, 24, 25, 32, 40, 48)
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10), (0, 1, 4, 5, 7, 8, 11))
GROOVES = {  # keys of General MIDI drums and the eighths at which they sound
    "rock": {36: (0, 3, 4), 38: (2, 6), 42: range(8)},
    "disco": {36: (0, 2, 4, 6), 38: (2, 6), 46: (1, 3, 5, 7)},
    "reggae": {36: (4,), 37: (4,), 42: (0, 2, 3, 4, 6, 7)},
    "latin": {36: (0, 3, 4, 7), 56: (0, 2, 4, 6), 62: (1, 5), 63: (2, 3, 6), 70: range(8)},
    "jazz": {51: (0, 2, 3, 4, 6, 7), 44: (2, 6), 38: (5,)},
    "march": {36: (0, 4), 38: (0, 2, 3, 4, 6, 7), 49: (0,)},
}
BANDS = (  # programs of melody, chords, bass
    (24, 0, 32), (30, 29, 34), (65, 0, 32), (56, 16, 33), (73, 46, 43), (40, 48, 42), (80, 90, 38), (21, 24, 32), (105, 25, 32),
    (11, 4, 35), (52, 19, 43), (104, 91, 39), (71, 61, 58), (22, 26, 33), (75, 108, 45), (81, 62, 87),
)  # fmt: skip


def instruments(folder: Path) -> None:
    """fluidsynth with FluidR3: every General MIDI program plays a melody and chords, every kit its grooves, and small bands."""
    for program in range(128):
        chance = random.Random(program)
        _play(folder / f"melody-{program:03}.wav", {0: program}, _melody(chance, 0), chance.uniform(70, 160))
        _play(folder / f"chords-{program:03}.wav", {0: program}, _chords(chance, 0), chance.uniform(60, 130))
    for index, (kit, (name, groove)) in enumerate((kit, groove) for kit in KITS for groove in GROOVES.items()):
        _play(folder / f"drums-{kit:02}-{name}.wav", {DRUMS: kit}, _drums(groove), random.Random(index).uniform(70, 170))
    for key in range(35, 82):
        hits = [(beat, 1.0, DRUMS, key, 110) for beat in (0.0, 1.0, 2.0, 2.5, 3.0)]
        _play(folder / f"percussion-{key}.wav", {DRUMS: 0}, hits, 100)
    for index in range(3 * len(BANDS)):
        chance = random.Random(1000 + index)
        programs = dict(enumerate(BANDS[index % len(BANDS)]))
        key = chance.randrange(-5, 7)
        notes = [*_melody(chance, 0, key), *_chords(chance, 1, key), *_bass(chance, 2, key)]
        groove = chance.choice([*GROOVES.values(), {}])
        _play(folder / f"band-{index:02}.wav", programs, [*notes, *_drums(groove)], chance.uniform(70, 170))


def _melody(chance: random.Random, channel: int, key: int | None = None) -> list[Note]:
    scale, tonic = chance.choice(SCALES), 60 + (chance.randrange(-18, 19) if key is None else key)
    at, step, notes = 0.0, 0, []
    while at < 24:
        length = chance.choice((0.5, 0.5, 1.0, 1.0, 2.0))
        step = max(-4, min(9, step + chance.randrange(-3, 4)))
        pitch = tonic + 12 * (step // len(scale)) + scale[step % len(scale)]
        notes.append((at, length * 0.95, channel, pitch, chance.randrange(60, 120)))
        at += length
    return notes


def _chords(chance: random.Random, channel: int, key: int | None = None) -> list[Note]:
    tonic = 52 + (chance.randrange(-7, 13) if key is None else key)
    strum = chance.choice((4.0, 2.0, 1.0))
    triads = chance.sample([(0, 4, 7), (5, 9, 12), (7, 11, 14), (9, 12, 16), (2, 5, 9), (0, 4, 10)], 4)
    return [
        (beat * strum, strum * 0.9, channel, tonic + tone, 80)
        for beat in range(int(24 / strum))
        for tone in triads[int(beat * strum / 4) % 4]
    ]


def _bass(chance: random.Random, channel: int, key: int) -> list[Note]:
    roots = [chance.choice((0, 5, 7, 9)) for _ in range(6)]
    return [(float(beat), 0.9, channel, 36 + key + roots[beat // 4] + chance.choice((0, 0, 7, 12)), 95) for beat in range(24)]


def _drums(groove: dict[int, Iterable[int]]) -> list[Note]:
    return [
        (4.0 * bar + eighth / 2, 0.4, DRUMS, key, 100 - 8 * (eighth % 2))
        for bar in range(6)
        for key, eighths in groove.items()
        for eighth in eighths
    ]


def _play(path: Path, programs: dict[int, int], notes: list[Note], beats_per_minute: float) -> None:
    score = path.with_suffix(".mid")
    score.write_bytes(midi(programs, notes, beats_per_minute))
    if not SOUND_FONT.is_file():
        raise DataError(f"{SOUND_FONT}: no such file; docs/free-audio.md shows the command that installs it")
    run(
        [
            "fluidsynth",
            "-ni",
            "-o",
            "synth.dynamic-sample-loading=1",
            "-g",
            "0.6",
            "-r",
            str(RATE_HZ),
            "-F",
            path,
            SOUND_FONT,
            score,
        ]
    )
    score.unlink()


def midi(programs: dict[int, int], notes: list[Note], beats_per_minute: float) -> bytes:
    """A Standard MIDI File of one track, 480 ticks a beat."""
    events = [(0, bytes([0xC0 | channel, program])) for channel, program in programs.items()]
    for onset, length, channel, key, velocity in notes:
        events.append((round(480 * onset), bytes([0x90 | channel, key, velocity])))
        events.append((round(480 * (onset + length)), bytes([0x80 | channel, key, 0])))
    track, before = b"\x00\xff\x51\x03" + round(60e6 / beats_per_minute).to_bytes(3, "big"), 0
    for at, event in sorted(events):
        track, before = track + _variable(at - before) + event, at
    track += b"\x00\xff\x2f\x00"
    return struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, 480, b"MTrk", len(track)) + track


def _variable(number: int) -> bytes:
    """MIDI's numbers: seven bits a byte, the highest bit set in all but the last."""
    digits = [number & 127]
    while number := number >> 7:
        digits.append(number & 127 | 128)
    return bytes(reversed(digits))
