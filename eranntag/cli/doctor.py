"""eranntag doctor: diagnostics of the environment."""

import click

from eranntag.cli._options import common
from eranntag.cli.display import terminal


@click.command()
@common.JSON
def command(as_json: bool) -> None:
    """Report versions, devices, readable formats, the cache and the default checkpoint, and how to fix problems.

    Nothing is downloaded. Exit code 1: `predict` cannot work here.
    """
    import dataclasses

    from eranntag.cli import _diagnostics
    from eranntag.cli._allocator import keep_memory

    keep_memory()
    findings = list(_diagnostics.examine())
    if as_json:
        common.print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        terminal.print_fields({finding.name: finding.value for finding in findings})
        for finding in findings:
            if finding.remedy:
                terminal.print_status(f"eranntag: {finding.name}: {finding.remedy}")
    if any(finding.fatal and finding.remedy for finding in findings):
        raise SystemExit(1)
