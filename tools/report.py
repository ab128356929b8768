"""The content of a corpus as Markdown tables."""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

from manifest import TABLE, Row

SHARE = 0.1  # of the corpus: larger sources are reported
LICENSES = 4  # of a source, shown in the table; the manifest has all


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_sources(rows: list[Row]) -> None:
    """The sources as a Markdown table, with a line for a source of more than SHARE."""
    by_source = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    total = sum(row.seconds for row in rows)
    print("| source | version | kind | split | pieces | minutes | licence |\n|---|---|---|---|---:|---:|---|")
    for name, own in sorted(by_source.items()):
        licenses = list(dict.fromkeys(licence for row in own for licence in row.licence.split("; ")))
        shown = "; ".join(licenses[:LICENSES]) + (f"; {len(licenses) - LICENSES} more" if len(licenses) > LICENSES else "")
        minutes = sum(row.seconds for row in own) / 60
        print(f"| {name} | {own[0].version} | {own[0].kind} | {own[0].split} | {len(own)} | {minutes:.1f} | {shown} |")
        if 60 * minutes > SHARE * total:
            progress(f"{name}: more than {SHARE:.0%} of the corpus; lower its minutes in {TABLE.name}")
    print("\n| kind | train, hours | test, minutes |\n|---|---:|---:|")
    for kind in [*sorted({row.kind for row in rows}), ""]:
        train, test = (
            sum(row.seconds for row in rows if row.split == split and kind in ("", row.kind)) for split in ("train", "test")
        )
        print(f"| {kind or 'all'} | {train / 3600:.2f} | {test / 60:.1f} |")


def print_labels(tags: Path, most: int) -> None:
    """The most frequent labels in the output of `predict --format jsonl`, as Markdown: label, number of pieces."""
    counts, pieces_read = Counter(), 0
    for line in tags.read_text(encoding="utf-8").splitlines():
        pieces_read += 1
        counts.update(tag["label"] for tag in json.loads(line).get("tags", []))
    print(f"\n{len(counts)} labels in {pieces_read} pieces; the most frequent, with the number of pieces that have each:\n")
    print("; ".join(f"{label} {count}" for label, count in counts.most_common(most)))
