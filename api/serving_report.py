"""A service for people and for machines: first token, later tokens, where the cache lies, fetch or recompute."""

import dataclasses
from typing import Any

from rich.table import Table

from tierplan.ir.units import show_bytes, show_seconds
from tierplan.serving import ERROR, Served
from tierplan.sim.paged import PAGE
from tierplan.sim.restore import Restoring
from tierplan.terminal import console


def print_served(served: Served) -> None:
    """How long a service takes, where its cache lies as it grows, and when a cache is worth fetching."""
    out, growth, decode = console(), served.service.pages.growth, served.decode
    exact = decode.n_points >= growth.new - 1
    how = "every turn simulated" if exact else f"{decode.n_points} turns simulated"
    off = "exact" if exact else f"off by at most {decode.error_s / max(decode.total_s, 1e-300):.2%}"
    out.print(
        f"serving     {_sequences(served)}: a prompt of {growth.prompt}, then {growth.new} tokens each; the plan above "
        "is for the mean turn"
    )
    out.print(f"first token {show_seconds(served.prefill_s)}: {_reading(served)}")
    out.print(
        f"each later  {show_seconds(decode.first_s)} at {growth.prompt + 1} positions, {show_seconds(decode.last_s)} "
        f"at {growth.last}, {show_seconds(served.token_s)} on average ({how}, {off})"
    )
    out.print(
        f"total       {show_seconds(served.total_s)}, {served.n_tokens / served.total_s:.4g} tokens/s, of which the "
        f"prompt takes {served.prefill_s / served.total_s:.1%}"
    )
    if limits := _limits(served):
        out.print(f"caches      {limits}")
    out.print(_held(served))
    if served.prefixes:
        out.print(_prefixes(served))
    for row in served.restoring:
        out.print(f"a cache in {row.tier}: {_advice(row, growth.prompt)}")


def _sequences(served: Served) -> str:
    return "1 sequence" if served.service.batch == 1 else f"{served.service.batch} sequences"


def _held(served: Served) -> Table:
    growth = served.service.pages.growth
    table = Table(title=f"the key-value cache, {PAGE} positions a page", title_justify="left")
    table.add_column("tier")
    table.add_column(f"at {growth.prompt} positions", justify="right")
    table.add_column(f"at {growth.last} positions", justify="right")
    for held in served.held:
        table.add_row(held.tier, show_bytes(held.at_start), show_bytes(held.at_end))
    return table


def _limits(served: Served) -> str:
    """How many rows caches have that do not grow with the context; some layers of a model may have others that do."""
    pages = served.service.pages
    layers = {part.cache.rsplit(".", 1)[0]: part.limit for part in pages.parts.values()}
    counts = [(list(layers.values()).count(n), n) for n in pages.limits]
    return ", ".join(f"{count} of {len(layers)} layers keep the last {n} positions" for count, n in counts)


def _reading(served: Served) -> str:
    """How the prompt comes into the caches."""
    prompt, turns, fetched = served.service.pages.growth.prompt, served.service.turns, served.fetched
    start = 0 if fetched is None else fetched.fetched
    whole, chunk, _ = turns.split(start, prompt)
    begin = ""
    if fetched is not None and served.service.cached is not None:
        cached = served.service.cached
        of_all = f"of the {cached.positions} cached positions"
        begin = f"none {of_all} is worth fetching from {cached.tier}; "
        if start:
            begin = f"{start} {of_all} are fetched from {cached.tier} in {show_seconds(fetched.fetch_s)}; "
    what = "the prompt is" if start == 0 else f"the last {prompt - start} positions are"
    how = f" in {whole + 1} turns of at most {chunk}," if whole else ""
    return f"{begin}{what} read{how} with activations in {served.activation_tier}"


def _prefixes(served: Served) -> Table:
    """The ways to have the prompt in the caches, with a prefix of it cached."""
    assert served.service.cached is not None
    prompt = served.service.pages.growth.prompt
    table = Table(title=f"positions fetched from {served.service.cached.tier}, the others read", title_justify="left")
    for name in ("fetched", "fetching", "read", "reading", "first token", "activations"):
        table.add_column(name, justify="right")
    for way in served.prefixes:
        mark = " *" if way is served.fetched else ""
        times = (
            show_seconds(way.fetch_s),
            str(prompt - way.fetched),
            show_seconds(way.read_s),
            show_seconds(way.total_s),
        )
        room = show_bytes(way.height) + ("" if way.fits else ", no room kept")
        table.add_row(f"{way.fetched}{mark}", *times, room)
    return table


def _advice(row: Restoring, prompt: int) -> str:
    words = {"fetch": "fetching it", "recompute": "reading the text again"}
    text = (
        f"fetching it for {prompt} positions takes {show_seconds(row.fetch_s)}, reading the text again "
        f"{show_seconds(row.recompute_s)}; "
    )
    if not row.breaks:
        return text + f"{words[row.below]} is faster from {row.least} to {row.most} positions"
    parts = [f"{words[row.below]} is faster below {row.breaks[0].context} positions"]
    parts += [f"{words[b.from_here]} from {b.context} on" for b in row.breaks]
    return text + ", ".join(parts) + f" (compared up to {row.most})"


def served_row(served: Served) -> dict[str, Any]:
    """The answer for `--json`."""
    growth, decode = served.service.pages.growth, served.decode
    return {
        "prompt": growth.prompt,
        "new": growth.new,
        "batch": served.service.batch,
        "cache_rows": max(part.limit for part in served.service.pages.parts.values()),
        "cache_limits": list(served.service.pages.limits),
        "time_to_first_token_s": served.prefill_s,
        "activation_tier": served.activation_tier,
        "prompt_chunk": served.service.turns.chunk,
        "cached": None if served.service.cached is None else _cached_row(served),
        "time_per_token_s": {"first": decode.first_s, "last": decode.last_s, "mean": served.token_s},
        "decode_s": decode.total_s,
        "decode_error_s": decode.error_s,
        "turns_simulated": decode.n_points,
        "error_asked": ERROR,
        "total_s": served.total_s,
        "tokens_per_s": served.n_tokens / served.total_s,
        "page": PAGE,
        "cache": [dataclasses.asdict(held) for held in served.held],
        "restoring": [{**dataclasses.asdict(row), "faster": row.faster} for row in served.restoring],
    }


def _cached_row(served: Served) -> dict[str, Any]:
    assert served.service.cached is not None
    assert served.fetched is not None
    ways = [{**dataclasses.asdict(way), "total_s": way.total_s} for way in served.prefixes]
    return {**dataclasses.asdict(served.service.cached), "fetched": served.fetched.fetched, "ways": ways}
