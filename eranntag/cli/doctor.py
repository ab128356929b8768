"""eranntag doctor: what is installed, and what is wrong with it."""

import click

from eranntag.cli.display import terminal
from eranntag.results import formats


@click.command()
@click.option("--json", is_flag=True, help="Print JSON.")
def command(json: bool) -> None:
    """Report versions, devices, readable formats, the cache and the default checkpoint, and what to do about troubles.

    Nothing is downloaded. Exit code 1: `predict` cannot work here.
    """
    import dataclasses

    from eranntag.cli import _diagnostics
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import predictions

    keep_memory()
    findings = list(_diagnostics.examine())
    if json:
        terminal.write_output(formats.dumps([dataclasses.asdict(finding) for finding in findings], indent=1) + "\n")
    else:
        predictions.fields({finding.name: finding.value for finding in findings})
        for finding in findings:
            if finding.remedy:
                terminal.print_status(f"eranntag: {finding.name}: {finding.remedy}")
    if any(finding.fatal and finding.remedy for finding in findings):
        raise SystemExit(1)
