"Pictures: one reader for all, which touches nothing global."

import threading

import numpy as np
import pytest
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
