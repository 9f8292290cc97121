"""What the header of a picture file says, read before (or in place of) Pillow's own look at it.

Pillow reads a camera's notes as soon as a JPEG is opened and warns of every oddity in them; so they are cut out
beforehand, which also keeps strangers' ICC, XMP and Photoshop blocks from every parser. Of the notes we want one
number.
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
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (_SCAN, 0xFF):
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at:end]
        if marker == _FIRST_APP + 1 and segment[4:10] == b"Exif\0\0" and not exif:
            exif = segment[10:]
        note = _FIRST_APP < marker <= _LAST_APP and marker != _ADOBE
        if not (note or marker == _COMMENT):
            kept.append(segment)
        at = end
    kept.append(data[at:])
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
