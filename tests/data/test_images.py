"""Decoding of friendly and hostile pictures, and gathering them from folders and from a real local server."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from unimp_bench.data import images, pictures
from unimp_bench.data.image_store import ImageStore
from unimp_bench.data.network import Manners
from unimp_bench.errors import IncompleteError, InputError, NetworkError
from unimp_bench.progress import Silent
from unimp_bench.schemas import IMAGE_STATUSES, IMAGES
from unimp_bench.tables import read, write

HASTY = Manners(
    connect_seconds=1,
    read_seconds=0.3,
    stall_seconds=0.3,
    stall_bytes=1000,
    attempts=2,
    first_pause=0.01,
    longest_pause=0.05,
)
RED, BLUE = (220, 30, 30), (20, 40, 200)


def halves(mode: str = "RGB", size: tuple[int, int] = (100, 80), left=RED, right=BLUE) -> Image.Image:
    """Left half one colour, right half another."""
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """Pixels (height, width, 3) of the finished picture."""
    outcome = pictures.decode(data)
    assert outcome.status == "ok", outcome.status
    assert outcome.picture is not None
    with Image.open(BytesIO(outcome.picture.data)) as image:
        assert image.format == "JPEG" and image.mode == "RGB"
        assert image.size == (outcome.picture.width, outcome.picture.height)
        return np.asarray(image).astype(int)


def assert_colours(pixels: np.ndarray, left, right, tolerance: int = 12) -> None:
    height, width, _ = pixels.shape
    assert np.abs(pixels[height // 2, width // 8] - left).max() <= tolerance, pixels[height // 2, width // 8]
    assert np.abs(pixels[height // 2, -width // 8] - right).max() <= tolerance, pixels[height // 2, -width // 8]


def png(width: int, height: int, depth: int = 8, colour: int = 2, body: bytes = b"") -> bytes:
    """A PNG file made by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_every_format_becomes_the_same_form(kind):
    assert_colours(decoded(encoded(halves(), kind)), RED, BLUE, 25)


def test_greyscale_and_two_levels():
    assert_colours(decoded(encoded(halves("L", left=(50, 50, 50), right=(200, 200, 200)))), [50] * 3, [200] * 3, 4)
    assert_colours(
        decoded(encoded(halves("RGB", left=(0, 0, 0), right=(255, 255, 255)).convert("1"))), [0] * 3, [255] * 3, 4
    )


def test_cmyk_becomes_rgb():
    assert_colours(decoded(encoded(halves("CMYK"), "JPEG", quality=95)), RED, BLUE, 25)


def test_palette_with_and_without_transparency():
    image = halves().quantize(4)
    assert_colours(decoded(encoded(image)), RED, BLUE, 12)
    clear = image.getpixel((0, 0))
    assert_colours(decoded(encoded(image, "PNG", transparency=clear)), [255] * 3, BLUE, 12)
    assert_colours(decoded(encoded(image, "GIF", transparency=clear)), [255] * 3, BLUE, 12)


def test_transparency_shows_white():
    image = halves("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 50, 80))
    assert_colours(decoded(encoded(image)), [255] * 3, BLUE)
    image.paste((0, 0, 0, 128), (0, 0, 50, 80))  # half of black on white
    assert_colours(decoded(encoded(image)), [127] * 3, BLUE)


def test_sixteen_bits_are_scaled_not_clipped():
    greys = np.full((80, 100), 0x4000, dtype=np.uint16)
    greys[:, 50:] = 0xC000
    assert_colours(decoded(encoded(Image.fromarray(greys))), [0x40] * 3, [0xC0] * 3, 3)
    row = b"\0" + struct.pack(">3H", 0xC000, 0x4000, 0x2000) * 50 + struct.pack(">3H", 0x2000, 0x4000, 0xC000) * 50
    assert_colours(decoded(png(100, 80, 16, 2, row * 80)), [0xC0, 0x40, 0x20], [0x20, 0x40, 0xC0])


def test_of_an_animation_the_first_frame_counts():
    frames = [halves(), halves(left=BLUE, right=RED)]
    assert_colours(decoded(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])), RED, BLUE, 12)
    assert_colours(decoded(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])), RED, BLUE, 25)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1000, 500), (256, 128)),
        ((300, 1200), (64, 256)),
        ((256, 256), (256, 256)),
        ((40, 30), (40, 30)),
        ((5000, 4), (256, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_only_large_pictures_are_scaled(size, wanted, kind):
    picture = pictures.decode(encoded(halves(size=size), kind)).picture
    assert picture is not None
    assert (picture.width, picture.height) == wanted


def test_a_large_jpeg_looks_like_the_same_large_png():
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (24, 30, 3), dtype=np.uint8)).resize(
        (1200, 900), Image.Resampling.BICUBIC
    )
    fast, slow = decoded(encoded(smooth, "JPEG", quality=95)), decoded(encoded(smooth))
    assert np.abs(fast - slow).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation):
    upright = halves(size=(120, 60))
    upright.paste((250, 250, 250), (0, 0, 120, 20))
    stored = {  # how a camera that was held so stores what is upright
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a secret of the photographer"
    data = encoded(upright.transpose(stored) if stored is not None else upright, "JPEG", quality=95, exif=exif)
    pixels = decoded(data)
    assert pixels.shape == (60, 120, 3)
    assert_colours(pixels, RED, BLUE, 25)
    assert pixels[8].min() > 200
    picture = pictures.decode(data).picture
    assert picture is not None and b"secret" not in picture.data and b"Exif" not in picture.data


@pytest.mark.parametrize(
    "notes",
    [b"", b"II*\0", b"II*\0\xff\xff\xff\xff" + b"\xff" * 40, b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 20, b"junk"],
)
def test_unreadable_notes_of_the_camera_do_no_harm(notes):
    assert_colours(decoded(encoded(halves(), "JPEG", exif=b"Exif\0\0" + notes)), RED, BLUE, 25)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_formats_stand_upright_too(kind):
    exif = Image.Exif()
    exif[0x0112] = 3
    assert_colours(decoded(encoded(halves(), kind, exif=exif)), BLUE, RED, 25)


def test_same_bytes_same_picture_and_its_id_is_its_hash():
    data = encoded(halves(size=(400, 300)), "JPEG", comment=b"first")
    one, two = pictures.decode(data).picture, pictures.decode(data).picture
    assert one == two and one is not None
    assert one.image_id == sha256(one.data).hexdigest()
    other = pictures.decode(data.replace(b"first", b"other")).picture
    assert other is not None and other.image_id == one.image_id  # a note of the original says nothing


def test_bombs_are_refused_by_their_header():
    row = zlib.compress(bytes(60_000 * 3 * 20))  # a tiny stream; decoding it would need 10.8 GB
    began = time.monotonic()
    bomb = png(60_000, 60_000, body=b"")
    assert pictures.decode(bomb.replace(zlib.compress(b""), row)).status == "too_large"
    assert pictures.decode(png(60_000, 60_000)).status == "too_large"
    assert pictures.decode(png(8_000, 5_001)).status == "too_large"
    webp = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff" + bytes(8)
    assert pictures.decode(webp).status == "too_large"
    gif = b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\0\0\0;"
    assert pictures.decode(gif).status in ("too_large", "not_an_image")
    wide_frame = (
        b"GIF89a" + struct.pack("<HH", 9, 9) + b"\0\0\0," + struct.pack("<HHHH", 0, 0, 60_000, 60_000) + b"\0\x02\0;"
    )
    assert pictures.decode(wide_frame).status == "too_large"
    bmp = encoded(halves(), "BMP")
    assert pictures.decode(bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:]).status == "too_large"
    jpeg = encoded(halves(), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    assert pictures.decode(jpeg[:at] + struct.pack(">HH", 60_000, 60_000) + jpeg[at + 4 :]).status == "too_large"
    assert time.monotonic() - began < 1
    assert pictures.decode(b"\xff\xd8\xff" + bytes(pictures.MOST_BYTES)).status == "too_large"


def test_a_jpeg_of_endless_scans_is_refused():
    jpeg = encoded(halves(), "JPEG", progressive=True)
    at = jpeg.rindex(b"\xff\xda")
    began = time.monotonic()
    assert pictures.decode(jpeg).status == "ok"
    assert pictures.decode(jpeg[:at] + jpeg[at:-2] * 5_000 + jpeg[-2:]).status == "too_large"
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<!DOCTYPE html><html><body>not found</body></html>",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(30),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"II*\0" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        encoded(halves(), "TIFF"),
        png(20, 20, 8, 3, bytes(21 * 20)),  # a palette picture without its palette
        encoded(halves(), "PPM"),
    ],
)
def test_what_is_no_picture_is_not_one(data):
    assert pictures.decode(data).status == "not_an_image"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_half_a_picture_and_damaged_ones_never_raise(kind):
    whole = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 90, 3), dtype=np.uint8)), kind)
    assert pictures.decode(whole[: len(whole) // 2]).status == "not_an_image"
    draw = random.Random(kind)
    for _ in range(150):
        bytes_ = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            bytes_[draw.randrange(min(len(bytes_), draw.choice((60, len(bytes_)))))] = draw.randrange(256)
        assert pictures.decode(bytes(bytes_)).status in IMAGE_STATUSES


def test_placeholders_are_told_from_photos():
    assert pictures.decode(encoded(Image.new("RGB", (1, 1)), "GIF")).status == "placeholder"
    assert pictures.decode(encoded(Image.new("RGB", (40, 40), RED))).status == "placeholder"
    assert pictures.decode(encoded(Image.new("RGBA", (40, 40), (1, 2, 3, 0)))).status == "placeholder"
    assert pictures.decode(encoded(halves(size=(40, 40)))).status == "ok"
    assert pictures.decode(encoded(Image.new("RGB", (300, 300), RED))).status == "ok"  # a sheet of red paper


# gathering


def wanted(**urls: list[str] | None) -> pl.DataFrame:
    return pl.DataFrame(
        {"item_id": list(urls), "image_urls": list(urls.values())},
        schema={"item_id": pl.String, "image_urls": pl.List(pl.String)},
    )


def statuses(frame: pl.DataFrame) -> dict[str, str]:
    return dict(frame.select("item_id", "image_status").iter_rows())


def fetched(shelf, work: Path, workers: int = 4, manners: Manners = HASTY, **paths: list[str] | None) -> pl.DataFrame:
    frame = wanted(**{k: [shelf.url(p) if p.startswith("/") else p for p in v] if v else v for k, v in paths.items()})
    return images.gather(
        frame, None, fetch=True, work=work, progress=Silent(), allow_private=True, workers=workers, manners=manners
    )


def test_local_files_and_those_who_have_none(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(halves()))
    (tmp_path / "html.jpg").write_bytes(b"<html>saved by mistake</html>")
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(pictures.MOST_BYTES + 1)
    local = {p.stem: p for p in tmp_path.iterdir()}
    frame = wanted(**dict.fromkeys(local), no_file=["http://example.test/x.jpg"], nothing=[], nothing_at_all=None)
    found = images.gather(frame.reverse(), local, fetch=False, work=tmp_path / "w", progress=Silent())
    assert found["item_id"].to_list() == sorted([*local, "no_file", "nothing", "nothing_at_all"])
    assert statuses(found) == {
        "a": "ok",
        "link": "ok",
        "html": "not_an_image",
        "bomb": "too_large",
        "huge": "too_large",
        "dead": "missing_file",
        "pipe": "not_an_image",
        "no_file": "missing_file",
        "nothing": "missing_url",
        "nothing_at_all": "missing_url",
    }
    ids = dict(found.select("item_id", "image_id").iter_rows())
    assert ids["a"] == ids["link"] and ids["html"] is None
    assert found.schema == dict(images.GATHERED)


def test_without_folder_and_fetching(tmp_path):
    frame = wanted(a=["http://example.test/x.jpg"], b=[" "], c=["data:image/png;base64,AAAA"])
    found = images.gather(frame, None, fetch=False, work=tmp_path, progress=Silent())
    assert statuses(found) == {"a": "not_fetched", "b": "missing_url", "c": "missing_url"}


def test_an_unreadable_local_file_stops_with_its_name(tmp_path):
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    with pytest.raises(InputError, match=r"loop\.jpg"):
        images.gather(wanted(a=[]), {"a": tmp_path / "loop.jpg"}, fetch=False, work=tmp_path / "w", progress=Silent())


def test_every_status_of_the_network(shelf, tmp_path):
    shelf.bytes("/a.jpg", encoded(halves(), "JPEG"), Content_Type="text/plain")
    shelf.bytes("/page.jpg", b"<!DOCTYPE html><html>robot?</html>", Content_Type="image/jpeg")
    shelf.bytes("/broken.jpg", encoded(halves(), "JPEG")[:400])
    shelf.bytes("/bomb.png", png(60_000, 60_000))
    shelf.bytes("/claims.jpg", b"", Content_Length=str(pictures.MOST_BYTES + 1))
    shelf.bytes("/secret.jpg", b"", 403)
    shelf.bytes("/busy.jpg", b"", 503)
    shelf.bytes("/dot.gif", encoded(Image.new("RGB", (1, 1)), "GIF"))
    shelf.bytes("/x/no-img-sm.gif", encoded(halves(), "GIF"))
    shelf.redirect("/moved.jpg", "/x/no-img-sm.gif")
    shelf.redirect("/round.jpg", "/round.jpg")
    shelf.routes["/slow.jpg"] = lambda request: shelf.closing.wait(5) and None
    paths = {name.split("/")[-1].split(".")[0].replace("-", "_"): [name] for name in shelf.routes}
    found = fetched(
        shelf,
        tmp_path,
        **paths,
        gone=["/gone.jpg"],
        second=["/gone.jpg", "/a.jpg"],
        fourth=["/gone.jpg", "/gone2.jpg", "/gone3.jpg", "/a.jpg"],
        both_bad=["/dot.gif", "/gone.jpg"],
        none=None,
        mail=["mailto:a@b"],
        odd=["http://[::1"],
    )
    assert statuses(found) == {
        "a": "ok",
        "second": "ok",
        "fourth": "http_404",
        "both_bad": "placeholder",
        "page": "not_an_image",
        "broken": "not_an_image",
        "bomb": "too_large",
        "claims": "too_large",
        "secret": "http_error",
        "busy": "http_error",
        "slow": "http_error",
        "round": "http_error",
        "odd": "http_error",
        "dot": "placeholder",
        "no_img_sm": "placeholder",
        "moved": "placeholder",
        "gone": "http_404",
        "none": "missing_url",
        "mail": "missing_url",
    }
    assert shelf.paths().count("/x/no-img-sm.gif") == 1  # by the redirect only


def test_what_is_known_is_not_asked_again_and_what_may_change_is(shelf, tmp_path):
    shelf.bytes("/a.jpg", encoded(halves(), "JPEG"))
    shelf.bytes("/busy.jpg", b"", 503)
    shelf.bytes("/page.jpg", b"<html>robot?</html>")
    paths = {"a": ["/a.jpg"], "busy": ["/busy.jpg"], "page": ["/page.jpg"], "gone": ["/gone.jpg"]}
    first = fetched(shelf, tmp_path, **paths)
    shelf.asked.clear()
    shelf.bytes("/busy.jpg", encoded(halves("L"), "JPEG"))
    shelf.bytes("/page.jpg", encoded(halves(size=(50, 50)), "JPEG"))
    second = fetched(shelf, tmp_path, **paths)
    assert sorted(shelf.paths()) == ["/busy.jpg", "/page.jpg"]
    assert statuses(first) == {"a": "ok", "busy": "http_error", "gone": "http_404", "page": "not_an_image"}
    assert statuses(second) == {"a": "ok", "busy": "ok", "gone": "http_404", "page": "ok"}


def test_many_users_of_a_server_are_one_server():
    hosts = images._Hosts(HASTY)
    assert hosts.of("http://a:b@x.org/1") is hosts.of("http://X.org/2") is not hosts.of("http://x.org:8080/2")


def test_a_shared_address_is_asked_once(shelf, tmp_path):
    shelf.bytes("/a.jpg", encoded(halves(), "JPEG"))
    found = fetched(shelf, tmp_path, **{f"i{i}": ["/a.jpg"] for i in range(30)})
    assert shelf.paths() == ["/a.jpg"]
    assert found["image_id"].n_unique() == 1 and found["image_status"].to_list() == ["ok"] * 30


def test_an_item_with_a_local_file_is_not_fetched(shelf, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"broken")
    shelf.bytes("/a.jpg", encoded(halves(), "JPEG"))
    found = images.gather(
        wanted(a=[shelf.url("/a.jpg")], b=[shelf.url("/a.jpg")]),
        {"a": tmp_path / "a.jpg"},
        fetch=True,
        work=tmp_path / "w",
        progress=Silent(),
        allow_private=True,
        manners=HASTY,
    )
    assert statuses(found) == {"a": "not_an_image", "b": "ok"}


def test_private_addresses_are_refused(shelf, tmp_path):
    shelf.bytes("/a.jpg", encoded(halves(), "JPEG"))
    frame = wanted(a=[shelf.url("/a.jpg")], b=["http://169.254.169.254/latest/meta-data"], c=["http://[::1]/x.jpg"])
    found = images.gather(frame, None, fetch=True, work=tmp_path, progress=Silent(), manners=HASTY)
    assert set(statuses(found).values()) == {"refused_address"}
    assert shelf.asked == []
    assert statuses(fetched(shelf, tmp_path, a=["/a.jpg"])) == {"a": "ok"}  # the refusal was not kept


def test_threads_and_order_change_nothing(shelf, tmp_path):
    draw = np.random.default_rng(3)
    names = {}
    for i in range(40):
        shelf.bytes(f"/{i}.png", encoded(Image.fromarray(draw.integers(0, 255, (20, 20 + i % 7, 3), dtype=np.uint8))))
        names[f"item{i}"] = [f"/{i if i % 5 else 0}.png", "/gone.png"]
    # A busy machine may answer late; what is asked here is not how soon.
    patient = replace(HASTY, connect_seconds=20, read_seconds=20, stall_seconds=20)
    one = fetched(shelf, tmp_path / "one", workers=1, manners=patient, **names)
    many = fetched(shelf, tmp_path / "many", workers=8, manners=patient, **dict(reversed(names.items())))
    assert one.equals(many)
    ids = one["image_id"].unique().to_list()
    left = pl.concat(images.frames(tmp_path / "one", ids, rows=7))
    right = pl.concat(images.frames(tmp_path / "many", ids[::-1], rows=100))
    assert left.equals(right) and left["image_id"].is_sorted() and left.height == len(ids)


def test_frames_fit_the_table_of_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(halves(size=(300, 200))))
    found = images.gather(wanted(a=[]), {"a": tmp_path / "a.png"}, fetch=False, work=tmp_path / "w", progress=Silent())
    [image_id] = found["image_id"]
    [frame] = images.frames(tmp_path / "w", [image_id, image_id])
    write(frame, tmp_path / "images.parquet", IMAGES)
    row = read(tmp_path / "images.parquet", IMAGES).row(0, named=True)
    assert (row["width"], row["height"], row["image"]["path"]) == (256, 171, None)
    assert sha256(row["image"]["bytes"]).hexdigest() == row["image_id"] == image_id


def test_no_pictures_no_frames(tmp_path):
    assert list(images.frames(tmp_path, [])) == []
    with pytest.raises(IncompleteError):
        list(images.frames(tmp_path, ["0" * 64]))


def test_damage_in_the_work_folder_is_seen(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(halves()))
    work = tmp_path / "w"
    found = images.gather(wanted(a=[]), {"a": tmp_path / "a.png"}, fetch=False, work=work, progress=Silent())
    [pack] = work.glob("*.bin")
    data = bytearray(pack.read_bytes())
    data[100] ^= 1
    pack.write_bytes(data)
    with pytest.raises(IncompleteError, match="was damaged"):
        list(images.frames(work, found["image_id"].to_list()))


def test_torn_files_of_a_kill_are_mended(shelf, tmp_path):
    draw = np.random.default_rng(5)
    names = {}
    for i in range(6):
        shelf.bytes(f"/{i}.png", encoded(Image.fromarray(draw.integers(0, 255, (20, 20, 3), dtype=np.uint8))))
        names[f"i{i}"] = [f"/{i}.png"]
    whole = fetched(shelf, tmp_path / "whole", **names)
    work = tmp_path / "work"
    fetched(shelf, work, workers=1, **names)
    [journal], [pack] = work.glob("*.jsonl"), work.glob("*.bin")
    stored, lines = pack.read_bytes(), journal.read_bytes()
    end = len(stored)
    for cut_journal, cut_pack in (
        (len(lines) - 10, end),
        (len(lines), end - 10),
        (3, end),
        (len(lines) - 10, end + 99),
    ):
        journal.write_bytes(lines[:cut_journal])
        pack.write_bytes(stored[:cut_pack].ljust(cut_pack, b"\0"))
        assert fetched(shelf, work, **names).equals(whole)
        assert fetched(shelf, work, **names).equals(whole)  # lines that did not count then may look whole now
        frame = pl.concat(images.frames(work, whole["image_id"].to_list()))
        assert frame.height == 6
    shelf.asked.clear()
    assert fetched(shelf, work, **names).equals(whole)
    assert shelf.asked == []


KILLED = """
import sys
from pathlib import Path
import polars as pl
from unimp_bench.data import images
from unimp_bench.progress import Silent

folder, work = Path(sys.argv[1]), Path(sys.argv[2])
files = {path.stem: path for path in folder.iterdir()}
schema = {"item_id": pl.String, "image_urls": pl.List(pl.String)}
frame = pl.DataFrame({"item_id": list(files), "image_urls": [[] for _ in files]}, schema=schema)
print("begins", flush=True)
images.gather(frame, files, fetch=False, work=work, progress=Silent())
"""


def test_kill_at_any_moment(tmp_path):
    folder, work = tmp_path / "in", tmp_path / "work"
    folder.mkdir()
    draw = np.random.default_rng(6)
    for i in range(50):
        noise = Image.fromarray(draw.integers(0, 255, (240, 240, 3), dtype=np.uint8))
        (folder / f"{i}.png").write_bytes(encoded(noise, compress_level=0))
    files = {path.stem: path for path in folder.iterdir()}
    frame = wanted(**dict.fromkeys(files))
    whole = images.gather(frame, files, fetch=False, work=tmp_path / "whole", progress=Silent())
    interrupted = 0
    for pause in (0.02, 0.06):
        child = subprocess.Popen([sys.executable, "-c", KILLED, folder, work], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"begins\n"
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        interrupted += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert interrupted, "every child was done before it was killed"
    assert images.gather(frame, files, fetch=False, work=work, progress=Silent()).equals(whole)
    ids = whole["image_id"].to_list()
    assert pl.concat(images.frames(work, ids)).equals(pl.concat(images.frames(tmp_path / "whole", ids)))


def test_item_ids_never_become_paths(shelf, tmp_path):
    shelf.bytes("/a.jpg", encoded(halves(), "JPEG"))
    work = tmp_path / "deep" / "work"
    fetched(shelf, work, **{"../../evil": ["/a.jpg"], "/etc/evil": ["/a.jpg"]})
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]
    assert {p.suffix for p in work.iterdir()} == {".bin", ".jsonl", ".lock"} or len(list(work.iterdir())) == 3


def test_two_gatherers_of_one_folder_do_not_meet(tmp_path):
    with ImageStore(tmp_path).writing(), pytest.raises(IncompleteError, match="another process gathers"):
        images.gather(wanted(a=[]), None, fetch=False, work=tmp_path, progress=Silent())


def test_a_full_disk_is_one_line(tmp_path):
    import resource

    rng = np.random.default_rng(0)
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(rng.integers(0, 255, (240, 240, 3), dtype=np.uint8))))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(IncompleteError, match=r"cannot write .*make room"):
            images.gather(wanted(a=[]), {"a": tmp_path / "a.png"}, fetch=False, work=tmp_path / "w", progress=Silent())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = images.gather(wanted(a=[]), {"a": tmp_path / "a.png"}, fetch=False, work=tmp_path / "w", progress=Silent())
    assert len(list(images.frames(tmp_path / "w", found["image_id"].to_list()))) == 1


def test_a_closed_network_is_one_error_not_a_dataset_without_pictures(tmp_path):
    frame = wanted(**{f"i{i}": [f"http://127.0.0.1:9/{i}.jpg"] for i in range(200)})
    with pytest.raises(NetworkError, match="no picture server can be reached"):
        images.gather(
            frame, None, fetch=True, work=tmp_path, progress=Silent(), allow_private=True, workers=4, manners=HASTY
        )


def test_a_dead_server_is_given_up_and_the_others_go_on(shelf, tmp_path):
    shelf.bytes("/a.jpg", encoded(halves(), "JPEG"))
    dead = {f"i{i}": [f"http://127.0.0.1:9/{i}.jpg"] for i in range(300)}
    said: list[str] = []

    class Talking(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    frame = wanted(**dead, z=[shelf.url("/a.jpg")])
    began = time.monotonic()
    found = images.gather(
        frame, None, fetch=True, work=tmp_path, progress=Talking(), allow_private=True, workers=4, manners=HASTY
    )
    assert time.monotonic() - began < 2
    assert statuses(found) == {**dict.fromkeys(dead, "http_error"), "z": "ok"}
    assert len(said) == 1 and "127.0.0.1:9" in said[0]


def test_a_server_that_asks_for_time_gets_it(shelf, tmp_path):
    shelf.bytes("/busy", b"", 429, Retry_After="7")
    shelf.bytes("/good", encoded(halves(), "JPEG"))
    shelf.sequence("/a.jpg", shelf.routes["/busy"], shelf.routes["/good"])
    patient = Manners(attempts=2, first_pause=0.01, longest_pause=0.4)  # so long at most
    began = time.monotonic()
    assert statuses(fetched(shelf, tmp_path, manners=patient, a=["/a.jpg"])) == {"a": "ok"}
    assert 0.35 < time.monotonic() - began < 3


@pytest.mark.real_data
def test_all_pictures_of_the_hm_sample_decode(real_data, tmp_path):
    files = {path.stem: path for path in sorted((real_data / "hm" / "images").iterdir())}
    began = time.monotonic()
    found = images.gather(wanted(**dict.fromkeys(files)), files, fetch=False, work=tmp_path, progress=Silent())
    seconds = time.monotonic() - began
    assert found["image_status"].value_counts().rows() == [("ok", 2423)]
    rows = sum(frame.height for frame in images.frames(tmp_path, found["image_id"].to_list()))
    assert rows == found["image_id"].n_unique()
    print(f"{len(files)} pictures in {seconds:.1f} s, {rows} different ones")
