"""Data: odd pictures, caches, own data, and the promises that every prepared data set keeps. Official archives are in test_sources.py."""

import os
from pathlib import Path

import fake_archives as fake
import numpy as np
import pandas as pd
import pytest
import torch
from fake_archives import picture
from PIL import Image
from torch.utils.data import DataLoader

from salnas import data, sources

FACTS = dict(pixels_per_degree=24, authors=dict(n_train=3, sigma_px=16))


def test_interrupt_leaves_nothing(tmp_path):
    def pictures():
        yield '0.jpg', picture(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.write_recording(tmp_path / 'root' / 'x', FACTS, pictures(), {})
    assert list(tmp_path.iterdir()) == []


def test_prepared_set_is_not_overwritten_unasked(folder, tmp_path):
    (folder / 'mine.txt').write_text('keep')
    again = dict(image_id=[0], subject=[0], order=[0], x=[1], y=[1])
    pictures = [(f'{i}.jpg', picture(i)) for i in range(4)]
    with pytest.raises(FileExistsError, match='--overwrite'):
        data.write_recording(folder, FACTS, pictures, again)
    assert (folder / 'mine.txt').exists() and len(data.read_recording(folder).x) > 1
    data.write_recording(folder, FACTS, pictures, again, overwrite=True)
    assert (
        not (folder / 'mine.txt').exists()
        and [f.name for f in folder.parent.iterdir()] == ['osie']
        and len(data.read_recording(folder).x) == 1
    )


@pytest.mark.parametrize(
    'name, counts',
    [
        ('osie', (700, 15, 98_321)),
        ('crowd', (500, 16, 126_348)),
        ('scene', (500, 12, 43_894)),
        ('fiwi51', (51, 11, 10_060)),
        ('salicon51', (51, 65, 360_012)),
    ],
)
def test_the_real_archives(tmp_path, name, counts):
    "SALNAS_ARCHIVES names a folder with a folder or zip file per set."
    given = os.environ.get('SALNAS_ARCHIVES')
    if not given:
        pytest.skip('SALNAS_ARCHIVES does not name the folder of official archives')
    archives = sorted((Path(given) / name).glob('*.zip')) or [Path(given) / name]
    r = data.read_recording(sources.get(name, archives, tmp_path, say=lambda *_: None))
    assert (len(r), len(np.unique(r.subject)), len(r.x)) == counts and r.inside.all()
    assert sources.verify(name, tmp_path).ok.fillna(True).all()
    if name != 'osie':
        return
    assert r.native_size(0) == (600, 800) and r.image_names[0] == '1001.jpg'
    assert r.points(0)[0].tolist() == pytest.approx([394.5, 264.7])  # published as 395.5, 265.7
    parts = {k: data.SaliencyDataset(r, k, cache=False) for k in ('train', 'val', 'test')}
    assert {k: len(p) for k, p in parts.items()} == dict(train=450, val=50, test=200)
    assert parts['test'][0]['fixations'].sum() == len(parts['test'][0]['points'])


# --- your own data ---


@pytest.fixture
def photos(tmp_path):
    (tmp_path / 'photos').mkdir()
    for i in range(5):
        (tmp_path / 'photos' / f'{i}.jpg').write_bytes(picture(i, fake.SIZES[i % 3]))
    rows = [
        (f'{i}.jpg', v, k, *np.random.default_rng([i, ord(v), k]).uniform(0, 50, 2).round(1))
        for i in range(5)
        for v in 'ab'
        for k in range(4)
    ]
    return tmp_path / 'photos', pd.DataFrame(rows, columns=['image', 'subject', 'order', 'x', 'y'])


def test_own_points_are_exact(tmp_path, photos):
    folder, table = photos
    table.sample(frac=1, random_state=0).to_csv(tmp_path / 'points.csv', index=False)  # in any order of rows
    data.import_folder(tmp_path / 'root/mine', folder, tmp_path / 'points.csv')
    r = data.load_recording('mine', tmp_path / 'root')
    for i in range(5):
        mine = table[table.image == f'{i}.jpg']
        rows = np.flatnonzero(r.image_id == i)
        assert sorted(zip(r.subject[rows], r.order[rows], r.x[rows], r.y[rows])) == sorted(
            zip((mine.subject == 'b').astype(int), mine.order, mine.x, mine.y)
        )
    assert data.load_dataset('mine', 'train', root=tmp_path / 'root', size=(30, 40))[0]['fixations'].sum() == 8
    assert sources.verify('mine', tmp_path / 'root').ok.fillna(True).all()


@pytest.mark.filterwarnings('ignore:.*left out')
def test_own_pictures_of_one_name(tmp_path, photos):
    folder, table = photos
    (folder / '0.png').write_bytes(picture(9, format='png'))
    with pytest.raises(ValueError, match='more than one picture called 0'):
        data.import_folder(tmp_path / 'root/mine', folder, table)


def test_own_points_beside_the_pictures_are_said(tmp_path, photos):
    folder, table = photos
    with pytest.warns(UserWarning, match='40 of 40 points lie outside'):
        data.import_folder(tmp_path / 'root/mine', folder, table.assign(x=table.x + 5000, order=np.nan))
    assert (data.load_recording('mine', tmp_path / 'root').order == -1).all()


@pytest.mark.parametrize(
    'break_it, words',
    [
        (lambda t: t.rename(columns=dict(x='X')), 'lacks x'),
        (lambda t: t.assign(image='5.jpg'), "'5.jpg'"),
        (lambda t: t.assign(y='top'), "column y must hold numbers, got 'top' in row 1"),
        (lambda t: t[t.image == '0.jpg'], 'at least 3 pictures'),
        (lambda t: t.iloc[:0], 'at least 3 pictures'),
    ],
)
@pytest.mark.filterwarnings('ignore:.*left out')
def test_own_data_that_does_not_fit(tmp_path, photos, break_it, words):
    folder, table = photos
    with pytest.raises(ValueError, match=words):
        data.import_folder(tmp_path / 'root/mine', folder, break_it(table))
    assert not (tmp_path / 'root').exists()


# --- pictures ---

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
    got = data.read_image(tmp_path / name)
    assert got.dtype == np.uint8 and got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= (2 if 'CMYK' in name else 0)


def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.new('P', (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / 'p.png', transparency=0)
    got = data.read_image(tmp_path / 'p.png')
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
    assert (data.read_image(tmp_path / 'a.png') == turn(RGB)).all()


@pytest.mark.parametrize('content', [b'', b'<html>', picture(0)[:700], b'\x89PNG\r\n\x1a\n' + b'\0' * 50])
def test_undecodable_picture_is_named(tmp_path, content):
    (tmp_path / 'bad.jpg').write_bytes(content)
    with pytest.raises(ValueError, match='bad.jpg') as e:
        data.read_image(tmp_path / 'bad.jpg')
    assert '\n' not in str(e.value)


def test_missing_picture_is_not_a_broken_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.read_image(tmp_path / 'none.jpg')


def test_float_pictures_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / 'f.tif')
    with pytest.raises(ValueError, match='f.tif.*agreed range'):
        data.read_image(tmp_path / 'f.tif')


# --- folders ---


@pytest.fixture
def folder(tmp_path):
    source, archives, _ = fake.ALL['osie'](tmp_path)
    return sources.prepare(source, archives, tmp_path / 'root', say=lambda *_: None)


def test_stale_cache_is_made_again(folder):
    load = lambda: data.load_dataset('osie', 'trainval', root=folder.parent, size=(6, 8))
    before = load()
    files = list((folder / 'cache').iterdir())
    assert len(files) == 1 and load().images.file == files[0] and isinstance(load().images.array, np.memmap)
    name = before[0]['name']
    Image.new('RGB', Image.open(folder / 'stimuli' / name).size, 'blue').save(folder / 'stimuli' / name)
    after = load()
    assert after[0]['image'].mean((1, 2)).tolist() == pytest.approx([0, 0, 1], abs=0.02)
    assert list((folder / 'cache').iterdir()) != files and len(list((folder / 'cache').iterdir())) == 1
    assert torch.equal(after[1]['image'], before[1]['image'])


def test_caches_of_two_sizes_live_together(folder):
    for size in (6, 8), (12, 16), (6, 8):
        data.load_dataset('osie', root=folder.parent, size=size)
    assert len(list((folder / 'cache').iterdir())) == 2


def test_cached_and_decoded_samples_are_the_same(folder):
    a, b = (data.load_dataset('osie', 'trainval', root=folder.parent, size=(24, 32), cache=c) for c in (True, False))
    for s, t in zip(a, b):
        assert all(torch.equal(s[k], t[k]) for k in ('image', 'density', 'fixations', 'points'))


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_workers_give_the_same_samples(folder, context):
    d = data.load_dataset('osie', 'trainval', root=folder.parent, size=(24, 32))
    if context == 'spawn':
        d = data.SaliencyDataset(d.recording, 'trainval', (24, 32))  # pickled, not forked
    got = next(iter(DataLoader(d, 3, collate_fn=data.collate, num_workers=1, multiprocessing_context=context)))
    assert torch.equal(got['image'], data.collate(list(d))['image'])


@pytest.mark.parametrize('broken', ['meta.json', 'fixations.npz'])
def test_incomplete_folder_says_so(folder, broken):
    data.read_recording(folder)
    file = folder / broken
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match='prepare it again') as e:
        data.read_recording(folder)
    assert '\n' not in str(e.value)


def test_fixations_with_objects_are_not_unpickled(folder):
    with np.load(folder / 'fixations.npz') as f:
        arrays = dict(f)
    np.savez(folder / 'fixations.npz', **arrays | dict(x=np.array([object()] * len(arrays['x']))))
    with pytest.raises(ValueError, match='prepare it again'):
        data.read_recording(folder)


def test_swapped_picture_is_noticed(folder):
    (folder / 'stimuli' / '1001.jpg').write_bytes(picture(0, (40, 30)))
    with pytest.raises(ValueError, match='1001.jpg.*40x30.*80x60'):
        data.load_recording('osie', folder.parent).read(0)


def test_names(tmp_path, monkeypatch, folder):
    monkeypatch.setenv('SALNAS_DATA', str(folder.parent))
    assert data.dataset_names() == sorted(['popout', *data.BENCHMARKS]) and len(data.load_dataset('osie')) == 2
    monkeypatch.setenv('SALNAS_DATA', str(tmp_path / 'elsewhere'))
    with pytest.raises(FileNotFoundError, match='salnas_data get osie --root .*elsewhere'):
        data.load_dataset('osie')
    with pytest.raises(ValueError, match='choose one of .*osie, pascals, popout'):
        data.load_dataset('oise')
    os.rename(folder, tmp_path / 'root' / 'mine')
    assert len(data.load_dataset('mine', root=tmp_path / 'root')) == 2


# --- maps ---


@pytest.mark.parametrize('native', [(600, 800), (375, 500), (1080, 1920), (31, 17)])
@pytest.mark.parametrize('size', [(192, 256), (48, 64), (99, 41)])
def test_counts_density_and_flip_agree(native, size):
    h, w = native
    points = np.random.default_rng(0).uniform(-0.5, [w - 0.5, h - 0.5], (80, 2))
    points[:4] = [-0.5, -0.5], [w - 0.5 - 1e-6, h - 0.5 - 1e-6], [0, 0], [w - 1, h - 1]
    sigma = max(w / 30, 0.6 * w / size[1], 0.6 * h / size[0])
    counts, density = data.count_map(points, native, size), data.density_map(points, native, size, sigma)
    assert counts.sum() == 80 and density.sum() == pytest.approx(1, abs=1e-5)
    sample = dict(
        image=torch.zeros(3, *size),
        density=density,
        fixations=counts,
        points=torch.from_numpy(points),
        native_size=native,
        name='',
    )
    flipped = data.hflip(sample)
    assert torch.allclose(
        data.density_map(flipped['points'], native, size, sigma), flipped['density'], rtol=1e-3, atol=1e-7
    )
    assert torch.equal(data.count_map(flipped['points'], native, size), flipped['fixations'])


def test_popout_is_generated_from_its_seed():
    a, b = data.popout.__wrapped__(seed=3, n=6), data.popout.__wrapped__(seed=3, n=8)
    assert all((a.points(i) == b.points(i)).all() and (a.read(i) == b.read(i)).all() for i in range(6))
    assert not (a.read(0) == data.popout(seed=4, n=6).read(0)).all()
    for i in range(6):
        truth = a.truth(i, (24, 32))
        assert truth.sum() == pytest.approx(1) and truth.min() > 0 and truth.shape == (24, 32)


def test_popout_targets_are_where_the_truth_peaks():
    r = data.popout(n=40)
    for i, scene in enumerate(r.pictures.scenes):
        row, col = np.unravel_index(r.truth(i, (240, 320)).argmax(), (240, 320))
        assert np.hypot(col - scene.xy[0, 0], row - scene.xy[0, 1]) < 3


def test_test_pictures_do_not_reach_the_centre_bias():
    d = data.load_dataset('popout', 'test')
    before = data.centre_bias(d, size=(24, 32))
    r = d.recording
    x = r.x.copy()
    x[np.isin(r.image_id, d.indices)] = 3
    moved = data.SaliencyDataset(
        data.Recording(**{k: getattr(r, k) for k in r.__dataclass_fields__} | dict(x=x)), 'test', cache=False
    )
    assert torch.equal(data.centre_bias(moved, size=(24, 32)), before)
