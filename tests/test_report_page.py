"""The report of a plan: what the page holds, and what it does in a browser."""

import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from report_plans import chain, write_page
from test_cli_commands import Run, run

import tierplan
from tierplan.answer import Flow, traffic
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.outcome import Outcome, Status
from tierplan.page_rows import page_rows
from tierplan.sim.timeline import simulate
from tierplan.traffic_svg import traffic_svg

__all__ = ["run"]

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def rows_of(html: str) -> dict[str, Any]:
    packed = re.search(r'<script id="data" type="text/plain">([^<]*)</script>', html)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def test_the_page_holds_the_plan_and_needs_no_network(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", 12)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    problem, plan = chain(12)
    assert tierplan.verify(problem, plan) == []
    assert rows_of(html) == json.loads(json.dumps(page_rows(problem, plan, simulate(problem, plan))))
    assert "<title>chain &lt;of&gt; layers" in html
    assert "{{" not in html
    assert not re.search(r"https?://|url\(|@import|\bsrc=|\bimport\b|fetch\(", html)


def test_the_rows_are_the_plan_and_the_timeline() -> None:
    problem, plan = chain(9)
    line = simulate(problem, plan)
    rows = page_rows(problem, plan, line)
    assert [rows["res"][key][3] for key in ("tensor", "tier", "offset", "start", "stop")] == [
        getattr(plan.residencies[3], key) for key in ("tensor", "tier", "offset", "start", "stop")
    ]
    assert rows["copy"]["tensor"] == [c.tensor for c in plan.copies]
    assert rows["copy"]["link"] == [0, 0, 0]
    assert rows["steps"]["wait"] == pytest.approx(line.wait_s.tolist())
    assert rows["access"]["tier"] == line.read_tier.tolist()
    assert rows["links"] == [{"name": "up", "inward": True}]


def test_a_tier_behind_a_link_is_read_at_the_links_rate() -> None:
    from tierplan.ir.machine import Link, Tier

    tiers = Tier("near", 1000, 100.0, 100.0), Tier("far", 1000, 50.0, 60.0, read_link="up", write_link="down")
    links = Link("up", "far", "near", 20.0), Link("down", "near", "far", 90.0)
    problem = small.problem(["read w"], {"w": 10}, home=["w"], on=small.machine(tiers, links, "far"))
    plan = tierplan.Plan((tierplan.Residency(0, 1, 0, 0, 1),))
    far = page_rows(problem, plan, simulate(problem, plan))["tiers"][1]
    assert (far["read"], far["write"]) == (20.0, 60.0)


def test_the_flow_diagram_shows_every_flow() -> None:
    problem, plan = chain(12)
    flows = traffic(problem, plan, simulate(problem, plan))
    svg = traffic_svg(flows, problem.tiers.names)
    assert svg.count("<path") == len(flows) == svg.count("<title>")
    widths = {m[1]: float(m[2]) for m in re.finditer(r"<title>([^<]*?):.*?stroke-width=\"([\d.]+)\"", svg)}
    largest = max(flows, key=lambda flow: flow.bytes)
    assert widths[f"{largest.source} to {largest.target}"] == max(widths.values())
    assert "&lt;b&gt;" in traffic_svg([Flow("compute", "<b>", 3)], ["<b>"])
    assert "nothing moves" in traffic_svg([], ["a"])


def test_the_command_writes_a_page_or_nothing(run: Run, tmp_path: Path) -> None:
    assert run("plan", "buffers.csv", "-H", "bench.yaml", "--planner", "greedy", "-o", "plan.json").code == 0
    ran = run("report", "plan.json", "-o", "page.html", "--budget", "2s")
    assert (ran.code, ran.err) == (0, "")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "near bandwidth" in html
    told = json.loads(run("report", "plan.json", "-o", "told.html", "--no-what-if", "--json").out)
    assert told["report"] == "told.html"
    assert told["bytes"] == (tmp_path / "told.html").stat().st_size
    assert told["time_s"] > 0
    (tmp_path / "told.html").unlink()
    for arguments, message in (
        (("plan.json", "-o", "no/page.html"), "there is no folder 'no'"),
        (("gone.json", "-o", "other.html"), "no file 'gone.json'"),
        (("bench.yaml", "-o", "other.html"), "bench.yaml"),
        (("plan.json", "-o", "other.html", "--budget", "5"), "has no unit"),
    ):
        refused = run("report", *arguments)
        assert refused.code == 2
        assert message in refused.err
        assert refused.err.count("\n") == 1
    assert not (tmp_path / "other.html").exists()


def test_a_plan_for_another_model_is_refused(run: Run, tmp_path: Path) -> None:
    """A plan file whose problem was exchanged: its plan breaks the rules of that problem."""
    assert run("plan", "buffers.csv", "-H", "bench.yaml", "--planner", "greedy", "-o", "plan.json").code == 0
    file = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    for tensor in file["problem"]["tensors"]:
        tensor["size"] *= 1000
    (tmp_path / "old.json").write_text(json.dumps(file), encoding="utf-8")
    refused = run("report", "old.json", "-o", "page.html")
    assert refused.code == 2
    assert "breaks" in refused.err
    assert not (tmp_path / "page.html").exists()


def test_notebooks_show_outcomes_timelines_and_pages() -> None:
    problem, plan = chain(6)
    line = simulate(problem, plan)
    outcome = Outcome("hand", Status.FEASIBLE, plan, line.time_s, line.time_s / 2, 0.5, notes=("a <b> note",))
    shown = outcome._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert "gap 100.00%" in shown
    assert "a &lt;b&gt; note" in shown
    infeasible = Outcome("hand", Status.INFEASIBLE, None, None, 1.0, 0.5, {"near": 2000, "far": 0})
    assert "missing in near" in infeasible._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert "waiting for copies" in line._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert repr(tierplan.show(problem, outcome)) == "Page()"
    framed = tierplan.show(problem, outcome)._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert framed.startswith("<iframe srcdoc=")
    assert "<script" not in framed
    with pytest.raises(InvalidInputError, match="no plan to report on"):
        tierplan.show(problem, infeasible)
    other, _ = chain(3)
    with pytest.raises(InvalidInputError, match="names tensor 6"):
        tierplan.show(other, outcome)


# ---- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield opened
        opened.close()


class Opened:
    """A page in the browser, its complaints, and the places of its lanes."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._sent)
        self.page.goto(path.as_uri())
        self.page.wait_for_function("document.querySelectorAll('#tensors tbody tr').length > 0")
        self.page.wait_for_function("document.querySelector('#range').textContent !== ''")

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _sent(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.complaints.append(f"asked for {request.url[:60]}")

    def point(self, lane: str, x: float, y: float) -> str:
        """What the tip says at a share of a lane's width (without its labels) and height."""
        box = self.page.locator(f"#lanes canvas[{lane}]").bounding_box()
        left = 118
        self.page.mouse.move(box["x"] + left + x * (box["width"] - left), box["y"] + y * box["height"])
        return self.page.inner_text("#tip") if self.page.is_visible("#tip") else ""

    def shown(self) -> str:
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.page.inner_text("#range")

    def colours(self, lane: str) -> int:
        """How many colours a lane shows."""
        return self.page.evaluate(
            "s => { const c = document.querySelector(s);"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "const seen = new Set(); for (let i = 0; i < d.length; i += 4) seen.add(d[i] << 16 | d[i+1] << 8 | d[i+2]);"
            "return seen.size }",
            f"#lanes canvas[{lane}]",
        )


@pytest.fixture(scope="module")
def opened(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, 12)
    return Opened(browser, path)


NEAR, FAR, LINE = 'data-tier="near"', 'data-tier="far"', 'data-lane="timeline"'


def test_it_loads_and_draws(opened: Opened) -> None:
    assert opened.complaints == []
    assert opened.colours(NEAR) > 4
    assert opened.colours(FAR) > 4
    assert opened.colours(LINE) > 4
    assert not opened.page.is_visible("#trouble")


def test_pointing_at_the_map_tells_which_tensor_lies_there(opened: Opened) -> None:
    """Every residency is found near its lower and its upper edge, where the rows of the page say that it lies."""
    problem, plan = chain(12)
    line = simulate(problem, plan)
    edges = [*line.begin_s.tolist(), line.time_s]
    for r in plan.residencies:
        if r.tier == 1:
            continue
        x = (edges[r.start] + edges[r.stop]) / 2 / line.time_s
        for share in (0.08, 0.92):
            at = r.offset + share * int(problem.size[r.tensor])
            y = 1 - place_in_near(at, problem, plan) / place_in_near(4000, problem, plan)
            text = opened.point(NEAR, x, y)
            assert text.startswith(f"{problem.tensor_names[r.tensor]}, {problem.tensor_kind[r.tensor]}"), (r, text)
            assert f"steps {r.start} to {r.stop} of 12" in text
            assert ("made here by step" if r.offset < 1000 else "came from far") in text


def place_in_near(n_bytes: float, problem: tierplan.Problem, plan: tierplan.Plan) -> float:
    """Where bytes lie on the scale: free stretches longer than 0.3 of what is used are drawn as 0.08 of it."""
    runs: list[list[float]] = []
    for r in sorted((r for r in plan.residencies if r.tier == 0), key=lambda r: r.offset):
        stop = float(r.offset + problem.size[r.tensor])
        if runs and r.offset <= runs[-1][1]:
            runs[-1][1] = max(runs[-1][1], stop)
        else:
            runs.append([float(r.offset), stop])
    used = sum(high - low for low, high in runs)
    place, at = 0.0, 0.0
    edges = [(edge, free) for low, high in [*runs, [4000.0, 4000.0]] for edge, free in ((low, True), (high, False))]
    for edge, free in edges:
        length = 0.08 * used if free and edge - at > 0.3 * used else edge - at
        if n_bytes <= edge:
            return place + (n_bytes - at) / (edge - at) * length if edge > at else place
        place, at = place + length, edge
    return place


def test_pointing_at_the_timeline_tells_steps_stalls_and_copies(opened: Opened) -> None:
    problem, plan = chain(12)
    line = simulate(problem, plan)
    rows = 3  # compute, stalls, one link; 22 pixels each, and 24 for the axis
    height = rows * 22 + 24
    t = int(np.argmax(line.wait_s))
    assert line.wait_s[t] > 0
    middle = (line.begin_s[t] + line.end_s[t]) / 2 / line.time_s
    assert f"op{t}, step {t}" in opened.point(LINE, middle, 9 / height)
    waiting = (line.begin_s[t] - line.wait_s[t] / 2) / line.time_s
    awaited = problem.tensor_names[plan.copies[int(line.waited_copy[t])].tensor]
    assert f"for {awaited} to come from far" in opened.point(LINE, waiting, 31 / height)
    copied = (line.copy_begin_s[0] + line.copy_end_s[0]) / 2 / line.time_s
    assert "copied from far to near" in opened.point(LINE, copied, 53 / height)


def test_zooming_dragging_and_resetting(opened: Opened) -> None:
    whole = opened.shown()
    opened.point(NEAR, 0.5, 0.9)
    opened.page.mouse.wheel(0, -400)
    zoomed = opened.shown()
    assert zoomed != whole
    assert not opened.page.is_visible("#tip")
    opened.page.mouse.down()
    opened.point(NEAR, 0.3, 0.9)
    opened.page.mouse.up()
    dragged = opened.shown()
    assert dragged not in (zoomed, whole)
    opened.page.click("#by-step")
    assert "steps" in opened.shown()
    opened.page.click("#by-time")
    opened.page.click("#reset")
    assert opened.shown() == whole


def test_the_table_sorts_filters_and_marks(opened: Opened) -> None:
    problem, _ = chain(12)
    cells = opened.page.locator("#tensors tbody tr td:first-child")
    largest = problem.tensor_names[int(np.argmax(problem.size))]
    assert cells.first.inner_text() == largest
    opened.page.click('#tensors th[data-key="name"]')
    assert cells.first.inner_text() == min(problem.tensor_names)
    opened.page.fill("#filter", "layer.7")
    assert cells.all_inner_texts() == ["layer.7.weight"]
    before = opened.colours(FAR)
    cells.first.click()
    opened.shown()
    assert opened.colours(FAR) > before
    opened.page.fill("#filter", "")
    opened.page.click("#reset")
    assert opened.complaints == []


def test_twenty_thousand_tensors_are_found_and_moved(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    write_page(path, 10_000)
    assert path.stat().st_size < 1_500_000
    many = Opened(browser, path)
    assert "the first 300 of 20000" in many.page.inner_text("#shown")
    text = many.point(FAR, 0.5, 0.5)
    assert ".weight, weight" in text
    assert "of 10000" in text
    whole = many.shown()
    many.page.mouse.wheel(0, -400)
    assert many.shown() != whole
    assert many.colours(NEAR) > 2
    assert many.complaints == []
    many.page.close()
