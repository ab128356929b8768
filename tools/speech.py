"""Speech by free synthesizers: the sentences of sentences.toml, read by espeak-ng, flite and festival.

Each function writes WAV files into a folder; DataError where the program is not installed.
"""

import random
import tomllib
from pathlib import Path

from programs import run

SENTENCES: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("sentences.toml").read_text(encoding="utf-8"))
NUMBERS = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10. 21, 34, 55, 89. 1984, 2026."
VARIANTS = (
    "m1 m3 m5 m7 f1 f2 f3 f4 f5 whisper whisperf croak "
    "Andrea Annie Auntie Belinda Denis Gene Henrique Lee Linda Mike Quincy Steph"
).split()  # of espeak-ng's voices: men, women, whispers
FLITE_VOICES = ("awb", "kal16", "rms", "slt")
FESTIVAL_VOICES = {  # voice: language, encoding
    "voice_ked_diphone": ("en", "ascii"),
    "voice_kal_diphone": ("en", "ascii"),
    "voice_cmu_us_slt_arctic_hts": ("en", "ascii"),
    "voice_lp_diphone": ("it", "latin-1"),
    "voice_pc_diphone": ("it", "latin-1"),
    "voice_hy_fi_mv_diphone": ("fi", "latin-1"),
    "voice_upc_ca_ona_hts": ("ca", "latin-1"),
    "voice_czech_ph": ("cs", "iso-8859-2"),
    "voice_msu_ru_nsh_clunits": ("ru", "utf-8"),
}


def espeak(folder: Path) -> None:
    """espeak-ng: every language counts, and those of SENTENCES speak in all VARIANTS, at several speeds and pitches."""
    voices = [line.split()[4] for line in run(["espeak-ng", "--voices"]).splitlines()[1:]]
    texts = [(voice, "", NUMBERS) for voice in voices]
    for language, sentences in SENTENCES.items():
        voice = "en-us" if language == "en" else language
        texts += [(voice, variant, " ".join(_rotated(sentences, at)[:2])) for at, variant in enumerate(VARIANTS)]
    for index, (language, variant, text) in enumerate(texts):
        chance = random.Random(index)
        voice = f"{language}+{variant}" if variant else language
        path = folder / f"{voice.replace('/', '-').replace('+', '-')}-{index:03}.wav"
        speed, pitch = chance.randrange(120, 210), chance.randrange(20, 85)
        run(["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", path], text)


def flite(folder: Path) -> None:
    """flite: its voices read the English sentences."""
    for voice in FLITE_VOICES:
        for index, sentence in enumerate(SENTENCES["en"]):
            run(["flite", "-voice", voice, "-t", sentence, "-o", folder / f"{voice}-{index:02}.wav"])


def festival(folder: Path) -> None:
    """festival: the installed ones of FESTIVAL_VOICES read the sentences of their language."""
    installed = run(["festival", "--pipe"], "(print (voice.list))")
    for voice, (language, encoding) in FESTIVAL_VOICES.items():
        if voice.removeprefix("voice_") in installed:
            for index, sentence in enumerate(SENTENCES[language]):
                path = folder / f"{voice}-{index:02}.wav"
                run(["text2wave", "-eval", f"({voice})", "-o", path], sentence, encoding)


def _rotated(items: list[str], by: int) -> list[str]:
    return items[by % len(items) :] + items[: by % len(items)]
