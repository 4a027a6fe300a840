"""`tierplan verify`: the rules of a plan, each broken one with its evidence."""

import typer

from tierplan.commands.options import AsJson, PlanPath


def verify(plan: PlanPath, as_json: AsJson = False) -> None:
    """Check a plan file against every rule; exit 1 if it breaks any."""
    from tierplan.ir.verify import violations
    from tierplan.plans import read_plan
    from tierplan.terminal import print_json

    file = read_plan(plan)
    broken = list(violations(file.problem, file.plan))
    if as_json:
        rows = [
            {
                "rule": v.rule.label,
                "detail": v.detail,
                "tensors": list(v.tensors),
                "start": v.start,
                "stop": v.stop,
                "tier": v.tier,
                "bytes": v.bytes,
            }
            for v in broken
        ]
        print_json({"model": file.model, "hardware": file.hardware, "legal": not broken, "violations": rows})
    elif broken:
        for violation in broken:
            typer.echo(str(violation))
        typer.echo(f"{plan}: {len(broken)} {'rule' if len(broken) == 1 else 'rules'} broken")
    else:
        n, m = len(file.plan.residencies), len(file.plan.copies)
        typer.echo(f"{plan}: legal ({n} residencies, {m} copies) for {file.model} on {file.hardware}")
    if broken:
        raise typer.Exit(1)
