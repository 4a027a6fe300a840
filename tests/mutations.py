"""Files spoilt at random: bits flipped, bytes written over, pieces cut out, doubled, moved, or the end cut off."""

import random


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The content after one to four changes."""
    out = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        if not out:
            break
        at = draw.randrange(len(out))
        length = min(draw.choice((1, 2, 4, 8, 32, 256)), len(out) - at)
        kind = draw.randrange(7)
        if kind == 0:
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            out[at : at + length] = draw.randbytes(length)
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = out[at : at + length]
        elif kind == 4:
            piece = out[at : at + length]
            place = draw.randrange(len(out))
            out[place : place + length] = piece
        elif kind == 5:
            out[at : at + length] = draw.choice((b"\xff", b"\x00", b"\x7f", b"9", b"-")) * length
        else:
            del out[at:]
    return bytes(out)
