"""Files spoilt at random: as bytes, as JSON, as the text of programs, and as messages of ONNX."""

import json
import random
import re
import struct

EXTREMES = (0, 1, 2, 31, 255, 2**16, 2**31 - 1, 2**32 - 1, 2**60, 2**63, 2**64 - 1)
_NUMBERS = ("0", "-1", str(2**31), str(2**63), "9" * 400, "9" * 5000, "1e9", "nan")
_VALUES = (None, True, -1, 0, 1, 3, 10**9, 2**63, 1e308, "", "x", "../x", [], [1], {}, {"a": 1}, [[]], [None] * 3)
_WORDS = re.compile(r"[\w.\-]+|[\[\]{}(),=%]")


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One to four changes: bits, numbers, pieces written over, cut out, doubled or put elsewhere, the end cut off."""
    out = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        if not out:
            break
        at, kind = draw.randrange(len(out)), draw.randrange(9)
        length = min(draw.choice((1, 2, 4, 8, 32, 256)), len(out) - at)
        if kind == 0:
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            out[at : at + length] = draw.randbytes(length)
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = out[at : at + length]
        elif kind == 4:
            place = draw.randrange(len(out))
            out[place : place + length] = out[at : at + length]
        elif kind == 5:
            out[at : at + length] = draw.choice((b"\xff", b"\x00", b"\x7f", b"9", b"-")) * length
        elif kind == 6:
            out[at : at + 8] = struct.pack("<Q", draw.choice(EXTREMES))
        elif kind == 7:
            out[at : at + 4] = struct.pack("<I", draw.choice(EXTREMES) & 0xFFFFFFFF)
        elif draw.random() < 0.3:
            del out[at:]
    return bytes(out)


def mutated_json(value: object, draw: random.Random) -> object:
    """One entry somewhere within replaced, left out or renamed."""
    if isinstance(value, dict) and value:
        key = draw.choice(list(value))
        kind = draw.randrange(5)
        rest = {k: v for k, v in value.items() if k != key}
        if kind == 0:
            return rest
        if kind == 1:
            return rest | {key + draw.choice(("s", "_", "\u0000", "é")): value[key]}
        if kind == 2:
            return value | {key: draw.choice(_VALUES)}
        return value | {key: mutated_json(value[key], draw)}
    if isinstance(value, list) and value:
        at = draw.randrange(len(value))
        return [*value[:at], mutated_json(value[at], draw), *value[at + 1 :]]
    return draw.choice(_VALUES)


def as_text(value: object, draw: random.Random) -> bytes:
    """JSON as text, now and then with every key twice, or spoilt as text too."""
    text = json.dumps(value)
    if draw.random() < 0.1 and text.startswith("{"):
        text = "{" + text[1:-1] + ", " + text[1:-1] + "}"
    raw = text.encode()
    return mutated(raw, draw) if draw.random() < 0.3 else raw


def mutated_text(text: str, draw: random.Random) -> str:
    """One to four changes: pieces and words of it moved, doubled or left out, numbers and lines exchanged."""
    for _ in range(draw.randint(1, 4)):
        if text:
            text = _changed(text, draw)
    return text


def _changed(text: str, draw: random.Random) -> str:
    place, kind = draw.randrange(len(text)), draw.randrange(7)
    if kind == 0:
        return text[:place]
    if kind == 1:
        return text[:place] + chr(draw.choice([0, 10, 34, 37, 40, 41, 44, 91, 93, 123, 125, 955])) + text[place:]
    if kind == 2:
        return text[:place] + text[place + draw.randint(1, 40) :]
    if kind == 3:
        stop = min(len(text), place + draw.randint(1, 200))
        return text[:stop] + text[place:stop] + text[stop:]
    if kind == 4:
        words = list(_WORDS.finditer(text))
        if len(words) > 1:
            one, other = draw.sample(words, 2)
            text = text[: one.start()] + other.group() + text[one.end() :]
        return text
    if kind == 5:
        found = list(re.finditer(r"\d+", text))
        if found:
            hit = draw.choice(found)
            text = text[: hit.start()] + draw.choice(_NUMBERS) + text[hit.end() :]
        return text
    lines = text.splitlines(keepends=True)
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return "".join(lines)
