"""TIFF in the forms that microscopes, cameras, scanners and map makers write."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from segapp.imaging import InvalidFile, decode, header_size
from segapp.imaging.image_input import Layout, parse
from segapp.tests.imaging.drawing import saved
from segapp.tests.readers.making import colour, deep_png, grey, six_encodings, tiff


def shown(file, name="a.tif", **choice) -> np.ndarray:
    return np.asarray(decode.image(file, name, parse(**choice)), dtype=int)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "lzw"},
        {"compression": "zlib", "predictor": True},
        {"compression": "deflate"},
        {"compression": "zstd"},
        {"compression": "packbits"},
        {"compression": "lzma"},
        {"tile": (32, 48)},
        {"tile": (32, 48), "compression": "zstd"},
        {"rowsperstrip": 7},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "lzw", "tile": (32, 32)},
        {"bigtiff": True},
        {"bigtiff": True, "byteorder": ">"},
        {"ome": True},
    ],
    ids=str,
)
def test_eight_bits_of_colour_come_out_unchanged(options):
    values = colour()
    if options.get("planarconfig"):
        file = tiff(np.moveaxis(values, -1, 0), photometric="rgb", **options)
    else:
        file = tiff(values, photometric="rgb", **options)
    assert np.array_equal(shown(file), values)


def test_jpeg_inside_a_tiff_is_read():
    values = colour()
    for options in ({}, {"tile": (32, 32)}):
        file = tiff(values, photometric="rgb", compression="jpeg", compressionargs={"level": 95}, **options)
        assert np.abs(shown(file) - values).mean() < 4


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.uint32, np.float32, np.float64, np.float16, np.int32])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_every_depth_is_brought_to_the_display_range(kind, compression):
    values = grey()
    found = shown(tiff((values.astype(kind) * kind(3) + kind(20)), compression=compression))[..., 0]
    low, high = np.percentile(values, (0.1, 99.9))
    expected = np.clip((values - low) / (high - low) * 255, 0, 255)
    assert np.abs(found - expected).max() <= 1.5


def test_floats_without_a_number_are_black():
    values = grey().astype(np.float32) / 255
    values[3, 4], values[5, 6] = np.nan, np.inf
    found = shown(tiff(values))[..., 0]
    assert found[3, 4] == 0 and found[5, 6] == 255 and found.std() > 30


def test_packed_and_narrow_depths_are_read():
    values = grey()
    twelve = shown(tiff(values.astype(np.uint16) * 16, compression="none", bitspersample=12))[..., 0]
    assert np.abs(twelve - values).mean() < 3
    bits = values > 127
    found = shown(tiff(bits, photometric="minisblack"))[..., 0]
    assert np.array_equal(found > 127, bits) and set(np.unique(found)) == {0, 255}
    assert np.array_equal(shown(saved(Image.fromarray(values).convert("1"), "TIFF"))[..., 0] > 0, fax(values))


def fax(values: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(values).convert("1"))


def test_white_is_zero_is_turned_round():
    values = grey()
    assert np.array_equal(shown(tiff(values, photometric="miniswhite"))[..., 0], 255 - values)
    fax4 = saved(Image.fromarray(values).convert("1"), "TIFF", compression="group4")
    assert np.array_equal(shown(fax4)[..., 0] > 0, fax(values))


def test_palettes_cmyk_and_lab_have_their_colours():
    image = Image.fromarray(colour())
    palette = image.quantize(32)
    assert np.array_equal(shown(saved(palette, "TIFF")), np.asarray(palette.convert("RGB")))
    cmyk = image.convert("CMYK")
    assert np.abs(shown(saved(cmyk, "TIFF", compression="tiff_lzw")) - np.asarray(cmyk.convert("RGB"))).max() <= 1
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    as_lab = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    assert np.abs(shown(saved(as_lab, "TIFF")) - colour()).mean() < 3


def test_transparency_lies_on_white():
    values = np.dstack([colour(), np.zeros((96, 128), np.uint8)])
    values[:48, :, 3] = 255
    found = shown(tiff(values, photometric="rgb", extrasamples=["unassalpha"]))
    assert np.array_equal(found[:48], colour()[:48]) and (found[48:] == 255).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_orientation_tag_turns_the_image_upright(turn):
    values = colour()
    found, by = decode.image_and_turn(tiff(values, photometric="rgb", extratags=[(274, "H", 1, turn, True)]), "t.tif")
    assert by == turn
    assert np.array_equal(np.asarray(found), np.asarray(decode.upright(Image.fromarray(values), turn)))


@pytest.mark.parametrize(
    "kind", ["imagej", "ome", *(pytest.param(name, marks=pytest.mark.slow) for name in ("plain", "compressed"))]
)
def test_a_stack_gives_the_page_or_the_projection_that_was_chosen(kind):
    pages = np.stack([np.roll(grey(), 11 * k, axis=1) // (k + 1) for k in range(4)])
    axes = {"metadata": {"axes": "ZYX"}}
    options = {"plain": {"photometric": "minisblack"}, "imagej": {"imagej": True, **axes}, "ome": {"ome": True, **axes}}
    file = tiff(pages, **options.get(kind, {"photometric": "minisblack", "compression": "zlib"}))
    usual = decode.read(file, "s.tif")
    assert usual.layout == Layout(4, 1)
    assert usual.notes == ("s.tif has 4 pages: the first is used, as no page was chosen.",)
    assert np.array_equal(np.asarray(usual.image)[..., 0], pages[0])
    assert np.array_equal(shown(file, page="3")[..., 1], pages[2])
    assert np.array_equal(shown(file, page="max")[..., 2], pages.max(axis=0))
    assert np.abs(shown(file, page="mean")[..., 0] - pages.mean(axis=0)).max() <= 0.51
    with pytest.raises(InvalidFile, match=r"4 pages of 1 channel.*page 5"):
        shown(file, page="5")


@pytest.mark.parametrize("kind", ["imagej", "ome", "ome planes"])
def test_a_hyperstack_has_pages_and_channels(kind):
    """Time, depth and channel: TZCYX."""
    values = np.stack([np.roll(grey(), 5 * k, axis=0) for k in range(12)]).reshape(3, 2, 2, 96, 128)
    options = {"imagej": {"imagej": True, "metadata": {"axes": "TZCYX"}}, "ome": {"metadata": {"axes": "TZCYX"}}}
    file = tiff(
        values, **options.get(kind, {"metadata": {"axes": "TZCYX"}, "compression": "lzw"}), ome=kind != "imagej"
    )
    assert decode.read(file, "h.ome.tif").layout == Layout(6, 2)
    found = shown(file, page="4", channels="2")
    assert np.array_equal(found[..., 0], values[1, 1, 1]) and np.array_equal(found[..., 2], values[1, 1, 1])
    both = shown(file, page="1")
    assert np.array_equal(both[..., 0], values[0, 0, 0]) and np.array_equal(both[..., 1], values[0, 0, 1])
    assert not both[..., 2].any()


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_of_many_channels_those_chosen_become_red_green_and_blue(planar):
    planes = np.stack([np.roll(grey(), 9 * k, axis=1) for k in range(5)])
    values = planes if planar == "separate" else np.moveaxis(planes, 0, -1)
    file = tiff(np.ascontiguousarray(values), photometric="minisblack", planarconfig=planar)
    usual = decode.read(file, "multi.tif")
    assert usual.layout == Layout(1, 5)
    assert usual.notes == ("multi.tif has 5 channels: the first three are used, as none were chosen.",)
    assert np.array_equal(np.asarray(usual.image), np.moveaxis(planes[:3], 0, -1))
    assert np.array_equal(shown(file, channels="5,3,1"), np.moveaxis(planes[[4, 2, 0]], 0, -1))
    with pytest.raises(InvalidFile, match=r"It has 5 channels.*channels 6, 2, 1"):
        shown(file, channels="6,2,1")


def test_four_channels_without_transparency_are_four_channels():
    values = np.dstack([colour(), grey()])
    file = tiff(values, photometric="rgb", extrasamples=["unspecified"])
    assert decode.read(file, "rgbn.tif").layout == Layout(1, 4)
    assert np.array_equal(shown(file, channels="4")[..., 0], grey())


def test_one_image_stored_in_six_ways_looks_the_same():
    found = {name: shown(file, name) for name, file in six_encodings(grey(256, 320)).items()}
    first = found["full.tif"]
    for name, values in found.items():
        assert np.abs(values - first).mean() < 2.5, name
    means = [values.mean() for values in found.values()]
    assert max(means) - min(means) < 4


def test_a_flat_image_stays_flat_and_a_hot_pixel_changes_nothing():
    flat = np.full((64, 64), 1000, np.uint16)
    assert np.ptp(shown(tiff(flat))) == 0
    noisy = flat + np.random.default_rng(1).integers(0, 2, flat.shape).astype(np.uint16)
    assert np.ptp(shown(tiff(noisy))) <= 64
    values = grey(256, 256).astype(np.uint16) * 4
    cold = shown(tiff(values))
    values[10, 10] = 65535
    hot = shown(tiff(values))
    assert np.abs(cold - hot).mean() < 0.5


def test_deep_colour_pngs_are_not_cut_to_their_upper_half():
    values = (colour().astype(np.uint16) << 4) | 7  # 12 bits, as cameras have
    found = shown(deep_png(values), "deep.png")
    assert found.mean() > 60
    assert np.abs(found - shown(tiff(values, photometric="rgb"))).max() == 0
    clear = np.dstack([values, np.zeros(values.shape[:2], np.uint16)])
    assert (shown(deep_png(clear), "clear.png") == 255).all()


def test_an_embedded_profile_converts_colours():
    swapped = wide_gamut()
    values = colour()
    for file, name in (
        (tiff(values, photometric="rgb", iccprofile=swapped), "a.tif"),
        (saved(Image.fromarray(values), "PNG", icc_profile=swapped), "a.png"),
    ):
        expected = ImageCms.profileToProfile(
            Image.fromarray(values), ImageCms.ImageCmsProfile(io.BytesIO(swapped)), ImageCms.createProfile("sRGB")
        )
        found = decode.read(file, name)
        assert np.abs(np.asarray(found.image, dtype=int) - np.asarray(expected)).max() <= 1, name
        assert np.abs(np.asarray(found.image, dtype=int) - values).mean() > 2, "the profile is no other name of sRGB"
        assert not found.as_stored
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = decode.read(saved(Image.fromarray(values), "PNG", icc_profile=same), "a.png")
    assert plain.as_stored and np.array_equal(np.asarray(plain.image), values)


def wide_gamut() -> bytes:
    """An RGB profile like Adobe RGB: sRGB's own with the green primary further out."""
    import struct

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    for k in range(count):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * k)
        if tag == b"gXYZ":
            struct.pack_into(">iii", profile, offset + 8, int(0.205 * 65536), int(0.626 * 65536), int(0.061 * 65536))
        if tag == b"rXYZ":
            struct.pack_into(">iii", profile, offset + 8, int(0.610 * 65536), int(0.311 * 65536), int(0.0195 * 65536))
    return bytes(profile)


# --- masks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_a_tiff_mask_keeps_its_values(kind):
    ids = (grey() // 64 * 50).astype(kind)
    found = decode.mask(tiff(ids, compression="zlib"), "m.tif")
    assert found.kind == "index" and not found.lossy and np.array_equal(found.values, ids)


def test_tiff_masks_of_one_bit_palettes_and_colours_are_read_as_their_pngs_are():
    ids = (grey() // 64).astype(np.uint8)
    for mode in ("1", "P", "RGB"):
        image = (
            Image.fromarray(ids * 80).convert("RGB").quantize(4)
            if mode == "P"
            else Image.fromarray(ids * 80).convert(mode)
        )
        as_png, as_tiff = decode.mask(saved(image), "m.png"), decode.mask(saved(image, "TIFF"), "m.tif")
        assert as_png.kind == as_tiff.kind and np.array_equal(as_png.values, as_tiff.values), mode
        assert (as_png.palette or ())[:4] == (as_tiff.palette or ())[:4]


def test_bools_that_tifffile_wrote_mean_their_values():
    marked = grey() > 200
    assert np.array_equal(decode.mask(tiff(marked), "a.tif").values > 0, marked)
    upside_down = saved(Image.fromarray(marked), "TIFF", compression="group4")
    assert np.array_equal(decode.mask(upside_down, "a.tif").values > 0, marked)


def test_a_tiff_mask_with_half_numbers_or_many_pages_is_refused():
    with pytest.raises(InvalidFile, match="whole numbers"):
        decode.mask(tiff(grey() / np.float32(7)), "m.tif")
    with pytest.raises(InvalidFile, match="3 pages"):
        decode.mask(tiff(np.stack([grey()] * 3), photometric="minisblack"), "m.tif")


# --- files that are not whole -----------------------------------------------------------------------------


def test_a_tiff_without_an_image_or_with_a_broken_one_is_refused():
    whole = tiff(colour(), photometric="rgb", compression="zlib").getvalue()
    for part in (whole[:8], whole[: len(whole) // 2], whole[:4] + b"\xff" * 60):
        with pytest.raises(InvalidFile):
            decode.image(io.BytesIO(part), "broken.tif")


def test_too_many_pixels_are_refused_before_they_are_read():
    with pytest.raises(InvalidFile, match="169 megapixels"):
        decode.image(saved(Image.new("1", (13_000, 13_000)), "TIFF", compression="group4"), "huge.tif")


def test_a_thumbnail_before_the_image_is_passed_over():
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as written:
        written.write(colour()[::8, ::8], photometric="rgb", subfiletype=1, metadata=None)
        written.write(colour(), photometric="rgb", metadata=None)
    out.seek(0)
    assert header_size.of("tiff", out) == (128, 96)
    found = decode.read(out, "a.tif")
    assert np.array_equal(np.asarray(found.image), colour()) and "number 2 is used" in found.notes[0]


def test_a_file_that_refers_to_others_opens_only_itself(tmp_path):
    other = tmp_path / "secret.ome.tif"
    tifffile.imwrite(other, np.full((96, 128), 77, np.uint8), ome=True)
    one = tmp_path / "first.ome.tif"
    tifffile.imwrite(one, np.stack([grey(), grey()]), ome=True, metadata={"axes": "TYX"})
    content = one.read_bytes()
    with open(one, "rb") as file:
        assert decode.read(file, "first.ome.tif").layout.pages == 2
    assert b"secret" not in content
