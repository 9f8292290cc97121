"""What the header of a picture file says, read before (or in place of) Pillow's own look at it.

Pillow reads all notes around a picture (EXIF, ICC, XMP, Photoshop, text, animation) as soon as a file is opened, and
warns of every oddity in them. So they are cut out beforehand and no parser sees them; of all they say we want one
number, how the camera was held.
"""

from __future__ import annotations

import struct

_SCAN, _FIRST_APP, _ADOBE, _LAST_APP, _COMMENT = 0xDA, 0xE0, 0xEE, 0xEF, 0xFE
_ORIENTATION = 0x0112
_SHORT = 3  # TIFF field type


def webp_pixels(data: bytes) -> int:
    """Pixels that a WebP file claims; its decoder allocates them as soon as the file is opened.

    Layout of the three chunk kinds: RFC 9649, sections 2.5 to 2.7.
    """
    kind, head = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return (int.from_bytes(head[4:7], "little") + 1) * (int.from_bytes(head[7:10], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
    return (int.from_bytes(head[6:8], "little") & 0x3FFF) * (int.from_bytes(head[8:10], "little") & 0x3FFF)


def bare_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """A JPEG file without the notes around the picture, and the EXIF block that was among them (may be empty).

    Kept are the two application segments that say how colours are coded (JFIF, Adobe). Segments: ITU-T T.81, annex B.
    """
    kept, exif, at = [data[:2]], b"", 2
    while 0 <= at < len(data) - 3:
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0xFF):  # stuffing, or dirt: look for the next marker
            at = data.find(b"\xff", at + 1)
            continue
        if marker == _SCAN:
            kept.append(data[at:])
            break
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD9  # these have no length
        end = at + 2 + (0 if alone else int.from_bytes(data[at + 2 : at + 4], "big"))
        segment = data[at:end]
        if marker == _FIRST_APP + 1 and segment[4:10] == b"Exif\0\0" and not exif:
            exif = segment[10:]
        note = _FIRST_APP < marker <= _LAST_APP and marker != _ADOBE
        if not (note or marker == _COMMENT):
            kept.append(segment)
        at = end
    return b"".join(kept), exif


def bare_png(data: bytes) -> tuple[bytes, bytes]:
    """A PNG file with the chunks of its picture only, and its EXIF block (may be empty).

    Kept are the critical chunks (a capital first letter) and the transparency. Chunks: ISO/IEC 15948, section 5.
    """
    kept, exif, at = [data[:8]], b"", 8
    while at + 8 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"eXIf" and not exif:
            exif = data[at + 8 : end - 4]
        if kind == b"tRNS" or not kind[0] & 0x20:
            kept.append(data[at:end])
        at = end
    return b"".join(kept), exif


def orientation(exif: bytes) -> int:
    """How the camera was held, 1 (upright) to 8; 1 where the EXIF block is absent or unreadable.

    The block is a TIFF file (TIFF 6.0, section 2); the tag stands in its first directory.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    start = struct.unpack(f"{order}I", exif[4:8])[0]
    count = int.from_bytes(exif[start : start + 2], "little" if order == "<" else "big")
    for at in range(start + 2, start + 2 + 12 * count, 12):
        entry = exif[at : at + 12]
        if len(entry) < 12:
            break
        tag, kind, _, value = struct.unpack(f"{order}HHIH2x", entry)
        if tag == _ORIENTATION:
            return int(value) if kind == _SHORT and 1 <= value <= 8 else 1
    return 1
