"""Finds references in aarch64 machine code. These rules are a part of the format.

A word is four bytes, little-endian, at an address that 4 divides. Those that are wholly in the window are gone through. What a word
is, its bits say: `word & mask`. Its field, imm, is signed.

- BL: mask FC000000 gives 94000000. B: FC000000 gives 14000000. BCOND: FF000000 gives 54000000 (B.cond), or 7E000000 gives 34000000
  (CBZ, CBNZ). TB: 7E000000 gives 36000000 (TBZ, TBNZ). The target, address of the word + 4 imm, must be executable.
- LDR_LITERAL: 3B000000 gives 18000000, but FF000000 does not give DC000000. The target, the same, must be loaded.
- ADR: 9F000000 gives 10000000. The target, address of the word + imm, must be loaded.
- ADRP: 9F000000 gives 90000000. Its page is that of the address of the word + 4096 imm.
- LO12: partners of an ADRP.

An ADRP is followed if its page has loaded addresses in it and its register R, bits 4:0, is not 31: word by word through the next
48, as far as the data go. The effect of a word is that of the first row of `_EFFECTS` that it fits. A word is a partner if its
effect has a scale, bits 9:5 are R, its offset, bits 21:10 shifted left by the scale, is below 4096, and its target, page + offset,
is loaded. The ADRP is followed no further behind a word, partner or not, that writes R (bits 4:0 are R, and the effect is to write,
or bits 14:10 are, and it is to write two), or whose effect is to end, or to call, if R is 0 to 18 or 30: what a call need not keep.
Since an ADRP writes its register, no word is a partner of two.

The target of an ADRP is that of its first partner; without one, page + 0x800, and then it must be loaded, or there is no reference.

So what is found for a word depends on 48 words before it and behind it, and on no others.

Source: Arm Architecture Reference Manual for A-profile, chapter C4 (encodings); Procedure Call Standard for the Arm 64-bit
Architecture (registers). [48 words: 98 % or more of the partners that 200 words find, in four C and Rust programs.] Conversions
from floating point and base registers that are stepped write registers, too, and are passed over: they need more bits to tell.
[0.6 % of the words there.]
"""

from __future__ import annotations

import sys
from array import array
from functools import cache
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from .references import Bounds, Class, Field, References, as_references, check_window, columns_as_references, within

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _I64 = npt.NDArray[np.int64]
    _U32 = npt.NDArray[np.uint32]
    _U8 = npt.NDArray[np.uint8]

_WORD_BYTES = 4
_FOLLOWED_WORDS = 48
_PAGE_BYTES = 4096
_NO_PARTNER = 0x800
"""Where in its page an ADRP without a partner is taken to refer to: the middle."""
_NO_REGISTER = 31
_LOST_IN_CALLS = frozenset([*range(19), 30])
"""Registers that a call need not keep."""
_NUMPY_FROM_BYTES = 10240
"""Where a window begins to take longer without numpy. [Measured: 0.7 to 0.8 ms, on code of numpy.]"""

_NOTHING, _WRITES, _WRITES_TWO, _END, _CALL = range(5)
_SCALED, _SCALED_WRITES = 16, 32  # with the scale, 0 to 4, in the low bits; the larger one writes, too
_SCALE_BITS = 0x07
_EFFECTS = (
    (0xFFC00000, 0x91000000, _SCALED_WRITES),  # ADD, immediate, 64 bits, not shifted
    *((0xFFC00000, size << 30 | 0x39000000, _SCALED | size) for size in range(4)),  # STR, unsigned offset
    (0xFFC00000, 0xF9800000, _SCALED | 3),  # PRFM
    *((0xFF000000, size << 30 | 0x39000000, _SCALED_WRITES | size) for size in range(4)),  # LDR
    (0xFF800000, 0x3D800000, _SCALED | 4),  # LDR and STR of 128 bits
    *((0xFF000000, size << 30 | 0x3D000000, _SCALED | size) for size in range(4)),  # LDR and STR, SIMD
    (0xFC000000, 0x14000000, _END),  # B
    (0xFC000000, 0x94000000, _CALL),  # BL
    (0xFEE00000, 0xD6200000, _CALL),  # BLR
    (0xFE000000, 0xD6000000, _END),  # BR, RET
    (0xFFE00000, 0xD5200000, _WRITES),  # MRS
    (0x1C000000, 0x14000000, _NOTHING),  # other branches, system
    (0x1C000000, 0x10000000, _WRITES),  # data processing, immediate; ADR, ADRP
    (0xFF000000, 0xD8000000, _NOTHING),  # PRFM, literal
    (0x3F000000, 0x18000000, _WRITES),  # LDR, literal
    (0x3E400000, 0x28400000, _WRITES_TWO),  # LDP
    (0x3F400000, 0x08400000, _WRITES),  # LDXR, LDAR
    (0x3EC00000, 0x38000000, _NOTHING),  # STR, other offsets
    (0xFEC00000, 0xF8800000, _NOTHING),  # PRFM
    (0x3E000000, 0x38000000, _WRITES),  # LDR
    (0x3FC00000, 0x19000000, _NOTHING),  # STLUR
    (0x3F000000, 0x19000000, _WRITES),  # LDAPUR
    (0x0A000000, 0x08000000, _NOTHING),  # other loads and stores
    (0x1FE00000, 0x1A400000, _NOTHING),  # CCMP, CCMN
    (0x0E000000, 0x0A000000, _WRITES),  # data processing, registers
    (0x00000000, 0x00000000, _NOTHING),  # SIMD, floating point, all else
)
"""Mask, bits, and what a word that has these bits there does. Masks are of bits 31:21."""
_EFFECT_SHIFT = 21

_KINDS = (
    (Field.B26, 0, Class.BL), (Field.B26, 0, Class.B), (Field.B19, 0, Class.BCOND), (Field.B14, 0, Class.TB),
    (Field.ADR, 0, Class.ADR), (Field.B19, 0, Class.LDR_LITERAL), (Field.ADRP, 0, Class.ADRP),
    *((Field.LO12, scale, Class.LO12) for scale in range(5)),
)  # fmt: skip
_BL, _B, _BCOND, _TB, _ADR, _LDR_LITERAL, _ADRP, _LO12 = range(8)
_NONE = 255
"""No kind of reference. Behind all of them, so that `_TB` is the last whose target is executable."""
_TOPS = (
    (0xFC, 0x94, _BL), (0xFC, 0x14, _B), (0xFF, 0x54, _BCOND), (0x7E, 0x34, _BCOND), (0x7E, 0x36, _TB), (0x9F, 0x10, _ADR),
    (0xFF, 0xDC, _NONE), (0x3B, 0x18, _LDR_LITERAL), (0x9F, 0x90, _ADRP), (0x00, 0x00, _NONE),
)  # fmt: skip
"""Mask, bits, and the kind of a word whose top byte has these bits there; the first that fits."""
_COUNTS = {_BL: (0, 26), _B: (0, 26), _BCOND: (5, 19), _TB: (5, 14), _LDR_LITERAL: (5, 19)}
"""Lowest bit, and bits, of the fields that count words."""

_Row = tuple[int, int, int]


def find_aarch64(data: bytes, address: int, first: int, stop: int, bounds: Bounds) -> References:
    """Return the references whose word is in `data[first:stop]`.

    Linear in the length of the window, whatever is in it. With numpy where that is imported and worth it, without it just the same.

    Args:
        data: Consecutive bytes of an old file's machine code. Up to 48 words before the window and behind it are looked at.
        address: Of the first of them; need not be that of a word.
        first: Where in `data` the window begins.
        stop: Where it ends.
        bounds: What there is to refer to.

    Raises:
        ContentError: The data leave the address space.
        LocalProtocolError: The window is not within the data.
    """
    if stop - first >= _NUMPY_FROM_BYTES and "numpy" in sys.modules:
        return find_aarch64_at_once(data, address, first, stop, bounds)
    return find_aarch64_plainly(data, address, first, stop, bounds)


class _Window(NamedTuple):
    """Words that are looked at.

    Attributes:
        start: Where in the data the first of them is.
        words: How many there are.
        first: Which is the first whose references are wanted.
        stop: Which is the first behind those.
    """

    start: int
    words: int
    first: int
    stop: int


def _window(data: bytes, address: int, first: int, stop: int) -> _Window:
    """Return the words of a window with their context; `first` is at or beyond `stop` if there is no word in it."""
    odd = -address % _WORD_BYTES
    first, stop, last = (first - odd + 3) // _WORD_BYTES, (stop - odd) // _WORD_BYTES, (len(data) - odd) // _WORD_BYTES
    begin, end = max(0, first - _FOLLOWED_WORDS), min(last, stop + _FOLLOWED_WORDS)
    return _Window(odd + _WORD_BYTES * begin, max(0, end - begin), first - begin, stop - begin)


def find_aarch64_plainly(data: bytes, address: int, first: int, stop: int, bounds: Bounds) -> References:
    """Do what `find_aarch64` does, without numpy."""
    check_window(data, address, first, stop)
    start, count, first, stop = _window(data, address, first, stop)
    if first >= stop:
        return as_references([], _KINDS)
    words = array("I", data[start : start + _WORD_BYTES * count])
    if sys.byteorder == "big":
        words.byteswap()
    tops = data[start + 3 : start + _WORD_BYTES * stop : _WORD_BYTES]
    rows = _direct_rows(words[first:stop], tops[first:], start + _WORD_BYTES * first, address, bounds)
    low, high = start + _WORD_BYTES * first, start + _WORD_BYTES * stop
    for index in compress(range(stop), tops.translate(_kinds_of_tops(adrp=True))):
        rows += [row for row in _followed(words, index, start, address, bounds) if low <= row[0] < high]
    rows.sort()
    return as_references(rows, _KINDS)


def _direct_rows(words: array[int], tops: bytes, start: int, address: int, bounds: Bounds) -> list[_Row]:
    """Return the references but of ADRP, of consecutive words whose top bytes are given."""
    kinds = tops.translate(_kinds_of_tops(adrp=False))
    spans = [(bounds.code_low, bounds.code_high) if kind <= _TB else (bounds.low, bounds.high) for kind in range(_ADRP)]
    forms = [(0, 0, 0, 0, 0), *(_shape(kind) + span for kind, span in enumerate(spans))]
    places = range(start, start + _WORD_BYTES * len(words), _WORD_BYTES)
    rows = []
    for place, kind, word in zip(compress(places, kinds), compress(kinds, kinds), compress(words, kinds), strict=True):
        shift, mask, sign, low, high = forms[kind]
        target = address + place + (((word >> shift & mask) ^ sign) - sign) * _WORD_BYTES if sign else address + place + _adr(word)
        if low <= target < high:
            rows.append((place, target, kind - 1))
    return rows


def _shape(kind: int) -> tuple[int, int, int]:
    """Return shift, mask and sign of a field that counts words; 0 for others."""
    low, bits = _COUNTS.get(kind, (0, 0))
    return low, (1 << bits) - 1, 1 << bits >> 1


def _adr(word: int) -> int:
    """Return the signed 21 bits of an ADR or ADRP."""
    return ((word >> 3 & 0x1FFFFC | word >> 29 & 3) ^ 0x100000) - 0x100000


def _followed(words: array[int], index: int, start: int, address: int, bounds: Bounds) -> list[_Row]:
    """Return the references of an ADRP and its partners."""
    effects, register = _effects(), words[index] & 31
    place = start + _WORD_BYTES * index
    page = (address + place) // _PAGE_BYTES * _PAGE_BYTES + _adr(words[index]) * _PAGE_BYTES
    partners: list[_Row] = []
    if register != _NO_REGISTER and bounds.low // _PAGE_BYTES * _PAGE_BYTES <= page < bounds.high:
        for behind in range(index + 1, min(index + 1 + _FOLLOWED_WORDS, len(words))):
            word = words[behind]
            effect = effects[word >> _EFFECT_SHIFT]
            if effect >= _SCALED and word >> 5 & 31 == register:
                scale = effect & _SCALE_BITS
                offset = (word >> 10 & 0xFFF) << scale
                if offset < _PAGE_BYTES and bounds.low <= page + offset < bounds.high:
                    partners.append((start + _WORD_BYTES * behind, page + offset, _LO12 + scale))
            if effect and _ends(effect, word, register):
                break
    target = partners[0][1] if partners else page + _NO_PARTNER
    return [(place, target, _ADRP), *partners] if bounds.low <= target < bounds.high else partners


def _ends(effect: int, word: int, register: int) -> bool:
    """Tell whether an ADRP is followed no further behind a word."""
    if effect == _END:
        return True
    if effect == _CALL:
        return register in _LOST_IN_CALLS
    if effect == _WRITES_TWO and word >> 10 & 31 == register:
        return True
    return word & 31 == register and not _SCALED <= effect < _SCALED_WRITES


@cache
def _kinds_of_tops(*, adrp: bool) -> bytes:
    """Return, for each top byte of a word, 1 + the kind of reference that it is, of ADRP or of all others, or 0."""
    fits = (next(kind for mask, bits, kind in _TOPS if top & mask == bits) for top in range(256))
    return bytes(1 + kind if kind != _NONE and (kind == _ADRP) == adrp else 0 for kind in fits)


@cache
def _effects() -> bytes:
    """Return, for bits 31:21 of a word, its effect."""
    words = (bits << _EFFECT_SHIFT for bits in range(1 << 32 - _EFFECT_SHIFT))
    return bytes(next(effect for mask, bits, effect in _EFFECTS if word & mask == bits) for word in words)


def find_aarch64_at_once(data: bytes, address: int, first: int, stop: int, bounds: Bounds) -> References:
    """Do what `find_aarch64` does, with numpy."""
    import numpy as np

    check_window(data, address, first, stop)
    start, count, first, stop = _window(data, address, first, stop)
    if first >= stop:
        return as_references([], _KINDS)
    words = np.frombuffer(data, np.dtype("<u4"), count, start).astype(np.uint32, copy=False)
    tops = (words[:stop] >> np.uint32(24)).astype(np.uint8)
    columns = [_direct(words, tops, first, start, address, bounds), *_paired(words, tops, start, address, bounds)]
    indices, offsets, which = (np.concatenate(column) for column in zip(*columns, strict=True))
    inside = np.flatnonzero((indices >= first) & (indices < stop))
    order = inside[np.argsort(indices[inside], kind="stable")]
    return columns_as_references(start + _WORD_BYTES * indices[order], address, offsets[order], which[order], _KINDS)


def _direct(words: _U32, tops: _U8, first: int, start: int, address: int, bounds: Bounds) -> tuple[_I64, _I64, _U8]:
    """Return the references but of ADRP: which words, offsets of their targets from the address, and kinds."""
    import numpy as np

    kinds = np.frombuffer(_kinds_of_tops(adrp=False), np.uint8)[tops]
    indices = np.flatnonzero(kinds[first:]) + first
    which, chosen = kinds[indices] - np.uint8(1), words[indices].astype(np.int64)
    shift, mask, sign = (np.array(column)[which] for column in zip(*map(_shape, range(_ADRP)), strict=True))
    ahead = (((chosen >> shift & mask) ^ sign) - sign) * _WORD_BYTES
    ahead = np.where(which == _ADR, _adrs(chosen), ahead)
    offsets = start + _WORD_BYTES * indices + ahead
    fits = np.where(
        which <= _TB,
        within(offsets, address, bounds.code_low, bounds.code_high),
        within(offsets, address, bounds.low, bounds.high),
    )
    return indices[fits], offsets[fits], which[fits]


def _adrs(words: _I64) -> _I64:
    return ((words >> 3 & 0x1FFFFC | words >> 29 & 3) ^ 0x100000) - 0x100000


def _paired(words: _U32, tops: _U8, start: int, address: int, bounds: Bounds) -> list[tuple[_I64, _I64, _U8]]:
    """Return the references of ADRPs, and of their partners, likewise."""
    import numpy as np

    adrps = np.flatnonzero(np.frombuffer(_kinds_of_tops(adrp=True), np.uint8)[tops])
    within_page = address % _PAGE_BYTES
    here = (start + within_page + _WORD_BYTES * adrps) // _PAGE_BYTES * _PAGE_BYTES - within_page
    pages = here + _adrs(words[adrps].astype(np.int64)) * _PAGE_BYTES  # offsets from the address
    followed = within(pages, address, bounds.low // _PAGE_BYTES * _PAGE_BYTES, bounds.high) & (words[adrps] & 31 != _NO_REGISTER)
    whose, partners, effects = _partners(words, adrps, np.flatnonzero(followed))
    scales = effects & np.uint8(_SCALE_BITS)
    low_bits = (words[partners] >> np.uint32(10) & np.uint32(0xFFF)).astype(np.int64) << scales
    targets = pages[whose] + low_bits
    fits = (low_bits < _PAGE_BYTES) & within(targets, address, bounds.low, bounds.high)
    whose, partners, targets, scales = whose[fits], partners[fits], targets[fits], scales[fits]
    main = pages + _NO_PARTNER
    owners, nearest = np.unique(whose, return_index=True)
    main[owners] = targets[nearest]
    kept = within(main, address, bounds.low, bounds.high)
    of_adrps = adrps[kept], main[kept], np.full(np.count_nonzero(kept), _ADRP, np.uint8)
    return [of_adrps, (partners, targets, scales + np.uint8(_LO12))]


def _partners(words: _U32, adrps: _I64, whose: _I64) -> tuple[_I64, _I64, _U8]:
    """Return pairs of an ADRP and a word that may be its partner, nearer words first, and the effects of the words.

    Args:
        words: All that are looked at.
        adrps: Which of them are ADRPs.
        whose: Which of these are followed.
    """
    import numpy as np

    of_words = np.frombuffer(_effects(), np.uint8)[words >> np.uint32(_EFFECT_SHIFT)]
    registers = words[adrps] & np.uint32(31)
    is_lost = np.isin(registers, list(_LOST_IN_CALLS))
    found: list[tuple[_I64, _I64, _U8]] = []
    for distance in range(1, _FOLLOWED_WORDS + 1):
        whose = whose[adrps[whose] + distance < len(words)]
        at = adrps[whose] + distance
        word, effect, register = words[at], of_words[at], registers[whose]
        hit = (effect >= _SCALED) & (word >> np.uint32(5) & np.uint32(31) == register)
        found.append((whose[hit], at[hit], effect[hit]))
        writes = (effect == _WRITES) | (effect == _WRITES_TWO) | (effect >= _SCALED_WRITES)
        ends = writes & (word & np.uint32(31) == register) | (effect == _END) | (effect == _CALL) & is_lost[whose]
        ends |= (effect == _WRITES_TWO) & (word >> np.uint32(10) & np.uint32(31) == register)
        whose = whose[~ends]
        if not len(whose):
            break
    parts = [np.concatenate(column) for column in zip(*found, strict=True)]
    return parts[0], parts[1], parts[2]
