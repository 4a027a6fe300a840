"""`tierplan experts`: many whole models and a router on one machine, how requests fare, and what limits them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tierplan.commands.options import AsJson, Dtype, Hardware, Seed

if TYPE_CHECKING:
    from tierplan.composition import Fare, Lengths, Site, TooMany

_ALL = "all"
_PLANNED = "planned"


def experts(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="What each expert is: a model, or a size like 14GB.")],
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many experts there are.")],
    hardware: Hardware,
    router: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="What routes: a model, a size, or none. Default: the same as an expert."),
    ] = None,
    requests: Annotated[
        str,
        typer.Option(
            metavar="DEMAND",
            help="Which experts are asked for: 'uniform', 'zipf:0.8', 'zipf:0.8,stay:0.3', or a trace .npz with "
            "'requests'.",
        ),
    ] = "uniform",
    n_requests: Annotated[int, typer.Option(metavar="N", help="Requests to draw.")] = 4000,
    batch: Annotated[int, typer.Option(metavar="N", help="Requests that the router reads at once.")] = 1,
    prompt: Annotated[int, typer.Option(metavar="N", help="Positions that each request reads.")] = 512,
    new: Annotated[int, typer.Option(metavar="N", help="Tokens that each request writes.")] = 20,
    policy: Annotated[
        str, typer.Option(metavar="NAME", help="pinned, lru, lfu, planned, belady (a bound), or all.")
    ] = _ALL,
    grouped: Annotated[
        bool, typer.Option("--grouped", help="Requests of a batch for one expert follow each other.")
    ] = False,
    prefetch: Annotated[bool, typer.Option("--prefetch", help="The next expert is copied while one runs.")] = False,
    router_time: Annotated[str | None, typer.Option(metavar="TIME", help="Measured: the router, for a batch.")] = None,
    prompt_time: Annotated[str | None, typer.Option(metavar="TIME", help="Measured: an expert's prompt.")] = None,
    token_time: Annotated[str | None, typer.Option(metavar="TIME", help="Measured: each token of an expert.")] = None,
    dtype: Dtype = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Serve requests with many whole models, of which each request needs one: hits, switches, latency, what limits."""
    from tierplan.composition import Given, Lengths, TooMany, fares, place, read_part, remedies
    from tierplan.ir.errors import InvalidInputError
    from tierplan.ir.units import read_seconds
    from tierplan.routing import Skew
    from tierplan.sim.replacement import Policy
    from tierplan.terminal import print_json, progress

    if not 1 <= count <= 10**6:
        raise InvalidInputError(f"--count is {count}; write a whole number from 1 to 1000000")
    lengths, demand = Lengths(prompt, new, batch), Skew.of(requests)
    rules = list(Policy) if policy == _ALL else [Policy.of(policy)]
    given = Given(*(None if t is None else read_seconds(t) for t in (router_time, prompt_time, token_time)))
    drawn = demand.requests(n_requests, count, seed)
    with progress(f"serving {len(drawn.experts)} requests"):
        part = read_part(model, hardware, dtype, lengths, 1)
        name = model if router is None else router
        routing = None if name == "none" else read_part(name, hardware, dtype, lengths, batch)
        site = place(hardware, part, routing, count, given, lengths)
        if isinstance(site, TooMany):
            _print_too_many(site, as_json)
            raise typer.Exit(1)
        told = fares(site, drawn, lengths, rules, grouped=grouped, prefetch=prefetch)
        main = Policy.of(_PLANNED if policy == _ALL else policy)
        changed = remedies(site, drawn, lengths, main, grouped=grouped, prefetch=prefetch)
    chosen = next(fare for fare in told if fare.name == main.name.lower())
    if as_json:
        print_json(_row(site, lengths, requests, hardware, told, changed, chosen))
    else:
        _print(site, lengths, requests, hardware, told, changed, chosen)


def _print(
    site: "Site", lengths: "Lengths", requests: str, hardware: str,
    told: tuple["Fare", ...], changed: tuple["Fare", ...], chosen: "Fare",
) -> None:  # fmt: skip
    from tierplan.composition import limits
    from tierplan.ir.units import show_bandwidth, show_bytes, show_seconds
    from tierplan.terminal import console

    out, fast, times = console(), site.tiers[0], site.times
    out.print(f"[bold]{site.n_experts} experts of {site.expert.name} on {hardware}[/]")
    places = ", ".join(
        f"{tier.name} holds {min(tier.places(site.expert.weights), site.n_experts)}"
        + (
            ""
            if tier is fast
            else f" ({show_bandwidth(tier.bandwidth)}, {show_seconds(tier.copy_s(site.expert.weights))} each)"
        )
        for tier in site.tiers
    )
    out.print(f"experts     {show_bytes(site.expert.weights)} each; {places}")
    router = f"the router {site.router.name} and " if site.router else ""
    out.print(f"            {show_bytes(site.reserved)} of {fast.name} go to {router}a run's cache and activations")
    out.print(
        f"times       router {show_seconds(times.router_s)} a batch of {lengths.batch}; a run "
        f"{show_seconds(times.prompt_s)} "
        f"for {lengths.prompt} positions and {show_seconds(times.token_s)} for each of {lengths.new} tokens"
    )
    out.print(f"requests    {len(chosen.run.latency_s)}, {requests}")
    out.print(_table("policy", told, bold=chosen.name))
    shares = ", ".join(f"{what} {share:.1%}" for what, share in limits(site, lengths, chosen.run) if share > 0)
    out.print(f"limited by  {shares} (policy {chosen.name})")
    out.print(_table(f"what would help (policy {chosen.name})", changed))


def _table(title: str, told: tuple["Fare", ...], bold: str = "") -> Any:
    from rich.table import Table

    from tierplan.ir.units import show_seconds

    table = Table()
    table.add_column(title)
    for column in ("hits", "switch", "latency mean", "p50", "p99", "switching", "tokens/s"):
        table.add_column(column, justify="right")
    for fare in told:
        run = fare.run
        name = fare.name + (" (knows the future)" if fare.name == "belady" else "")
        cells = (run.switch_s / len(run.latency_s), float(run.latency_s.mean()), fare.latency_s(50), fare.latency_s(99))
        table.add_row(
            name, f"{run.lookup.hit_rate:.1%}", *map(show_seconds, cells), f"{run.switch_share:.1%}",
            f"{run.tokens_per_s:.4g}", style="bold" if fare.name == bold else None,
        )  # fmt: skip
    return table


def _row(
    site: "Site", lengths: "Lengths", requests: str, hardware: str,
    told: tuple["Fare", ...], changed: tuple["Fare", ...], chosen: "Fare",
) -> dict[str, Any]:  # fmt: skip
    from tierplan.composition import limits

    def fare_row(fare: "Fare") -> dict[str, Any]:
        run = fare.run
        return {
            "name": fare.name,
            "hit_rate": run.lookup.hit_rate,
            "found": dict(zip((tier.name for tier in site.tiers), run.lookup.found(len(site.tiers)), strict=True)),
            "switch_s": run.switch_s / len(run.latency_s),
            "latency_s": {"mean": float(run.latency_s.mean()), "p50": fare.latency_s(50), "p99": fare.latency_s(99)},
            "switch_share": run.switch_share,
            "tokens_per_s": run.tokens_per_s,
        }

    return {
        "expert": site.expert.name,
        "n_experts": site.n_experts,
        "router": site.router.name if site.router else None,
        "hardware": hardware,
        "requests": requests,
        "n_requests": len(chosen.run.latency_s),
        "batch": lengths.batch,
        "prompt": lengths.prompt,
        "new": lengths.new,
        "expert_bytes": site.expert.weights,
        "reserved_bytes": site.reserved,
        "tiers": [
            {
                "name": tier.name,
                "places": tier.places(site.expert.weights),
                "switch_s": 0.0 if i == 0 else tier.copy_s(site.expert.weights),
            }
            for i, tier in enumerate(site.tiers)
        ],
        "times": {"router_s": site.times.router_s, "prompt_s": site.times.prompt_s, "token_s": site.times.token_s},
        "policies": [fare_row(fare) for fare in told],
        "chosen": chosen.name,
        "limits": [{"what": what, "share": share} for what, share in limits(site, lengths, chosen.run)],
        "remedies": [fare_row(fare) for fare in changed],
    }


def _print_too_many(found: "TooMany", as_json: bool) -> None:
    from rich.table import Table

    from tierplan.ir.units import show_bytes
    from tierplan.terminal import console, print_json

    if as_json:
        tiers = [{"name": name, "usable_bytes": n_bytes, "holds": n} for name, n_bytes, n in found.holds]
        print_json(
            {
                "status": "INFEASIBLE", "n_experts": found.n_experts, "expert_bytes": found.expert,
                "reason": found.reason, "tiers": tiers,
            }
        )  # fmt: skip
        return
    out = console()
    total = show_bytes(found.n_experts * found.expert)
    out.print(
        f"[red]does not fit[/]: {found.n_experts} experts of {show_bytes(found.expert)} take {total}; {found.reason}"
    )
    table = Table()
    table.add_column("tier")
    table.add_column("usable", justify="right")
    table.add_column("experts it holds", justify="right")
    for name, n_bytes, n in found.holds:
        table.add_row(name, show_bytes(n_bytes), str(n))
    out.print(table)
