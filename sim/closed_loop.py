"""A server under a closed loop of clients: each sends its next prompt when its last one has been answered.

The server batches continuously: in each step every sequence that is being written gains a token, and prompts that wait
are read beside them, in chunks, as long as the step has room for their tokens. Or it reads first: while a prompt waits,
steps read prompts and nothing is written.

Source: Yu et al., Orca, OSDI 2022 (batching by iteration); Agrawal et al., Sarathi-Serve, OSDI 2024 (chunked prefill);
Zheng et al., SGLang, NeurIPS 2024, whose scheduler reads first.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

import numpy as np

from tierplan.ir.errors import InvalidInputError


class StepTimes(Protocol):
    """How long the steps of a server take. Units: seconds; `position` is the mean over the written sequences."""

    def decode_s(self, writing: int, position: float) -> float:
        """A step in which that many sequences gain a token each."""
        ...

    def mixed_s(self, chunks: list[tuple[int, int]], writing: int, position: float) -> float:
        """A step that also reads, of each of some prompts, the positions `[start, stop)`."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """`clients` at once, `requests` in all, each of `prompt` positions to read and `new` tokens to write.

    Lengths are drawn evenly from `shortest` of these to all. A step has room for `step_tokens`, and the cache for
    `positions` of all sequences together. The front end of the server takes `front_s` for a request, one after another;
    `way_s` passes from a client's sending until its prompt may be read, for all clients side by side. `reads_first`:
    nothing is written while a prompt waits.
    """

    clients: int
    prompt: int
    new: int
    requests: int
    step_tokens: int = 8192
    shortest: float = 1.0
    positions: float = math.inf
    front_s: float = 0.001
    way_s: float = 0.0
    reads_first: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.clients, self.prompt, self.new, self.requests, self.step_tokens) < 1:
            raise InvalidInputError("a load needs 1 or more clients, requests, positions, tokens and room in a step")
        if not 0 < self.shortest <= 1:
            raise InvalidInputError(f"the shortest length is {self.shortest} of the longest; need above 0, at most 1")
        if not self.front_s > 0:
            raise InvalidInputError(f"the front end takes {self.front_s} s for a request; need a time above 0")
        if not self.way_s >= 0:
            raise InvalidInputError(f"a request is {self.way_s} s on its way; need 0 or more")
        if self.positions < self.prompt + self.new:
            raise InvalidInputError(
                f"the cache holds {self.positions:,.0f} positions; "
                f"one sequence of {self.prompt} and {self.new} does not fit"
            )


@dataclass(frozen=True, slots=True)
class Served:
    """What the clients saw, on average over requests. Units: seconds.

    `first_s`: from sending a prompt to its first token; `token_s`: between later tokens.
    """

    first_s: float
    token_s: float
    total_s: float


@dataclass(slots=True)
class _Request:
    prompt: int
    new: int
    sent_s: float = 0.0
    arrives_s: float = 0.0
    first_s: float = 0.0
    read: int = 0


@dataclass(slots=True)
class _Server:
    """`turn` counts the tokens that a sequence has gained that is there from the beginning.

    `writing` is a heap: each sequence by the turn of its last token, then by its order. `ahead` sums up by how much the
    positions of the sequences are ahead of the turn.
    """

    times: StepTimes
    load: Load
    coming: deque[_Request]
    now_s: float = 0.0
    front_s: float = 0.0
    taken: int = 0
    turn: int = 0
    ahead: int = 0
    arriving: deque[_Request] = field(default_factory=lambda: deque[_Request]())
    waiting: deque[_Request] = field(default_factory=lambda: deque[_Request]())
    writing: list[tuple[int, int, _Request]] = field(default_factory=lambda: list[tuple[int, int, _Request]]())
    first_s: list[float] = field(default_factory=lambda: list[float]())
    token_s: list[float] = field(default_factory=lambda: list[float]())

    @property
    def position(self) -> float:
        """The mean position of the sequences that are written."""
        return self.turn + self.ahead / len(self.writing) if self.writing else 0.0

    def begin(self, request: _Request) -> None:
        """The prompt of a request has been read, which gives its first token."""
        request.first_s = self.now_s
        self.first_s.append(self.now_s - request.sent_s)
        self.ahead += request.prompt + 1 - self.turn
        heappush(self.writing, (self.turn + request.new - 1, len(self.first_s), request))

    def send(self) -> None:
        """A client sends its next prompt, if there is one."""
        if not self.coming:
            return
        request = self.coming.popleft()
        self.front_s = max(self.front_s, self.now_s) + self.load.front_s
        request.sent_s, request.arrives_s = self.now_s, self.front_s + self.load.way_s
        self.arriving.append(request)


def serve(load: Load, times: StepTimes) -> Served:
    """Run a load until all requests are answered.

    Assumes: all clients send their first prompt at once. A prompt that arrives during a step joins the next one. It is
    read once the cache has room for it and for all that will be written; those that came later wait behind it.
    """
    rng = np.random.default_rng(load.seed)
    shares = rng.uniform(load.shortest, 1.0, (load.requests, 2)).tolist()
    server = _Server(
        times, load, deque(_Request(max(1, round(load.prompt * p)), max(1, round(load.new * n))) for p, n in shares)
    )
    for _ in range(load.clients):
        server.send()
    while server.waiting or server.writing or server.arriving:
        _step(server)
    token_s = float(np.mean(server.token_s)) if server.token_s else 0.0
    return Served(float(np.mean(server.first_s)), token_s, server.now_s)


def _step(server: _Server) -> None:
    """One step that reads prompts; or as many that read none as pass until something happens."""
    writing, arriving = server.writing, server.arriving
    if not writing and not server.waiting:
        server.now_s = max(server.now_s, arriving[0].arrives_s)
    while arriving and arriving[0].arrives_s <= server.now_s:
        server.waiting.append(arriving.popleft())
    chunks, reading = _chunks(server)
    n_steps = 1
    if chunks and server.load.reads_first:
        n_steps = 0
        server.now_s += server.times.mixed_s(chunks, 0, 0.0)
    elif chunks:
        server.now_s += server.times.mixed_s(chunks, len(writing), server.position)
    else:
        position = server.position
        n_steps = _quiet_steps(server, server.times.decode_s(len(writing), position))
        server.now_s += n_steps * server.times.decode_s(len(writing), position + (n_steps - 1) / 2)
    server.turn += n_steps
    for request, stop in reading:
        request.read = stop
        if stop == request.prompt:
            server.waiting.popleft()
            server.begin(request)
    _answer(server)


def _quiet_steps(server: _Server, step_s: float) -> int:
    """Steps until a sequence ends, or until a prompt arrives."""
    ends = server.writing[0][0] - server.turn
    if not server.arriving:
        return ends
    return max(1, min(ends, math.ceil((server.arriving[0].arrives_s - server.now_s) / step_s)))


def _chunks(server: _Server) -> tuple[list[tuple[int, int]], list[tuple[_Request, int]]]:
    """What a step reads of the prompts that wait, first come, first served."""
    room = server.load.step_tokens - (0 if server.load.reads_first else len(server.writing))
    chunks: list[tuple[int, int]] = []
    reading: list[tuple[_Request, int]] = []
    for request in server.waiting:
        if room < 1:
            break
        if not request.read:
            if server.taken + request.prompt + request.new > server.load.positions:
                break
            server.taken += request.prompt + request.new
        stop = min(request.prompt, request.read + room)
        room -= stop - request.read
        chunks.append((request.read, stop))
        reading.append((request, stop))
    return chunks, reading


def _answer(server: _Server) -> None:
    """Let go of the requests that are written to their end; their clients send the next ones."""
    while server.writing and server.writing[0][0] <= server.turn:
        ends, _, request = heappop(server.writing)
        server.ahead -= request.prompt + request.new - ends
        server.taken -= request.prompt + request.new
        if request.new > 1:
            server.token_s.append((server.now_s - request.first_s) / (request.new - 1))
        server.send()
