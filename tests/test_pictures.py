"Pictures: one reader for all, which touches nothing global."

import threading

import numpy as np
import pytest
from fake_archives import picture
from PIL import Image

from salnas import pictures, predict


def test_two_threads_leave_the_limit_of_pil_alone():
    "The first reader is done while the second is still reading, as happens to threads."
    before, second_reads, first_done = Image.MAX_IMAGE_PIXELS, threading.Event(), threading.Event()

    def picture_that_waits(set_first, wait_for):
        im = Image.new('RGB', (8, 6))

        def load():
            set_first.set()
            assert wait_for.wait(10)
            return Image.Image.load(im)

        im.load = load
        return im

    started = threading.Event()
    first = threading.Thread(target=predict.read_photo, args=[picture_that_waits(started, second_reads)])
    second = threading.Thread(target=predict.read_photo, args=[picture_that_waits(second_reads, first_done)])
    first.start()
    assert started.wait(10)
    second.start()
    first.join()
    first_done.set()
    second.join()
    try:
        assert Image.MAX_IMAGE_PIXELS == before
    finally:
        Image.MAX_IMAGE_PIXELS = before


def test_the_limit_of_pil_is_not_ours(tmp_path, monkeypatch):
    "A picture that `Image.open` refuses is reduced, or refused, by our own limit."
    Image.fromarray(np.tile(np.uint8([[0, 255]]), (200, 100))).save(tmp_path / 'large.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    monkeypatch.setattr(pictures, 'LARGEST', 10_000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / 'large.png')
    with pytest.warns(UserWarning, match='200x200 pixels and is reduced to 100x100'):
        small = pictures.read_picture(tmp_path / 'large.png')
    assert small.shape == (100, 100, 3) and set(small.ravel().tolist()) <= {127, 128}
    with pytest.raises(ValueError, match='large.png.*200x200 pixels are too many'):
        pictures.read_picture(tmp_path / 'large.png', reduce=False)
    monkeypatch.setattr(pictures, 'LARGEST', 1000)
    with pytest.raises(ValueError, match='too many'):
        pictures.read_picture(tmp_path / 'large.png')
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch):
    "Pillow's AVIF decoder raises a RuntimeError for a damaged file."

    def damaged(*args):
        raise RuntimeError('Failed to decode frame 0: Decoding of AV1 failed')

    Image.new('RGB', (8, 6)).save(tmp_path / 'a.png')
    monkeypatch.setattr(pictures, '_decoded', damaged)
    with pytest.raises(ValueError, match='cannot read .*a.png as a picture: Failed to decode frame 0'):
        pictures.read_picture(tmp_path / 'a.png')


# --- a zoo ---

RGB = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
ZOO = {
    'RGB.png': (Image.fromarray(RGB), RGB),
    'L.png': (Image.fromarray(RGB[..., 0]), RGB[..., [0, 0, 0]]),
    'one-bit.png': (Image.fromarray(RGB[..., 0] > 127), np.repeat((RGB[..., :1] > 127) * np.uint8(255), 3, 2)),
    '16-bit.png': (Image.fromarray(RGB[..., 0].astype(np.uint16) * 257), RGB[..., [0, 0, 0]]),
    '16-bit.tif': (Image.fromarray(RGB[..., 0].astype(np.uint16) * 257), RGB[..., [0, 0, 0]]),
    'RGBA-opaque.png': (Image.fromarray(np.dstack([RGB, np.full((12, 17), 255, np.uint8)])), RGB),
    'RGBA-clear.png': (Image.fromarray(np.dstack([RGB, np.zeros((12, 17), np.uint8)])), np.full_like(RGB, 255)),
    'LA.png': (Image.merge('LA', [Image.fromarray(RGB[..., 0]), Image.new('L', (17, 12), 0)]), np.full_like(RGB, 255)),
    'CMYK.tif': (Image.fromarray(RGB).convert('CMYK'), RGB),
    'one-pixel.png': (Image.new('RGB', (1, 1), (1, 2, 3)), np.array([[[1, 2, 3]]], np.uint8)),
    'thin.png': (Image.new('RGB', (700, 1), (1, 2, 3)), np.tile(np.array([1, 2, 3], np.uint8), (1, 700, 1))),
}


@pytest.mark.parametrize('name', ZOO)
def test_picture_zoo(tmp_path, name):
    image, expected = ZOO[name]
    image.save(tmp_path / name)
    got = pictures.read_picture(tmp_path / name)
    assert got.dtype == np.uint8 and got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= (2 if 'CMYK' in name else 0)


def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.new('P', (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / 'p.png', transparency=0)
    got = pictures.read_picture(tmp_path / 'p.png')
    assert got[0, 0].tolist() == [255, 255, 255] and got[1, 1].tolist() == [200, 10, 10]


@pytest.mark.parametrize(
    'orientation, turn',
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (6, lambda a: np.rot90(a, -1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / 'a.png', exif=exif)
    assert (pictures.read_picture(tmp_path / 'a.png') == turn(RGB)).all()


@pytest.mark.parametrize('content', [b'', b'<html>', picture(0)[:700], b'\x89PNG\r\n\x1a\n' + b'\0' * 50])
def test_undecodable_picture_is_named(tmp_path, content):
    (tmp_path / 'bad.jpg').write_bytes(content)
    with pytest.raises(ValueError, match='bad.jpg') as e:
        pictures.read_picture(tmp_path / 'bad.jpg')
    assert '\n' not in str(e.value)


def test_missing_picture_is_not_a_broken_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        pictures.read_picture(tmp_path / 'none.jpg')


def test_float_pictures_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / 'f.tif')
    with pytest.raises(ValueError, match='f.tif.*agreed range'):
        pictures.read_picture(tmp_path / 'f.tif')
