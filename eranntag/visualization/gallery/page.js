"use strict";
const find = document.getElementById("find"), found = document.getElementById("found");
const player = document.getElementById("player"), audio = document.getElementById("audio"), playing = document.getElementById("playing");
const body = document.querySelector("tbody"), heads = [...document.querySelectorAll("thead th")];

// Sorting: a column's values are compared as numbers or as text, in which 10 comes after 9.

const collator = new Intl.Collator(undefined, { numeric: true });
const FILE = 0, COLUMNS = [
  (row) => row.cells[0].title,
  (row) => Number(row.dataset.seconds),
  (row) => row.cells[2].firstChild?.textContent ?? "",
  (row) => Number(row.dataset.score),
  (row) => Number(row.dataset.events),
  (row) => row.cells[5].textContent,
];
const LARGEST_FIRST = new Set([1, 3, 4]);

function compare(one, other) {
  return typeof one === "number" ? one - other : collator.compare(one, other);
}

function sort(column) {
  const before = heads[column].getAttribute("aria-sort");
  const up = before ? before === "descending" : !LARGEST_FIRST.has(column);
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  const keyed = [...body.rows].map((row) => ({ row, key: COLUMNS[column](row), file: COLUMNS[FILE](row) }));
  const empty = ({ key }) => Number(key === ""); // at the end, whatever the direction
  keyed.sort((one, other) =>
    empty(one) - empty(other) || (up ? 1 : -1) * compare(one.key, other.key) || compare(one.file, other.file));
  body.append(...keyed.map(({ row }) => row));
}

heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => sort(column)));

// Searching: a row stays if each word is somewhere in its path, tags or event labels.

const texts = new Map();

function text(row) {
  if (!texts.has(row)) {
    const words = [row.cells[0].title, row.cells[5].textContent];
    for (const tag of row.cells[2].children) words.push(tag.textContent);
    texts.set(row, words.join("\n").toLowerCase());
  }
  return texts.get(row);
}

function search() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const row of body.rows) {
    row.hidden = !words.every((word) => text(row).includes(word));
    left += !row.hidden;
  }
  found.value = words.length ? `${left} of ${body.rows.length}` : "";
}

find.addEventListener("input", search);

// Playing: one player for all; the sound is what the row's <noscript> would play.

const head = document.createElement("div");
head.className = "head";
let current = null;

function source(row) {
  const [, url] = /src="([^"]*)"/.exec(row.querySelector("noscript")?.textContent ?? "") ?? [];
  if (!url?.startsWith("data:")) return url;
  const [, type, content] = /^data:([^;]*);base64,(.*)$/.exec(url);
  return URL.createObjectURL(new Blob([Uint8Array.from(atob(content), (char) => char.charCodeAt(0))], { type }));
}

function select(row) {
  const url = source(row);
  if (!url) return false;
  if (audio.src.startsWith("blob:")) URL.revokeObjectURL(audio.src);
  current?.classList.remove("current");
  current = row;
  row.classList.add("current");
  row.querySelector(".track").append(head);
  playing.textContent = row.querySelector(".name").textContent;
  playing.title = row.cells[0].title;
  player.hidden = false;
  audio.src = url;
  return true;
}

function play(row, seconds) {
  if ((row !== current || audio.error) && !select(row)) return;
  audio.currentTime = seconds;
  draw();
  audio.play().catch(() => {}); // a broken sound is told by its error event, and one that was left meanwhile is no error
}

function step(by) {
  const rows = [...body.rows].filter((row) => !row.hidden && row.querySelector("noscript"));
  const row = rows[current ? rows.indexOf(current) + by : 0];
  if (!row) return;
  row.scrollIntoView({ block: "nearest" });
  play(row, 0);
}

function draw() {
  if (!current) return;
  head.style.left = `${Math.min(100, (100 * audio.currentTime) / current.dataset.seconds)}%`;
  if (!audio.paused && !audio.ended) requestAnimationFrame(draw);
}

for (const event of ["play", "seeked", "pause", "ended"]) audio.addEventListener(event, draw);
audio.addEventListener("error", () => { playing.textContent = `cannot be played: ${playing.title}`; });
document.getElementById("previous").addEventListener("click", () => step(-1));
document.getElementById("next").addEventListener("click", () => step(1));

body.addEventListener("click", (event) => {
  const track = event.target.closest(".track"), row = event.target.closest("tr");
  if (!track || event.target.closest(".hz, .lane b, .axis")) return;
  const { left, width } = track.getBoundingClientRect();
  const there = Math.min(1, Math.max(0, (event.clientX - left) / width)) * row.dataset.seconds;
  play(row, Number(event.target.dataset.at ?? there));
});

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (target.matches("input, audio, summary") || event.ctrlKey || event.altKey || event.metaKey) return;
  if (key === "Enter" && target.closest(".track")) play(target.closest("tr"), Number(target.dataset.at ?? 0));
  else if (key === " " && current && !target.matches("button, a")) audio.paused ? audio.play() : audio.pause();
  else if (key === "j") step(1);
  else if (key === "k") step(-1);
  else if (key === "ArrowLeft" && current) audio.currentTime -= 1;
  else if (key === "ArrowRight" && current) audio.currentTime += 1;
  else return;
  event.preventDefault();
});
