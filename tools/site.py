"""Hooks of mkdocs.yml: README.md and its neighbors as pages of the site, beside those of docs/."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files with a page for each file of PAGES."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Text of a page in which links to files of PAGES lead to their pages."""
    return re.sub(r"\]\((?:\.\./)?([A-Z]+\.md)", lambda link: f"]({PAGES[link[1]]}", markdown)
