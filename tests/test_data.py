"Data: caches, own data, transforms, and the promises that every prepared data set keeps. Archives: test_sources.py."

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

from salnas import data, protocols, sources
from salnas.photographs import photographs

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
    with pytest.raises(FileNotFoundError, match='salnas_data get osie --data-root .*elsewhere'):
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


# --- protocol and transform ---


@pytest.fixture
def map_set(tmp_path, photos):
    "A set of maps without any point; the fifth picture's map is empty."
    (tmp_path / 'maps').mkdir()
    for i in range(5):
        grey = np.zeros((60, 80), np.uint8)
        grey[10 * i : 10 * i + 10, 20:40] = 255 * (i < 4)
        Image.fromarray(grey).save(tmp_path / 'maps' / f'{i}.png')
    data.import_folder(tmp_path / 'root/mapped', photos[0], maps=tmp_path / 'maps')
    return tmp_path / 'root'


def test_set_of_maps_says_so_and_has_a_centre_bias(map_set):
    d = data.load_dataset('mapped', root=map_set, size=(30, 40))
    assert not d.has_fixations and data.JoinedDataset(d, d).has_fixations is False
    bias = data.centre_bias(d)
    assert torch.isfinite(bias).all() and bias.sum() == pytest.approx(1, abs=1e-5)
    rest = d.recording.parts()['train']
    mean = sum(d.maps(i)[0] for i in rest)
    assert torch.allclose(bias, 0.99 * mean / mean.sum() + 0.01 / 1200, atol=1e-7)
    assert data.load_dataset('popout').has_fixations


def test_centre_bias_of_nothing_is_refused():
    r = data.popout(n=8)
    lost = data.Recording(**{k: getattr(r, k) for k in r.__dataclass_fields__} | dict(inside=np.zeros(len(r.x), bool)))
    with pytest.raises(ValueError, match='popout is unknown: none of its 5 training pictures'):
        data.centre_bias(data.SaliencyDataset(lost, 'train', cache=False))
    with pytest.raises(ValueError, match='none of its 0 training pictures'):
        data.centre_bias(data.SaliencyDataset(photographs(), 'test', (24, 32)))


def test_pictures_keep_their_aspect_if_asked_to(folder):
    d = data.load_dataset('osie', 'trainval', root=folder.parent, size=(24, 32))
    assert d.transform == data.Transform((24, 32)) and d.protocol is protocols.NATIVE
    native = d.with_transform(data.Transform((48, 64), keep_aspect=True))
    assert d[0]['image'].shape == (3, 24, 32) and d.image_size == (24, 32)
    for s, i in zip(native, native.indices):
        assert s['image'].shape[1:] == native.transform.shape(native.recording.native_size(i))
        assert max(s['image'].shape) == 64 and s['density'].shape == (24, 32)
        assert (s['image'] * 255 == torch.from_numpy(native.transform(d.recording.read(i))).permute(2, 0, 1)).all()
    assert torch.equal(native[0]['fixations'], d[0]['fixations']) and len(list((folder / 'cache').iterdir())) == 1


def test_images_of_two_shapes_are_no_batch(photos, tmp_path):
    data.import_folder(tmp_path / 'root/mine', *photos)
    d = data.load_dataset(
        'mine', 'trainval', tmp_path / 'root', size=(24, 32), transform=data.Transform((48, 64), keep_aspect=True)
    )
    assert len({s['image'].shape for s in d}) > 1
    with pytest.raises(ValueError, match='must have one shape, got .*x.* and .*x.*batch_size of 1'):
        data.collate(list(d))
    assert len(list(DataLoader(d, 1, collate_fn=data.collate))) == len(d)
