"""eranntag doctor: what is installed, and what is wrong with it."""

import click

from eranntag import records, terminal


@click.command()
@click.option("--json", is_flag=True, help="Print JSON.")
def command(json: bool) -> None:
    """Report versions, devices, readable formats, the cache and the default checkpoint, and what to do about troubles.

    Nothing is downloaded. Exit code 1: `predict` cannot work here.
    """
    import dataclasses

    from eranntag import doctor, render
    from eranntag.cli._allocator import keep_memory

    keep_memory()
    findings = list(doctor.examine())
    if json:
        terminal.give(records.dumps([dataclasses.asdict(finding) for finding in findings], indent=1) + "\n")
    else:
        render.fields({finding.name: finding.value for finding in findings})
        for finding in findings:
            if finding.remedy:
                terminal.say(f"eranntag: {finding.name}: {finding.remedy}")
    if any(finding.fatal and finding.remedy for finding in findings):
        raise SystemExit(1)
