"""The page of many sounds: what stands in it, that any name is harmless, and that it works in a browser."""

import base64
import hashlib
import io
import os
import re
import shutil
import time
import tracemalloc
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import soundfile

from eranntag.errors import EranntagError
from eranntag.inference.detector import Detection
from eranntag.types import Event, Prediction
from eranntag.visualization.gallery import page as gallery, row as _row, thumbnail
from eranntag.visualization.preview import ClipPreview
from eranntag.visualization.timeline import View

image_module = pytest.importorskip("PIL.Image")

RATE = 32000
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "</noscript><script>alert(1)</script>",
    '"><b onclick=alert(1)>',
    "'onload='alert(1)",
    "a byte \udcff, two\nlines, \u202e",
    "{row} $style & 猫",
)
LOUD = np.linspace(-70, 0, 64 * 500, dtype=np.float32).reshape(64, 500)


def view(source: str, tags: dict[str, float], events: tuple[Event, ...] = (), seconds: float = 2.0) -> View:
    """`tags` in any order; the score in time of each is that of the whole sound, but 0 in the first of four columns."""
    labels, scores = tuple(tags), np.array([*tags.values()], np.float32)
    detection = Detection(events, seconds, 0.1, 16000.0, source, "tiny")
    best = (-scores).argsort(kind="stable")[:3]
    lanes = scores[best, None] * np.array([0, 1, 1, 1], np.float32)
    return View(Prediction(labels, scores, seconds, source, "tiny"), detection, tuple(labels[index] for index in best), lanes)


def mp3(seconds: float = 2.0) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * np.sin(np.arange(int(seconds * RATE)) / 10), RATE, format="MP3")
    return buffer.getvalue()


class Page(HTMLParser):
    """All the tags of a page, the text of its parts by class, and what browsers with scripts take for a <noscript>'s text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in ("img", "meta", "link", "input", "br"):
            self._open.append(attributes.get("class") or (f"#{attributes['id']}" if "id" in attributes else tag))

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for name in self._open[-1:]:
            self.texts.setdefault(name, []).append(data)

    def all(self, tag: str, kind: str = "") -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag and kind in ("", *attrs.get("class", "").split())]

    def text(self, name: str) -> str:
        return "".join(self.texts.get(name, []))


def written(path: Path, *rows: tuple[View, ClipPreview], command: str = "eranntag predict x") -> Page:
    with gallery.document(path, command) as show:
        for row in rows:
            show(*row)
    return Page(path)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(image_module.open(io.BytesIO(png)).convert("RGBA")).astype(int)


def content(url: str) -> bytes:
    return base64.b64decode(url.partition(";base64,")[2], validate=True)


# The page


def test_a_row_shows_what_was_said_and_carries_the_sound(tmp_path: Path) -> None:
    sound = mp3()
    events = (Event("dog", 0.5, 1.5, 0.75), Event("cat", 1.0, 2.0, None))
    tags = {"cat": 0.25, "dog": 0.75, "a": 0.01, "b": 0.02, "c": 0.03, "never shown": 0.001}
    page = written(
        tmp_path / "page.html", (view("in/x.wav", tags, events), ClipPreview(LOUD, sound)), command="eranntag detect in/"
    )
    assert page.text("#summary").strip() == "1 sound, 2.0 s in all" and "tiny" in page.text("code")
    assert "eranntag detect in/" in page.text("code") and "never shown" not in page.source
    assert page.text("name") == "x.wav" and page.all("th", "file")[0]["title"] == "in/x.wav"
    (row,) = (attrs for attrs in page.all("tr") if "data-seconds" in attrs)
    assert (float(row["data-seconds"]), float(row["data-score"]), int(row["data-events"])) == (2.0, 0.75, 2)
    assert [attrs["style"] for attrs in page.all("span") if "--score" in attrs.get("style", "")][:2] == [
        "--score:0.750", "--score:0.250",
    ]  # fmt: skip
    dog, cat = page.all("i")
    assert "left:25.000%;width:50.000%" in dog["style"] and dog["title"] == "dog 0.50 to 1.50 s, score 0.750"
    assert "left:50.000%;width:50.000%" in cat["style"] and cat["title"] == "cat 1.00 to 2.00 s"
    assert dog["class"] != cat["class"]  # colors differ, and beside each there stands its label
    assert [attrs["title"] for attrs in page.all("b")] == ["dog", "cat"]
    assert page.text("labels") == "dog, cat"
    assert content(page.all("audio")[0]["src"]) == sound
    assert pixels(content(page.all("img", "mel")[0]["src"])).shape == (64, 480, 4)


def test_events_of_a_label_have_the_same_color_in_every_row(tmp_path: Path) -> None:
    rows = [view("x", {"a": 0.5}, (Event(label, 0, 1, 0.5),)) for label in "abcdefghijklmnopqra"]
    classes = [
        attrs["class"] for attrs in written(tmp_path / "p.html", *((each, ClipPreview(LOUD, b"x")) for each in rows)).all("i")
    ]
    assert classes[0] == classes[-1] and len(set(classes)) == 18


def test_lanes_are_of_labels_with_events_or_scores(tmp_path: Path) -> None:
    """Also of a label whose score in time is not known; not of one that was hardly there."""
    seen = view("x", {"loud": 0.9, "faint": 0.3, "absent": 0.05}, (Event("other", 0, 1, 0.5),))
    page = written(tmp_path / "page.html", (seen, ClipPreview(LOUD, b"x")))
    assert [attrs["title"] for attrs in page.all("b")] == ["loud", "faint", "other"]
    assert len(page.all("img")) == 1 + 2


def test_names_and_labels_are_only_text(tmp_path: Path) -> None:
    """In the command, the checkpoint, paths, tags, events, lanes: the page has the tags of a harmless one, in its order."""

    def rows(words: tuple[str, ...]) -> list[tuple[View, ClipPreview]]:
        tags = {word: 0.9 - index / 10 for index, word in enumerate(words)}
        events = tuple(Event(word, 0, 1, 0.5) for word in words)
        return [(view(word, tags, events), ClipPreview(LOUD, b"x")) for word in words]

    harmless = tuple(f"word {index}" for index in range(len(HOSTILE)))
    expected = written(tmp_path / "a.html", *rows(harmless), command="word")
    page = written(tmp_path / "b.html", *rows(HOSTILE), command=HOSTILE[0])
    assert [(tag, set(attrs)) for tag, attrs in page.tags] == [(tag, set(attrs)) for tag, attrs in expected.tags]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    for word in (*HOSTILE[:4], "a byte \\xff, two\\x0alines, \\u202e", HOSTILE[5]):
        assert page.text("labels").count(word) == len(HOSTILE)
    assert HOSTILE[0] in page.text("code") and page.source.count("\udcff") == 0


def test_only_the_pages_own_script_may_run_and_nothing_may_be_loaded(tmp_path: Path) -> None:
    page = written(tmp_path / "page.html", (view("x", {"a": 0.5}), ClipPreview(LOUD, b"x")))
    (policy,) = (attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    (script,) = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ") and f"script-src 'sha256-{digest}';" in policy
    assert "connect-src" not in policy and "http" not in policy
    assert not re.search(r"https?:|@import|\bfetch\(|innerHTML", page.source)
    urls = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert len(urls) > 3 and all(url.startswith("data:") for url in urls)


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not allow")
@pytest.mark.parametrize("name", ["plain.wav", "javascript:alert(1)", "a b#c?d%41&'\".wav", "\udcff 猫.wav", "<img src=x>"])
def test_a_sound_that_is_not_carried_is_linked_from_where_the_page_is(tmp_path: Path, name: str) -> None:
    for folder in ("pages", "sounds"):
        (tmp_path / folder).mkdir()
    sound = tmp_path / "sounds" / name
    try:
        sound.write_bytes(b"sound")
    except OSError:
        pytest.skip("the file system has no such names")
    page = written(tmp_path / "pages" / "page.html", (view(str(sound), {"a": 0.5}), ClipPreview(LOUD, b"")))
    url = page.all("audio")[0]["src"]
    assert page.all("a", "name")[0]["href"] == url and re.fullmatch(r"\.\./[\w.%/-]*", url)
    assert (tmp_path / "pages" / os.fsdecode(unquote_to_bytes(url))).read_bytes() == b"sound"
    assert "linked, not embedded" in page.text("small")


@pytest.mark.parametrize("source", ["-", "", "no/such/file.wav"])
def test_a_sound_that_no_file_has_is_only_shown(tmp_path: Path, source: str) -> None:
    page = written(tmp_path / "page.html", (view(source, {"a": 0.5}), ClipPreview(LOUD, b"")))
    assert not page.all("noscript") and not page.all("a") and page.text("small") == "without its sound"


def test_rows_come_in_the_order_they_were_shown_with_totals_above(tmp_path: Path) -> None:
    names = [f"{index % 7}-{index}.wav" for index in range(30)]
    page = written(
        tmp_path / "page.html", *((view(name, {"a": 0.5}, seconds=150.0), ClipPreview(LOUD, b"x")) for name in names)
    )
    assert page.texts["name"] == names and page.text("#summary").strip() == "30 sounds, 1:15:00 in all"
    assert page.source.index("in all") < page.source.index("<tbody")


def test_without_any_sound_the_page_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with gallery.document(path, ""):
        pass
    assert not list(tmp_path.iterdir())
    path.write_text("earlier")
    with pytest.raises(KeyboardInterrupt), gallery.document(path, ""):
        raise KeyboardInterrupt
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]


def test_a_page_carries_so_much_sound_and_links_what_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "EMBEDDED_BYTES", 250)
    page = tmp_path / "page.html"
    with gallery.document(page, "") as show:
        for number in range(4):
            show(view(f"{number}.wav", {"a": 0.5}), ClipPreview(LOUD, bytes([number]) * 100))
    text = page.read_text()
    carried = [base64.b64encode(bytes([number]) * 100).decode() in text for number in range(4)]
    assert carried == [True, True, False, False]


def test_a_row_that_could_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, whole = tmp_path / "page.html", gallery.row
    with gallery.document(page, "") as show:
        show(view("first.wav", {"a": 0.5}), ClipPreview(LOUD, b"x"))
        monkeypatch.setattr(gallery, "row", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            show(view("second.wav", {"a": 0.5}), ClipPreview(LOUD, b"x"))
        monkeypatch.setattr(gallery, "row", whole)
        show(view("third.wav", {"a": 0.5}), ClipPreview(LOUD, b"x"))
    assert "second.wav" not in page.read_text() and "2 sounds" in page.read_text()


@pytest.mark.parametrize(
    ("seconds", "last"), [(0.31, "0.3 s"), (5.0, "5 s"), (59.9, "50 s"), (90.0, "1:30"), (3600.0, "1:00:00")]
)
def test_the_axis_of_time_has_few_round_ticks(seconds: float, last: str) -> None:
    axis = _row._axis(seconds)
    ticks, places = re.findall(r">([^<]+)</span>", axis), [float(place) for place in re.findall(r"left:([\d.]+)%", axis)]
    assert ticks[-1] == last and 4 <= len(ticks) <= 9 and places[0] == 0 and places[-1] <= 100
    assert np.ptp(np.diff(places)) < 0.01
    assert len(re.findall("<span", _row._axis(1e6))) <= 9 and _row._axis(0.0)


# How it is written


def test_an_error_leaves_the_old_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="broken"), gallery.document(path, "") as show:
        show(view("x", {"a": 0.5}), ClipPreview(LOUD, b"x"))
        raise ValueError("broken")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("rows", [1, 2])
def test_an_interruption_leaves_a_whole_page_that_says_so(tmp_path: Path, stop: type[BaseException], rows: int) -> None:
    """Even one that comes when half a row is written."""
    path = tmp_path / "page.html"
    with pytest.raises(stop), gallery.document(path, "command") as show:
        for index in range(rows):
            show(view(f"{index}.wav", {"a": 0.5}), ClipPreview(LOUD, b"x"))
        show.__self__.file.write(b"<tr><td>" + 10_000 * b"half a row")
        raise stop
    page = Page(path)
    assert page.texts.get("name", []) == [f"{index}.wav" for index in range(rows)] and "half a row" not in page.source
    assert page.source.endswith("</html>\n") and page.source.count("</tbody>") == 1
    assert "Incomplete" in page.text("warning") and f"{rows} sound" in page.text("#summary")


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    row = view("x", {"a": 0.5}), ClipPreview(LOUD[:, :10], bytes(100_000))
    with gallery.document(tmp_path / "page.html", "") as show:
        show(*row)
        tracemalloc.start()
        for _ in range(100):
            show(*row)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / "page.html").stat().st_size > 13_000_000 and peak < 2_000_000


def test_without_pillow_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.check()
    monkeypatch.setattr(gallery, "find_spec", lambda name: None)
    with pytest.raises(EranntagError, match=r"pip install 'eranntag\[plot\]'"):
        gallery.check()


# The pictures


def test_a_picture_has_time_to_the_right_frequency_upward_and_80_db() -> None:
    image = np.full((64, 400), -200, np.float32)
    image[3, 300] = -20  # low, late, the loudest
    image[60, 100] = -60  # high, early, half way
    image[30, 200] = -99.9  # hardly brighter than the darkest
    colors = pixels(thumbnail.spectrogram(image))
    dark, bright = thumbnail.cividis(2).astype(int)
    assert colors.shape == (64, 400, 4) and (colors[60, 300, :3] == bright).all()
    middle = thumbnail.cividis(64)[[31, 32]]
    assert any((colors[3, 100, :3] == color).all() for color in middle) and (colors[33, 200, :3] == dark).all()
    assert (colors[..., :3] == dark).all(-1).sum() == 64 * 400 - 2


@pytest.mark.parametrize("columns", [1, 3, 480, 481, 5000])
def test_pictures_are_small_and_silence_is_dark(columns: int) -> None:
    silence = pixels(thumbnail.spectrogram(np.full((128, columns), -100, np.float32)))
    assert silence.shape == (64, min(columns, 480), 4)
    assert (silence[..., :3] == thumbnail.cividis(2)[0]).all()


@pytest.mark.parametrize("columns", [1, 300, 480, 1000])
def test_heat_keeps_the_highest_score_where_it_is(columns: int) -> None:
    scores = np.zeros(columns, np.float32)
    scores[columns // 2] = 1
    (opacity,) = pixels(thumbnail.heat(scores))[..., 3]
    assert len(opacity) == min(columns, 480) and opacity.sum() == opacity.max() == int(255 * thumbnail.HEAT)
    assert opacity.argmax() == pytest.approx(len(opacity) * (columns // 2) / columns, abs=1)


def test_the_colors_are_cividis() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    theirs = 255 * np.array(matplotlib.colormaps["cividis"].colors)
    assert np.abs(thumbnail.cividis(256) - theirs).max() < 2


# In a browser

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)
CLIPS = 500
BEGAN = "audio.addEventListener('playing', () => { window.began = audio.currentTime }, { once: true })"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 sounds, all carried but the second, which is linked; their names, scores and events go in different orders."""
    folder = tmp_path_factory.mktemp("gallery")
    linked = folder / "a b#c?d%41'<b>.wav"
    soundfile.write(linked, 0.1 * np.sin(np.arange(3 * RATE) / 10), RATE)
    sound = mp3()
    with gallery.document(folder / "page.html", "eranntag detect sounds") as show:
        for index in range(CLIPS):
            source, seconds = (str(linked), 3.0) if index == 1 else (f"sounds/{index}{HOSTILE[index % 6]}", 2.0)
            tags = {"siren" if index % 50 == 0 else "rain": (index * 7 % CLIPS) / CLIPS, HOSTILE[0]: 0.001}
            events = tuple(Event(HOSTILE[1], 0.5 + turn / 10, 2.0, 0.5) for turn in range(index * 3 % 5))
            show(view(source, tags, events, seconds), ClipPreview(LOUD[:, :100], b"" if index == 1 else sound))
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'eranntag[test]'")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    quiet = "--disable-background-networking --no-first-run --disable-component-update --disable-sync"
    options = f"--no-sandbox --disable-gpu --mute-audio {quiet}".split()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, large: Path) -> Iterator[Any]:
    """The page; in the end it must have loaded nothing but itself and its sounds, without an error."""
    page = browser.new_page()
    troubles: list[str] = []
    requests: set[str] = set()
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: (troubles.append("a dialog"), dialog.dismiss()))
    page.on("request", lambda request: requests.add(request.url))
    page.goto(large.as_uri())
    yield page
    page.close()
    assert not troubles
    others = {url for url in requests - {large.as_uri()} if not url.startswith(("data:", "blob:"))}
    assert {unquote_to_bytes(url.removeprefix("file://")) for url in others} <= {
        os.fsencode(file) for file in large.parent.iterdir()
    }


def names(page: Any) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('tbody tr:not([hidden]) .name')].map((name) => name.textContent)")


def wait(page: Any, condition: str) -> None:
    """Playwright's own way would need the page to allow eval()."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


@pytest.mark.browser
def test_a_browser_sorts_and_finds(opened: Any) -> None:
    first = names(opened)
    assert len(first) == CLIPS

    def values(name: str) -> list[float]:
        return opened.evaluate(f"[...document.querySelectorAll('tbody tr')].map((row) => Number(row.dataset.{name}))")

    def head(name: str) -> Any:
        return opened.locator(f"thead th:has(button:text-is('{name}'))")

    head("Best score").locator("button").press("Enter")
    assert values("score") == sorted(values("score"), reverse=True) and names(opened) != first
    assert head("Best score").get_attribute("aria-sort") == "descending"
    head("Best score").locator("button").click()
    assert values("score") == sorted(values("score"))
    assert head("Best score").get_attribute("aria-sort") == "ascending"
    head("Events").locator("button").click()
    assert values("events") == sorted(values("events"), reverse=True)
    assert head("Best score").get_attribute("aria-sort") is None
    head("Length").locator("button").click()
    assert values("seconds") == [3.0] + (CLIPS - 1) * [2.0]

    opened.locator("#find").fill("SIREN sounds/")
    assert len(names(opened)) == CLIPS // 50 and opened.locator("#found").text_content() == f"10 of {CLIPS}"
    opened.locator("#find").fill("")
    assert len(names(opened)) == CLIPS


@pytest.mark.parametrize(("index", "seconds", "scheme"), [(0, 2.0, "blob:"), (1, 3.0, "file:")])
@pytest.mark.browser
def test_a_browser_plays_from_where_one_clicks(opened: Any, index: int, seconds: float, scheme: str) -> None:
    """A sound that is carried, and one that is linked."""
    picture = opened.locator(".mel").nth(index)
    box = picture.bounding_box()
    opened.evaluate(BEGAN)
    picture.click(position={"x": box["width"] / 4, "y": 20})
    wait(opened, f"audio.currentTime > {seconds / 4 + 0.2}")
    began, duration, source = opened.evaluate("[began, audio.duration, audio.src]")
    assert began == pytest.approx(seconds / 4, abs=0.15)
    assert duration == pytest.approx(seconds, abs=0.05) and source.startswith(scheme)
    opened.keyboard.press("Space")
    assert opened.evaluate("audio.paused")
    opened.evaluate("audio.currentTime = 1.5")
    wait(opened, f"Math.abs(parseFloat(document.querySelector('.head').style.left) - {150 / seconds}) < 0.1")
    head = opened.locator(".current .head").bounding_box()
    assert head["x"] + head["width"] / 2 == pytest.approx(box["x"] + box["width"] * 1.5 / seconds, abs=1)
    assert opened.locator("#playing").text_content() == names(opened)[index]


@pytest.mark.browser
def test_a_browser_plays_events_and_neighbours_by_keyboard(opened: Any) -> None:
    event = opened.locator("tr").nth(3).locator("i").nth(0)  # of the sound with index 2
    opened.evaluate(BEGAN)
    event.focus()
    opened.keyboard.press("Enter")
    wait(opened, "audio.currentTime > 0.6 && !audio.paused")
    assert opened.evaluate("began") == pytest.approx(0.5, abs=0.15)
    assert opened.locator("#playing").text_content() == names(opened)[2]
    for key, index in (("j", 3), ("j", 4), ("k", 3)):
        opened.keyboard.press(key)
        assert opened.locator("#playing").text_content() == names(opened)[index]
        wait(opened, "!audio.paused && audio.currentTime < 1")


@pytest.mark.browser
def test_a_browser_without_scripts_shows_and_plays_too(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    written(path, *2 * [(view("x", {"a": 0.5}), ClipPreview(LOUD, mp3()))])
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    for part in (".mel", "td audio", ".lane", ".axis"):
        assert page.locator(part).count() == 2 and page.locator(part).nth(1).is_visible()
    assert not page.locator("#find").is_visible() and not page.locator("#player").is_visible()
    context.close()
