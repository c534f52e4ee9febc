"""A corpus of masks as people make them: each is understood as the contract says, or refused in words."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from segapp.imaging import InvalidFile, class_mapping, decode
from segapp.imaging.decode import MaskSource
from segapp.tests.imaging.drawing import SIZE, mapping_of, photo, saved, shapes, truth

BLACK, RED, GREEN, WHITE = (0, 0, 0), (230, 20, 20), (20, 180, 60), (255, 255, 255)


def palette_mask(*, transparent: bool = False) -> io.BytesIO:
    image = Image.fromarray(truth(3))
    image.putpalette([90, 90, 90, 250, 10, 10, 10, 250, 10])
    return saved(image, transparency=0) if transparent else saved(image)


def deep(values: list[int]) -> io.BytesIO:
    return saved(Image.fromarray(np.array(values, dtype=np.uint16)[truth(len(values))]))


def clear(colors) -> io.BytesIO:
    """RGBA with a transparent background."""
    rgb = np.asarray(shapes(colors, "RGB"))
    alpha = np.where(truth(len(colors)) == 0, 0, 255).astype(np.uint8)
    return saved(Image.fromarray(np.dstack([rgb, alpha])))


def deep_soft() -> io.BytesIO:
    """16 bits, anti-aliased between 0 and 65535."""
    return saved(Image.fromarray(np.asarray(shapes([0, 255], soft=True)).astype(np.uint16) * 257))


def soft_palette() -> io.BytesIO:
    """Anti-aliased colours, saved with a palette of 200: indices that mean nothing."""
    return saved(shapes([BLACK, RED, GREEN], "RGB", soft=True).quantize(200, dither=Image.Dither.NONE))


def faded() -> io.BytesIO:
    """RGBA whose edges fade out: the shape is in the alpha channel."""
    alpha = shapes([0, 255], soft=True)
    colour = Image.new("RGB", alpha.size, RED)
    colour.paste(GREEN, (0, 0, SIZE, 40))
    colour.putalpha(alpha)
    return saved(colour)


def white_first() -> io.BytesIO:
    """A GIF of black and white whose palette has white first."""
    image = Image.fromarray(1 - truth(2))
    image.putpalette([255, 255, 255, 0, 0, 0])
    return saved(image, "GIF")


def bordered() -> io.BytesIO:
    """As in PASCAL VOC: a palette, and a thin border of 255 around each object."""
    ids = truth(3).copy()
    edge = np.zeros_like(ids, dtype=bool)
    edge[1:] |= ids[1:] != ids[:-1]
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    ids[edge] = 255
    image = Image.fromarray(ids)
    image.putpalette([value for k in range(256) for value in (k * 37 % 256, k * 91 % 256, k * 13 % 256)])
    return saved(image)


def twice_saved() -> io.BytesIO:
    """A JPEG mask that someone saved as PNG afterwards."""
    return saved(Image.open(saved(shapes([0, 255]), "JPEG", quality=60)))


def grown() -> io.BytesIO:
    """Drawn small and scaled up smoothly: edges many pixels wide."""
    small = shapes([0, 255]).resize((SIZE // 3, SIZE // 3), Image.Resampling.NEAREST)
    return saved(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


# name, file, ids that are trained, ids of (background, disc, box), whether soft edges were snapped
UNDERSTOOD = [
    ("index 0 and 1", saved(shapes([0, 1])), [0, 1], [0, 1], False),
    ("0 and 255", saved(shapes([0, 255])), [0, 1], [0, 1], False),
    ("0 and 200", saved(shapes([0, 200])), [0, 1], [0, 1], False),
    ("0 and 100 keeps its number", saved(shapes([0, 100])), [0, 100], [0, 100], False),
    ("1 bit", saved(shapes([0, 1]).point(lambda v: 255 * v).convert("1")), [0, 1], [0, 1], False),
    ("index 0, 1, 2", saved(shapes([0, 1, 2])), [0, 1, 2], [0, 1, 2], False),
    ("gaps keep their numbers", saved(shapes([0, 7, 23])), [0, 7, 23], [0, 7, 23], False),
    ("no zero", saved(shapes([3, 4, 9])), [3, 4, 9], [3, 4, 9], False),
    ("255 beside others is ignored", saved(shapes([0, 1, 255])), [0, 1], [0, 1, 255], False),
    ("palette", palette_mask(), [0, 1, 2], [0, 1, 2], False),
    ("palette with a transparent entry", palette_mask(transparent=True), [0, 1, 2], [0, 1, 2], False),
    ("16 bits, small values", deep([0, 1, 2]), [0, 1, 2], [0, 1, 2], False),
    ("16 bits, 0 and 65535", deep([0, 65535]), [0, 1], [0, 1], False),
    ("16 bits, large values are numbered on", deep([0, 300, 4000]), [0, 1, 2], [0, 1, 2], False),
    ("colours", saved(shapes([BLACK, RED, GREEN], "RGB")), [0, 1, 2], [0, 2, 1], False),
    ("colours without black", saved(shapes([WHITE, RED, GREEN], "RGB")), [0, 1, 2], [2, 1, 0], False),
    ("black and white as colours", saved(shapes([BLACK, WHITE], "RGB")), [0, 1], [0, 1], False),
    ("RGBA, opaque", saved(shapes([BLACK, RED], "RGB").convert("RGBA")), [0, 1], [0, 1], False),
    ("RGBA, transparent is ignored", clear([BLACK, RED, GREEN]), [0, 1], [255, 1, 0], False),
    ("grey with alpha", saved(shapes([0, 255]).convert("LA")), [0, 1], [0, 1], False),
    ("JPEG 0 and 255", saved(shapes([0, 255]), "JPEG", quality=80), [0, 1], [0, 1], True),
    ("JPEG three greys", saved(shapes([0, 120, 240]), "JPEG", quality=85), [0, 120, 240], [0, 120, 240], True),
    ("JPEG colours", saved(shapes([BLACK, RED, GREEN], "RGB"), "JPEG", quality=85), [0, 1, 2], [0, 2, 1], True),
    ("anti-aliased 0 and 255", saved(shapes([0, 255], soft=True)), [0, 1], [0, 1], True),
    ("anti-aliased three greys", saved(shapes([0, 80, 200], soft=True)), [0, 80, 200], [0, 80, 200], True),
    ("anti-aliased colours", saved(shapes([BLACK, RED, GREEN], "RGB", soft=True)), [0, 1, 2], [0, 2, 1], True),
    ("4 bits grey", saved(shapes([0, 17, 255]).quantize(3).convert("L"), bits=4), [0, 17], [0, 17, 255], False),
    ("palette of greys", saved(shapes([0, 255]).convert("P")), [0, 1], [0, 1], False),
    ("palette, only 0 and 255", saved(shapes([0, 255]).quantize(2).convert("L").convert("P")), [0, 1], [0, 1], False),
    ("grey levels as colours", saved(shapes([0, 5, 9]).convert("RGB")), [0, 1, 2], [0, 1, 2], False),
    ("RGBA with faded edges", faded(), [0, 1], None, False),
    ("JPEG of poor quality", saved(shapes([0, 255]), "JPEG", quality=30), [0, 1], [0, 1], True),
    ("JPEG of best quality", saved(shapes([0, 255]), "JPEG", quality=98), [0, 1], [0, 1], True),
    ("JPEG in grey as RGB", saved(shapes([0, 255]).convert("RGB"), "JPEG"), [0, 1], [0, 1], True),
    ("JPEG saved as PNG", twice_saved(), [0, 1], [0, 1], True),
    ("lossy WebP", saved(shapes([BLACK, RED, GREEN], "RGB"), "WEBP", quality=70), [0, 1, 2], [0, 2, 1], True),
    ("16 bits, anti-aliased", deep_soft(), [0, 1], [0, 1], True),
    ("palette of blended colours", soft_palette(), [0, 1, 2], [0, 2, 1], True),
    ("scaled up smoothly", grown(), [0, 1], [0, 1], True),
    ("lossless WebP", saved(shapes([BLACK, RED], "RGB"), "WEBP", lossless=True), [0, 1], [0, 1], False),
    ("GIF of greys, which has a palette", saved(shapes([0, 7, 200]), "GIF"), [0, 7, 200], [0, 7, 200], False),
    ("GIF whose palette begins with white", white_first(), [0, 1], [0, 1], False),
    ("GIF of colours", saved(Image.open(palette_mask()), "GIF"), [0, 1, 2], [0, 1, 2], False),
    ("all background", saved(Image.new("L", (SIZE, SIZE))), [0], [0], False),
]


@pytest.mark.fault(11, 12)
@pytest.mark.parametrize(
    ("file", "trained", "ids", "snapped"), [r[1:] for r in UNDERSTOOD], ids=[r[0] for r in UNDERSTOOD]
)
def test_a_mask_is_understood(file, trained, ids, snapped):
    file.seek(0)
    source = decode.mask(file, "mask")
    reading = mapping_of([source])
    assert [row["id"] for row in reading.trained] == trained
    assert reading.snapped is snapped
    found = class_mapping.apply(source, reading)
    if ids is None:
        assert set(np.unique(found)) == {*trained, 255}
        return
    meant = np.array(ids, dtype=np.uint8)[truth(len(ids)) if len(ids) > 1 else np.zeros((SIZE, SIZE), int)]
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == set(np.unique(meant)), "no phantom classes"
    assert (found == meant).mean() > (0.97 if snapped else 0.9999)


REFUSED = [
    ("a photo as PNG", saved(photo())),
    ("a photo as JPEG", saved(photo(), "JPEG")),
    ("a grey photo", saved(photo(mode="L"))),
    ("a grey photo as JPEG", saved(photo(mode="L"), "JPEG")),
    (
        "more than 64 values",
        saved(Image.fromarray(np.repeat(np.arange(80, dtype=np.uint8), 4).reshape(1, -1).repeat(320, 0))),
    ),
    ("noise", saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8)))),
]


@pytest.mark.fault(18)
@pytest.mark.parametrize("file", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_photo_is_no_mask(file):
    file.seek(0)
    with pytest.raises(InvalidFile, match=r"sky\.png: It holds .* values: this looks like a photo"):
        mapping_of([decode.mask(file, "sky.png")], ["sky.png"])


def test_sixty_four_classes_are_fine_and_sixty_five_are_not():
    stripes = np.repeat(np.arange(65, dtype=np.uint8), 4).reshape(1, -1).repeat(20, 0)
    assert len(mapping_of([MaskSource("index", stripes[:, :256])]).trained) == 64
    with pytest.raises(InvalidFile, match="65 different values"):
        mapping_of([MaskSource("index", stripes)])
    halves = [MaskSource("index", stripes[:, :130]), MaskSource("index", stripes[:, 130:])]
    with pytest.raises(InvalidFile, match="65 classes"):
        mapping_of(halves)


def test_the_ignored_255_is_no_sixty_fifth_class():
    stripes = np.repeat(np.array([*range(64), 255], dtype=np.uint8), 4).reshape(1, -1).repeat(20, 0)
    assert len(mapping_of([MaskSource("index", stripes)]).trained) == 64


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_class_numbers_saved_as_jpeg_are_refused(quality):
    source = decode.mask(saved(shapes([0, 1, 2]), "JPEG", quality=quality), "m.jpg")
    with pytest.raises(InvalidFile, match="saved with loss"):
        mapping_of([source])


def test_a_colour_mask_of_16_bits_a_channel_is_refused():
    """Pillow keeps the upper half of each channel, so (1, 0, 0) and (2, 0, 0) would become one class."""
    with pytest.raises(InvalidFile, match="16 bits a channel"):
        decode.mask(io.BytesIO(rgb16(shapes([0, 1]))), "m.png")


def rgb16(image: Image.Image) -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write."""
    values = np.asarray(image).astype(">u2")[..., None].repeat(3, 2)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">2I5B", image.width, image.height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_an_edge_from_black_to_white_is_no_thin_line_of_grey():
    """128 is a class of its own elsewhere in the mask; the blend of 0 and 255 passes it by."""
    scale = 4
    big = Image.new("L", (SIZE * scale, SIZE * scale))
    pen = ImageDraw.Draw(big)
    pen.ellipse([40, 120, 240, 340], fill=255)
    pen.rectangle([260, 20, 370, 120], fill=128)
    source = decode.mask(saved(big.resize((SIZE, SIZE), Image.Resampling.LANCZOS)), "m")
    reading = class_mapping.edit(mapping_of([source]), [{"id": 255, "ignore": False}])
    ids = class_mapping.apply(source, reading)
    assert (ids[7:29, 67:91] == 128).all()
    ids[3:33, 63:95] = 0
    assert (ids == 128).sum() == 0


def test_what_compression_moved_apart_is_one_class():
    """The same grey comes out of two JPEGs as 118 and as 121; a PNG among them says that it is 120."""
    ids = [MaskSource("index", np.where(truth() == 1, value, 0).astype(np.uint8)) for value in (117, 122)]
    soft = [decode.mask(saved(Image.fromarray(s.values), "JPEG", quality=60), "m") for s in ids]
    exact = MaskSource("index", np.where(truth() == 1, 120, 0).astype(np.uint8))
    reading = mapping_of([soft[0], exact, soft[1]])
    assert [row["id"] for row in reading.trained] == [0, 120]
    assert [row["images"] for row in reading.classes] == [3, 3]
    assert all(set(np.unique(class_mapping.apply(s, reading))) == {0, 120} for s in (*soft, exact))


def test_one_jpeg_does_not_blur_the_numbers_of_the_other_masks():
    exact = MaskSource("index", truth(3))
    noisy = decode.mask(saved(shapes([0, 90]), "JPEG", quality=60), "m")
    assert [row["id"] for row in mapping_of([exact, noisy]).trained][:3] == [0, 1, 2]


def test_empty_grey_masks_go_with_coloured_ones():
    coloured = decode.mask(saved(shapes([BLACK, RED], "RGB")), "red.png")
    empty = decode.mask(saved(Image.new("L", (SIZE, SIZE))), "empty.png")
    reading = mapping_of([coloured, empty])
    assert [row["source"] for row in reading.classes] == ["#000000", "#e61414"]
    assert set(np.unique(class_mapping.apply(empty, reading))) == {0}


def test_class_numbers_among_colours_are_refused_by_name():
    coloured = decode.mask(saved(shapes([BLACK, RED], "RGB")), "red.png")
    with pytest.raises(InvalidFile, match=r"numbers\.png: .*red\.png holds colours"):
        mapping_of([coloured, MaskSource("index", truth(3))], ["red.png", "numbers.png"])


def test_palettes_that_disagree_are_warned_about():
    first, second = Image.fromarray(truth()), Image.fromarray(truth())
    first.putpalette([0, 0, 0, 250, 10, 10])
    second.putpalette([0, 0, 0, 10, 10, 250])
    reading = mapping_of([decode.mask(saved(image), "m") for image in (first, second)], ["a.png", "b.png"])
    assert any("#fa0a0a in a.png and #0a0afa in b.png" in warning for warning in reading.warnings)
    assert [row["id"] for row in reading.trained] == [0, 1], "the indices are read all the same"


@pytest.mark.fault(12)
def test_transparent_becomes_a_class_when_the_visitor_says_so():
    source = decode.mask(clear([BLACK, RED, GREEN]), "m")
    reading = mapping_of([source])
    assert [(row["id"], row["source"]) for row in reading.classes if row["ignore"]] == [(255, "transparent")]
    changed = class_mapping.edit_by_source(reading, {"transparent": {"ignore": False, "name": "outside"}})
    assert [row["name"] for row in changed.trained] == ["class 0", "class 1", "outside"]
    assert np.array_equal(class_mapping.apply(source, changed), np.array([2, 1, 0], dtype=np.uint8)[truth(3)])


def test_the_table_counts_pixels_and_images():
    rows = mapping_of([MaskSource("index", truth(3)), MaskSource("index", truth(2))]).classes
    shares = [100 * ((truth(3) == k).sum() + (truth(2) == k).sum()) / (2 * SIZE * SIZE) for k in range(3)]
    assert [row["share"] for row in rows] == pytest.approx(shares, abs=0.01)
    assert [row["images"] for row in rows] == [2, 2, 1]
    assert len({row["color"] for row in rows}) == 3


def test_a_value_that_the_reading_does_not_know_is_ignored():
    reading = mapping_of([MaskSource("index", truth(2))])
    assert set(np.unique(class_mapping.apply(MaskSource("index", truth(3)), reading))) == {0, 1, 255}


def test_zero_one_and_zero_255_give_the_same_classes():
    first, second = (mapping_of([decode.mask(saved(shapes([0, top])), "m")]) for top in (1, 255))
    assert [(row["id"], row["name"], row["color"]) for row in first.classes] == [
        (row["id"], row["name"], row["color"]) for row in second.classes
    ]


def test_the_rule_is_decided_over_the_whole_set():
    """255 alone with 0 would be a class; one other mask with a 1 makes it "ignore" everywhere."""
    binary, labelled = (decode.mask(saved(shapes(colors)), "m") for colors in ([0, 255], [0, 1]))
    reading = mapping_of([binary, labelled])
    assert [row["id"] for row in reading.trained] == [0, 1]
    assert 255 in class_mapping.apply(binary, reading)
    assert any("255" in rule for rule in reading.rules)


def test_a_class_number_that_no_png_can_hold_is_refused():
    """1000 would be number 256: 255 is taken, and masks come out with 8 bits."""
    with pytest.raises(InvalidFile, match="256"):
        mapping_of([MaskSource("index", np.array([[0, 253, 254, 1000]], dtype=np.uint16))])
    reading = mapping_of([MaskSource("index", np.array([[0, 252, 255, 900, 1000]], dtype=np.uint16))])
    assert [row["id"] for row in reading.trained] == [0, 252, 253, 254]


def test_255_becomes_a_class_when_the_visitor_says_so():
    source = decode.mask(saved(shapes([0, 1, 255])), "m")
    reading = class_mapping.edit(mapping_of([source]), [{"id": 255, "ignore": False, "name": "box"}])
    assert [(row["id"], row["name"]) for row in reading.trained][-1] == (2, "box")
    assert set(np.unique(class_mapping.apply(source, reading))) == {0, 1, 2}


def test_an_ignored_class_teaches_nothing():
    source = decode.mask(saved(shapes([0, 1, 2])), "m")
    reading = class_mapping.edit(mapping_of([source]), [{"id": 2, "ignore": True}])
    assert [row["id"] for row in reading.trained] == [0, 1]
    assert set(np.unique(class_mapping.apply(source, reading))) == {0, 1, 255}


def test_edits_that_do_not_fit_are_refused():
    reading = mapping_of([decode.mask(saved(shapes([0, 1])), "m")])
    for wrong in ([{"id": 9}], [{"id": 1, "color": "red"}], [{"id": 0, "ignore": True}, {"id": 1, "ignore": True}]):
        with pytest.raises(InvalidFile):
            class_mapping.edit(reading, wrong)


def test_a_reading_survives_the_database():
    source = decode.mask(saved(shapes([BLACK, RED, GREEN], "RGB", soft=True)), "m")
    reading = mapping_of([source])
    again = class_mapping.ClassMapping.from_dict(reading.to_dict())
    assert np.array_equal(class_mapping.apply(source, again), class_mapping.apply(source, reading))


def test_thin_true_classes_are_not_taken_for_blur():
    """One-pixel lines fill no place, as blur does; a clean index mask keeps them."""
    ids = np.zeros((SIZE, SIZE), dtype=np.uint8)
    ids[40:60] = 200
    for k, value in enumerate((1, 2, 3, 4)):
        ids[:, 10 + 20 * k] = value
    reading = mapping_of([MaskSource("index", ids)])
    assert [row["id"] for row in reading.trained] == [0, 1, 2, 3, 4, 200]


def test_warnings_name_what_is_rare_empty_or_alone():
    empty = decode.mask(saved(Image.new("L", (SIZE, SIZE))), "m")
    dot = np.zeros((SIZE, SIZE), dtype=np.uint8)
    dot[0, 0] = 1
    words = " ".join(mapping_of([empty, MaskSource("index", dot)]).warnings)
    assert "one image only" in words and "background only" in words and "%" in words
    assert "nothing to tell apart" in " ".join(mapping_of([empty]).warnings)
