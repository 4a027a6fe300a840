"""One pass of memory-space assignment: tensors that lie in slower tiers, into one alternate tier."""

from dataclasses import dataclass, field

from tierplan.ir.plan import Copy, Lifespan
from tierplan.ir.problem import NO_LINK, Mode, Problem
from tierplan.planner.msa_cost import Channel, Clock, Picker, Ratios
from tierplan.planner.stories import Room
from tierplan.planner.visits import Visit

_MOST_TRIES = 120  # windows that are tried for one prefetch


@dataclass(slots=True)
class Held:
    """Bytes of the alternate tier, held for a tensor over steps `[start, stop)` at one offset."""

    tensor: int
    start: int
    stop: int
    offset: int
    keys: list[int] = field(default_factory=list[int])


@dataclass(slots=True)
class Assignment:
    """What a pass decides for one tensor: where it lies in the alternate tier, the copies, and the tier of each visit.

    `booked`: the copies that wait for their turn in a channel. `evicted`: start and end of each copy back.
    """

    held: list[Held] = field(default_factory=list[Held])
    copies: list[Copy] = field(default_factory=list[Copy])
    booked: list[tuple[Channel, int, int, float]] = field(default_factory=list[tuple[Channel, int, int, float]])
    in_alternate: list[bool] = field(default_factory=list[bool])
    evicted: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


class Pass:
    """Assigns tensors to the alternate tier one by one; what is assigned is never displaced, but may be moved."""

    def __init__(
        self,
        problem: Problem,
        room: Room,
        alternate: int,
        clock: Clock,
        ratios: Ratios,
        bandwidth_scaling: float,
        most_outstanding: int | None,
    ) -> None:
        self.problem, self.room, self.alternate, self.clock = problem, room, alternate, clock
        self.ratios, self.bandwidth_scaling, self.n = ratios, bandwidth_scaling, problem.n_steps
        self.fetching = Channel(clock, most_outstanding)
        self.evicting = Channel(clock, most_outstanding)
        self.blocks: list[Held] = []
        self.out_of_room = False

    def copy_s(self, source: int, target: int, size: int) -> float:
        """Seconds of a copy at the share of the bandwidth that copies are expected to get."""
        tiers, links = self.problem.tiers, self.problem.links
        link = links.between(source, target)
        rate = min(
            float(links.bandwidth[link]), float(tiers.read_bandwidth[source]), float(tiers.write_bandwidth[target])
        )
        return float(links.latency_s[link] + tiers.latency_s[source]) + size / (rate * self.bandwidth_scaling)

    def assign(self, visits: tuple[Visit, ...], base: int, *, retries: int, repacks: int) -> Assignment | None:
        """Assign one tensor; with ever longer evictions if need be, and after repacking if room is short."""
        retry = 0
        while retry < retries:
            self.out_of_room = False
            trial = _Trial(self, visits, base, retry, last=retry == retries - 1)
            done = trial.run()
            if self.out_of_room and repacks > 0 and self._repack(trial):
                repacks -= 1
                continue
            if done:
                return trial.found
            trial.undo()
            retry += 1
        return None

    def _repack(self, trial: "_Trial") -> bool:
        """Place all blocks anew, longest first; whether offsets have changed. What was tried is undone.

        Source: xla/service/memory_space_assignment/best_fit_repacker.
        """
        trial.undo()
        fresh = Room(self.room.usable, self.room.alignment, self.n)
        order = sorted(self.blocks, key=lambda b: (b.start - b.stop, -int(self.problem.size[b.tensor]), b.tensor))
        placed: list[int] = []
        for block in order:
            span, size = [Lifespan(block.start, block.stop)], int(self.problem.size[block.tensor])
            offset = fresh.find(span, size)
            if offset is None:
                return False
            fresh.hold(span, offset, size)
            placed.append(offset)
        if all(offset == block.offset for offset, block in zip(placed, order, strict=True)):
            return False
        for block in order:
            self.room.release(block.keys)
        for offset, block in zip(placed, order, strict=True):
            block.offset = offset
            span = [Lifespan(block.start, block.stop)]
            block.keys = self.room.hold(span, offset, int(self.problem.size[block.tensor]))
        return True


class _Trial:
    """One attempt to assign one tensor, segment by segment from each use to the next."""

    def __init__(self, of: Pass, visits: tuple[Visit, ...], base: int, retry: int, *, last: bool) -> None:
        self.of, self.visits, self.base, self.retry, self.last = of, visits, base, retry, last
        self.problem, self.room, self.x = of.problem, of.room, visits[0].tensor
        self.size = int(of.problem.size[self.x])
        self.found = Assignment()
        self.run_now: Held | None = None  # what the tensor lies in, if in the alternate tier
        self.base_valid = visits[0].before is not None
        self.needs_alternate = not of.problem.tiers.direct[base]
        self.out = of.problem.links.between(of.alternate, base) != NO_LINK
        self.into = of.problem.links.between(base, of.alternate) != NO_LINK

    def run(self) -> bool:
        """Whether every visit is served."""
        for i, visit in enumerate(self.visits):
            if visit.is_end:
                served = self._end(visit)
            elif visit.mode is Mode.PRODUCE:
                served = self._produce(i)
            else:
                served = self._use(i)
            if not served:
                return False
            self.found.in_alternate.append(self.run_now is not None and not visit.is_end)
            if visit.mode is not Mode.READ:
                self.base_valid = self.run_now is None
        first = self.visits[0]
        circular = first.before is not None and first.before >= 0
        return not circular or self.base_valid or self._evict(self.of.n)

    def undo(self) -> None:
        """Give back all that this attempt has taken."""
        for held in self.found.held:
            self.room.release(held.keys)
            if held in self.of.blocks:
                self.of.blocks.remove(held)
        for channel, start, done, seconds in self.found.booked:
            channel.remove(start, done, seconds)
        self.found = Assignment()

    def _hold(self, start: int, stop: int, offset: int) -> None:
        keys = self.room.hold([Lifespan(start, stop)], offset, self.size)
        self.run_now = Held(self.x, start, stop, offset, keys)
        self.found.held.append(self.run_now)
        self.of.blocks.append(self.run_now)

    def _extend(self, stop: int) -> bool:
        """Keep what is held at the same offset until `stop`."""
        run = self.run_now
        if run is None or stop <= run.stop:
            return run is not None
        span = [Lifespan(run.stop, stop)]
        if self.room.find(span, self.size, at=run.offset) is None:
            return False
        run.keys += self.room.hold(span, run.offset, self.size)
        run.stop = stop
        return True

    def _offset(self, start: int, i: int) -> int | None:
        """A chunk over `[start, visit i]`, at an offset that stays free for as many later visits as possible."""
        ends = [self.visits[i].step + 1]
        for a, b in zip(self.visits[i:], self.visits[i + 1 :], strict=False):
            if b.is_end or b.mode is Mode.PRODUCE or not self._picker().may_stay(a.step, b.step):
                break
            ends.append(b.step + 1)
        low, high, best = 0, len(ends) - 1, None
        while low <= high:
            middle = (low + high) // 2
            offset = self.room.find([Lifespan(start, ends[middle])], self.size)
            if offset is None:
                high = middle - 1
            else:
                low, best = middle + 1, offset
        return best

    def _picker(self) -> Picker:
        whole = self.room.usable
        longest = self.of.copy_s(self.base, self.of.alternate, whole) if self.into else float("inf")
        return Picker(self.of.clock, self.of.ratios, longest * self.of.ratios.most)

    def _produce(self, i: int) -> bool:
        """An output is produced in the alternate tier if it can stay there until its first use."""
        step = self.visits[i].step
        self.run_now = None
        later = [v for v in self.visits[i + 1 :] if v.mode is not Mode.PRODUCE][:1]
        if later and not later[0].is_end and self._picker().may_stay(step, later[0].step):
            offset = self._offset(step, i + 1)
            if offset is not None and (self.out or not self._must_return(i)):
                self._hold(step, step + 1, offset)
                return True
            self.of.out_of_room = offset is None or self.of.out_of_room
        return not self.needs_alternate

    def _must_return(self, i: int) -> bool:
        return len(self.visits) > i + 2

    def _use(self, i: int) -> bool:
        visit = self.visits[i]
        since = visit.since
        if self.run_now is not None:
            if self._picker().may_stay(since, visit.step) and self._extend(visit.step + 1):
                return True
            if not self.base_valid and not self._evict(visit.step):
                return False
            self.run_now = None
        if not self.base_valid:
            return False
        return self._prefetch(i) or not self.needs_alternate

    def _evict(self, limit: int) -> bool:
        """Copy what was written back to the base, as soon as it is written."""
        run = self.run_now
        if run is None or not self.out:
            return False
        written = max(v.step for v in self.visits if v.mode is not Mode.READ and v.step < limit and v.step < run.stop)
        start, seconds = written + 1, self.of.copy_s(self.of.alternate, self.base, self.size)
        if start >= limit:
            return False
        ends = self._picker().eviction_ends(start, limit, seconds, self.retry)
        for done in ends:
            fits = self.of.evicting.fits(start, done, seconds)
            if (fits or self.last) and self._extend(max(run.stop, done)):
                if fits:
                    self.of.evicting.add(start, done, seconds)
                    self.found.booked.append((self.of.evicting, start, done, seconds))
                self.found.copies.append(Copy(self.x, self.of.alternate, self.base, start, done))
                self.found.evicted.append((start, done))
                self.base_valid = True
                return True
        return False

    def _prefetch(self, i: int) -> bool:
        """Copy the tensor in ahead of a use, in the first window that has room and time."""
        visit = self.visits[i]
        opens = max([visit.opens, 0, *(held.stop for held in self.found.held), *(d for _, d in self.found.evicted)])
        if not self.into or opens >= visit.step:
            return False
        seconds = self.of.copy_s(self.base, self.of.alternate, self.size)
        gain = self.of.clock.gain(visit.access, self.of.alternate)
        starts = list(self._picker().starts(opens, visit.step, seconds, gain))[:_MOST_TRIES]
        if starts and self._offset(max(starts), i) is None:
            self.of.out_of_room = True
            starts = []
        for start in starts:
            if self.of.fetching.fits(start, visit.step, seconds):
                offset = self._offset(start, i)
                if offset is not None:
                    self._fetch(start, visit.step, offset, seconds)
                    return True
        return self.needs_alternate and self._fetch_late(i, opens, seconds)

    def _fetch_late(self, i: int, opens: int, seconds: float) -> bool:
        """A tensor that steps cannot use where it lies is copied in even if they wait for it."""
        step = self.visits[i].step
        for start in range(step - 1, opens - 1, -1):
            offset = self._offset(start, i)
            if offset is None:
                return False
            if self.of.clock.elapsed(start - 1, step) >= seconds or start == opens:
                self._fetch(start, step, offset, None)
                return True
        return False

    def _fetch(self, start: int, step: int, offset: int, seconds: float | None) -> None:
        self._hold(start, step + 1, offset)
        if seconds is not None:
            self.of.fetching.add(start, step, seconds)
            self.found.booked.append((self.of.fetching, start, step, seconds))
        self.found.copies.append(Copy(self.x, self.base, self.of.alternate, start, step))

    def _end(self, visit: Visit) -> bool:
        """At the end the tensor lies in its base, or where it is if that is good enough."""
        if self.run_now is not None and not self.base_valid:
            return self._evict(visit.step)
        return True
