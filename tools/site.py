"""Hooks of mkdocs.yml: README.md and its neighbors, and the help of every command, as pages beside those of docs/."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from eranntag.cli import cli

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
COLUMNS = 78  # of a help text, as wide as the page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files with a page for each file of PAGES, and one of all commands."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    sections = "\n".join(help_sections(cli, "eranntag"))
    files.append(File.generated(config, "cli.md", content=f"# Command line\n\nThe output of `--help`.\n\n{sections}"))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Text of a page in which links to files of PAGES lead to their pages."""
    return re.sub(r"\]\((?:\.\./)?([A-Z]+\.md)", lambda link: f"]({PAGES[link[1]]}", markdown)


def help_sections(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    """Markdown sections of a command and its subcommands: the heading and the help text."""
    context = click.Context(command, parent, info_name=name, terminal_width=COLUMNS, **command.context_settings)
    level = "##" if parent is None or parent.parent is None else "###"
    yield f"{level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from help_sections(command.get_command(context, child), child, context)
