"""Read the text of an HLO module: a scanner that looks at every line once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tierplan.frontend.hlo_check import checked
from tierplan.frontend.hlo_module import Aliased, Computation, Index, Instruction, Module, integer
from tierplan.frontend.hlo_shape import HloShape, read_shape
from tierplan.ir.errors import InvalidInputError, one_line

_MODULE = re.compile(r"HloModule\s+([^\s,]+)\s*,?(.*)")
_COMPUTATION = re.compile(r"(ENTRY\s+)?%?([\w.\-]+)\s*(\(.*->.*)?\{\s*$")
_HEAD = re.compile(r"\s*(ROOT\s+)?%?([\w.\-]+)\s*=\s*")
_ARRAY = re.compile(r"([a-z][a-z0-9]*\[[^\]]*\](?:\{[^{}]*\})?)\s+([a-z][\w\-]*)\(")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_NAME = re.compile(r"%([\w.\-]+)")
_LAST_WORD = re.compile(r"([\w.\-]+)\s*$")
_COMMENT = re.compile(r"/\*.*?\*/")
_MARK = re.compile(r'[(){}"]')
_STRING_END = re.compile(r'(?:[^"\\]|\\.)*"')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|true_computation|false_computation|select|scatter)=%?([\w.\-]+)"
)
_CALLED_MANY = re.compile(r"\b(branch_computations|called_computations|calls)=\{([^{}]*)\}")
_WORD = re.compile(r"[\w.\-]+")
_ALIAS = re.compile(r"\{([\d,\s]*)\}\s*:\s*\(\s*(\d+)\s*,\s*\{([\d,\s]*)\}")
_DIGITS = re.compile(r"\d+")
_NO_CALLS: Mapping[str, tuple[str, ...]] = {}
_CALLING = frozenset((
    "fusion", "call", "while", "conditional", "map", "reduce", "reduce-window", "scatter", "select-and-scatter", "sort",
    "all-reduce", "all-reduce-start", "reduce-scatter", "custom-call", "async-start", "async-update", "async-done",
    "topk",
))  # fmt: skip


@dataclass(slots=True)
class _Draft:
    """A computation in the making."""

    name: str
    entry: bool
    line: int
    instructions: list[Instruction] = field(default_factory=list[Instruction])
    by_name: dict[str, Instruction] = field(default_factory=dict[str, Instruction])
    root: Instruction | None = None


def read_hlo(text: str, source: str) -> Module:
    """The module that a text holds.

    Raises: InvalidInputError: it breaks the grammar, calls or reads what is not there, calls itself, or ends too
        early; the message names the line.
    """
    reader = _Reader(text.splitlines(), source)
    try:
        return checked(reader.module(), source)
    except InvalidInputError as error:
        place = "" if str(error).startswith(source) else f"{source}, line {reader.line}: "
        raise InvalidInputError(one_line(f"{place}{error}")) from None


class _Reader:
    """The lines of a module and the place reached in them."""

    def __init__(self, lines: list[str], source: str) -> None:
        self._lines = lines
        self._next = 0
        self._source = source
        self._shapes: dict[str, HloShape] = {}

    @property
    def line(self) -> int:
        """The number of the line read last, from 1."""
        return self._next

    def module(self) -> Module:
        name, attributes = self._header()
        drafts: dict[str, _Draft] = {}
        while self._next < len(self._lines):
            line = self._lines[self._next].strip()
            self._next += 1
            if not line or line[0].isdigit() or line.startswith("//") or line in _TABLES:
                continue
            found = _COMPUTATION.match(line)
            if found is None:
                raise InvalidInputError(f"expected a computation like 'ENTRY main {{', found '{line[:60]}'")
            draft = _Draft(found.group(2), found.group(1) is not None, self._next)
            if draft.name in drafts:
                raise InvalidInputError(f"computation '{draft.name}' is already on line {drafts[draft.name].line}")
            drafts[draft.name] = draft
            self._body(draft)
        computations = {draft.name: _finished(draft) for draft in drafts.values()}
        entries = [draft.name for draft in drafts.values() if draft.entry]
        if len(entries) != 1 and len(drafts) != 1:
            raise InvalidInputError(f"{len(entries)} computations are marked ENTRY; a module has exactly one")
        entry = computations[entries[0] if entries else next(iter(drafts))]
        scheduled = "is_scheduled=true" in attributes
        return Module(name, entry, computations, _aliases(attributes), scheduled, ())

    def _header(self) -> tuple[str, str]:
        while self._next < len(self._lines):
            line = self._lines[self._next].strip()
            self._next += 1
            if not line or line.startswith("//"):
                continue
            found = _MODULE.match(line)
            if found is not None:
                return found.group(1), found.group(2)
            hint = "; of StableHLO write lowered.as_text('hlo') instead" if line.startswith("module") else ""
            raise InvalidInputError(f"an HLO module begins with 'HloModule NAME', not '{line[:40]}'{hint}")
        raise InvalidInputError("an HLO module begins with 'HloModule NAME'; this file is empty")

    def _body(self, draft: _Draft) -> None:
        lines, by_name, instructions = self._lines, draft.by_name, draft.instructions
        while self._next < len(lines):
            line = lines[self._next]
            self._next += 1
            if "/*" in line:
                line = _COMMENT.sub("", line)
            head = _HEAD.match(line)
            if head is None:
                bare = line.strip()
                if bare.startswith("}"):
                    return
                if not bare or bare.startswith("//"):
                    continue
                raise InvalidInputError(f"expected 'NAME = SHAPE OPCODE(...)' or '}}', found '{bare[:60]}'")
            instruction = self._instruction(line, head)
            if instruction.name in by_name:
                first = by_name[instruction.name].line
                raise InvalidInputError(f"instruction '{instruction.name}' is already on line {first}")
            by_name[instruction.name] = instruction
            instructions.append(instruction)
            if head.group(1):
                if draft.root is not None:
                    raise InvalidInputError(f"computation '{draft.name}' has a second ROOT")
                draft.root = instruction
        raise InvalidInputError(
            f"computation '{draft.name}' of line {draft.line} has no end; the file may be truncated"
        )

    def _instruction(self, line: str, head: re.Match[str]) -> Instruction:
        number = self._next
        found = _ARRAY.match(line, head.end())
        if found is not None:
            text, opcode = found.groups()
            shape = self._shapes.get(text)
            if shape is None:
                shape = self._shapes[text] = read_shape(text)[0]
            start = found.end()
        else:
            shape, opcode, start = self._tuple_head(line, head)
        stop = line.find(")", start)
        inner = line[start:stop]
        if stop < 0 or "(" in inner or '"' in inner or "{" in inner:
            line, stop = self._closed(line, start)
            inner = line[start:stop]
        attributes = line[stop + 1 :].lstrip(", ")
        calls = _calls(attributes) if opcode in _CALLING else _NO_CALLS
        if opcode in ("constant", "parameter"):
            return Instruction(head.group(2), opcode, shape, (), inner.strip(), attributes, number, calls)
        return Instruction(head.group(2), opcode, shape, _operands(inner), "", attributes, number, calls)

    def _tuple_head(self, line: str, head: re.Match[str]) -> tuple[HloShape, str, int]:
        start = head.end()
        if not line.startswith("(", start):
            raise InvalidInputError(
                f"'{head.group(2)}': expected SHAPE OPCODE(...), found '{line[start : start + 60]}'"
            )
        line, stop = self._closed(line, start + 1, join=False)
        text = line[start : stop + 1]
        shape = self._shapes.get(text)
        if shape is None:
            shape = self._shapes[text] = read_shape(text)[0]
        found = _OPCODE.match(line, stop + 1)
        if found is None:
            raise InvalidInputError(f"'{head.group(2)}': expected an opcode, found '{line[stop + 1 : stop + 60]}'")
        return shape, found.group(1), found.end()

    def _closed(self, line: str, start: int, *, join: bool = True) -> tuple[str, int]:
        """Where the parenthesis that is open at `start` closes; lines that belong to it are joined."""
        depth, place, parts, before = 1, start, [line], 0
        while True:
            text = parts[-1]
            mark = _MARK.search(text, place)
            if mark is None:
                if not join or self._next >= len(self._lines):
                    raise InvalidInputError(f"a parenthesis never closes: '{line[max(0, start - 30) : start + 30]}'")
                before += len(text)
                parts.append(self._lines[self._next])
                self._next += 1
                place = 0
                continue
            place = mark.end()
            if mark.group() == '"':
                string = _STRING_END.match(text, place)
                if string is None:
                    raise InvalidInputError(f"a string never ends: '{text[place : place + 40]}'")
                place = string.end()
            elif mark.group() in "({":
                depth += 1
            else:
                depth -= 1
                if depth == 0:
                    return "".join(parts), before + mark.start()


def _finished(draft: _Draft) -> Computation:
    if not draft.instructions:
        raise InvalidInputError(f"computation '{draft.name}' of line {draft.line} has no instruction")
    numbered: dict[int, Instruction] = {}
    for instruction in draft.instructions:
        if instruction.opcode != "parameter":
            continue
        number = integer(instruction.argument) if instruction.argument.isdecimal() else -1
        if number in numbered or not 0 <= number < len(draft.instructions):
            raise InvalidInputError(
                f"computation '{draft.name}', line {instruction.line}: parameter({instruction.argument[:20]}) is "
                "repeated or no number of a parameter"
            )
        numbered[number] = instruction
    if sorted(numbered) != list(range(len(numbered))):
        raise InvalidInputError(f"computation '{draft.name}': parameters are numbered {sorted(numbered)[:8]}")
    parameters = tuple(numbered[number] for number in range(len(numbered)))
    root = draft.root or draft.instructions[-1]
    return Computation(draft.name, tuple(draft.instructions), root, parameters, draft.by_name)


def _operands(inner: str) -> tuple[str, ...]:
    if "%" in inner:
        return tuple(_NAME.findall(inner))
    if not inner.strip():
        return ()
    names: list[str] = []
    for part in _parts(inner) if "[" in inner else inner.split(","):
        found = _LAST_WORD.search(part)
        if found is None:
            raise InvalidInputError(f"expected operands, found '{inner[:60]}'")
        names.append(found.group(1))
    return tuple(names)


def _parts(text: str) -> list[str]:
    """The text cut at the commas that stand in no bracket."""
    depth, start, parts = 0, 0, list[str]()
    for place, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _calls(attributes: str) -> Mapping[str, tuple[str, ...]]:
    if "=" not in attributes:
        return _NO_CALLS
    text = _QUOTED.sub('""', attributes) if '"' in attributes else attributes
    found = {role: (name,) for role, name in _CALLED.findall(text)}
    if "={" in text:
        found |= {role: tuple(_WORD.findall(names)) for role, names in _CALLED_MANY.findall(text) if names.strip()}
    return found


def _aliases(attributes: str) -> tuple[Aliased, ...]:
    """The pairs of `input_output_alias={ {0}: (1, {}, may-alias) }`."""
    place = attributes.find("input_output_alias={")
    if place < 0:
        return ()
    depth = 0
    for mark in _MARK.finditer(attributes, place):
        depth += {"{": 1, "}": -1}.get(mark.group(), 0)
        if depth == 0:
            text = attributes[place + len("input_output_alias={") : mark.start()]
            return tuple(Aliased(_index(a), integer(n), _index(b)) for a, n, b in _ALIAS.findall(text))
    raise InvalidInputError("input_output_alias never closes")


def _index(text: str) -> Index:
    return tuple(integer(number) for number in _DIGITS.findall(text))
