"""Data: archives true and false, odd pictures, caches, and the promises that every prepared data set keeps."""
import importlib.util
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch.utils.data import DataLoader

from salnas import data

HERE = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location('osie', HERE / 'data_scripts' / 'osie.py')
osie = importlib.util.module_from_spec(spec)
spec.loader.exec_module(osie)

SMALL = dict(images=4, viewers=3, fixations=4 * 3 * 5)
SMALL_META = osie.META | dict(authors=osie.META['authors'] | dict(n_train=3))
PREFIX = 'predicting-human-gaze-beyond-pixels-master'


# --- a small OSIE in the official layout ---

@pytest.fixture
def planted():
    "Official 1-based coordinates, (picture, viewer, look, x and y), one decimal as published; one point lies beside its picture."
    points = np.random.default_rng(0).uniform([1, 1], [80, 60], (4, 3, 5, 2)).round(1)
    points[0, 0, 0] = 85, 30
    return points


def official_zip(file, points, drop=(), jpeg=None):
    "Write an archive as GitHub makes it: one folder on top, MATLAB structs within structs, pictures named 1001.jpg on, stored in reverse."
    subject = np.dtype([('fix_x', 'O'), ('fix_y', 'O'), ('fix_duration', 'O')])
    entry = np.dtype([('img', 'O'), ('subjects', 'O')])
    table = np.empty((len(points), 1), object)
    for i, looks in enumerate(points):
        viewers = np.empty((len(looks), 1), object)
        for v, xy in enumerate(looks):
            viewers[v, 0] = np.array([[(xy[None, :, 0], xy[None, :, 1], np.arange(100, 100 + len(xy), dtype=np.uint16)[None])]], dtype=subject)
        table[i, 0] = np.array([[(f'{1001 + i}.jpg', viewers)]], dtype=entry)
    mat = io.BytesIO()
    savemat(mat, dict(fixations=table), do_compression=True)
    members = {f'{PREFIX}/data/eye/fixations.mat': mat.getvalue(), f'{PREFIX}/README.md': b'OSIE'}
    for i in reversed(range(len(points))): members[f'{PREFIX}/data/stimuli/{1001 + i}.jpg'] = jpeg or picture(i)
    with zipfile.ZipFile(file, 'w') as z:
        for name, content in members.items():
            if not name.endswith(tuple(drop) or '\0'): z.writestr(name, content)
    return file


def picture(i, size=(80, 60)):
    file = io.BytesIO()
    noise = np.random.default_rng(i).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, 'jpeg')
    return file.getvalue()


def prepare(root, archive, **options):
    return osie.prepare(root, archive, **(dict(expected=SMALL, meta=SMALL_META) | options))


def test_prepared_points_are_the_planted_ones(tmp_path, planted):
    folder = prepare(tmp_path / 'root', official_zip(tmp_path / 'a.zip', planted))
    r = data.load_recording('osie', tmp_path / 'root')
    assert r.image_names == ('1001.jpg', '1002.jpg', '1003.jpg', '1004.jpg') and folder == tmp_path / 'root' / 'osie'
    assert r.inside.sum() == 59 and len(r.x) == 60
    for i in range(4):
        rows = r.image_id == i
        assert (np.stack([r.x[rows], r.y[rows]], 1) == planted[i].reshape(-1, 2) - 1).all()
        assert (r.subject[rows] == np.repeat(range(3), 5)).all() and (r.order[rows] == np.tile(range(5), 3)).all()
        assert (r.duration[rows] == np.tile(range(100, 105), 3)).all()
        assert (folder / 'stimuli' / r.image_names[i]).read_bytes() == picture(i) # byte for byte
    assert (r.points(0) == planted[0].reshape(-1, 2)[1:] - 1).all()


def test_prepared_samples(tmp_path, planted):
    prepare(tmp_path, official_zip(tmp_path / 'a.zip', planted))
    seen = []
    for split in 'train', 'val', 'test':
        for s in data.load_dataset('osie', split, root=tmp_path, size=(30, 40)):
            seen.append(s['name'])
            assert s['image'].shape == (3, 30, 40) and s['native_size'] == (60, 80)
            assert s['fixations'].sum() == len(s['points']) and s['density'].sum() == pytest.approx(1, abs=1e-5)
            x, y = s['points'].double().T
            expected = torch.zeros(30, 40)
            for c, w in zip(((x + .5) * 40 / 80).floor().long(), ((y + .5) * 30 / 60).floor().long()): expected[w, c] += 1
            assert torch.equal(s['fixations'], expected)
    assert sorted(seen) == ['1001.jpg', '1002.jpg', '1003.jpg', '1004.jpg']


def test_one_fixation_per_viewer(tmp_path, planted):
    "MATLAB knows no lists: a single fixation is a number, and must not be lost."
    one = planted[:, :, 1:2]
    prepare(tmp_path, official_zip(tmp_path / 'a.zip', one), expected=dict(images=4, viewers=3, fixations=12))
    assert (data.load_recording('osie', tmp_path).x == one[..., 0].ravel() - 1).all()


# --- what is refused, and what it leaves ---

def damaged(kind, file, points):
    "Archives that must be refused."
    if kind == 'missing picture': return official_zip(file, points, drop=['1003.jpg'])
    if kind == 'missing fixations': return official_zip(file, points, drop=['fixations.mat'])
    if kind == 'broken picture': return official_zip(file, points, jpeg=picture(0)[:900])
    if kind == 'fewer fixations': return official_zip(file, points[:, :, :4])
    if kind == 'fewer viewers': return official_zip(file, points[:, :2])
    if kind == 'fewer pictures': return official_zip(file, points[:3])
    whole = official_zip(file, points).read_bytes()
    at = whole.index(b'1002.jpg') + 400 # inside the stored JPEG: only its checksum knows
    file.write_bytes({
        'truncated': whole[:len(whole) * 2 // 3], 'html': b'<!DOCTYPE html><html>Not found</html>', 'empty': b'',
        'flipped bit': whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:]}[kind])
    return file


KINDS = ['missing picture', 'missing fixations', 'broken picture', 'fewer fixations', 'fewer viewers', 'fewer pictures', 'truncated', 'html', 'empty', 'flipped bit']


@pytest.mark.parametrize('kind', KINDS)
def test_bad_archive_is_refused_and_leaves_nothing(tmp_path, planted, kind):
    archive, root = damaged(kind, tmp_path / 'bad.zip', planted), tmp_path / 'root'
    with pytest.raises(ValueError) as e: prepare(root, archive)
    assert '\n' not in str(e.value) and len(str(e.value)) < 400
    assert not root.exists()
    prepare(root, official_zip(tmp_path / 'good.zip', planted)) # and nothing stands in the way of a good one
    with pytest.raises(ValueError): prepare(root, archive, overwrite=True)
    assert len(data.load_recording('osie', root)) == 4 # the good one survives a bad replacement
    assert [f.name for f in root.iterdir()] == ['osie']


def test_fixations_of_another_kind(tmp_path):
    mat = io.BytesIO()
    savemat(mat, dict(fixations=np.arange(5)))
    for content in mat.getvalue(), b'not MATLAB':
        with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as z: z.writestr(f'{PREFIX}/data/eye/fixations.mat', content)
        with pytest.raises(ValueError, match='fixations.mat cannot be read'): prepare(tmp_path / 'root', tmp_path / 'a.zip')
    assert not (tmp_path / 'root').exists()


def test_prepared_set_is_not_overwritten_unasked(tmp_path, planted):
    archive = official_zip(tmp_path / 'a.zip', planted)
    folder = prepare(tmp_path / 'root', archive)
    (folder / 'mine.txt').write_text('keep')
    with pytest.raises(FileExistsError, match='--overwrite'): prepare(tmp_path / 'root', archive)
    assert (folder / 'mine.txt').exists()
    prepare(tmp_path / 'root', archive, overwrite=True)
    assert not (folder / 'mine.txt').exists() and [f.name for f in (tmp_path / 'root').iterdir()] == ['osie']


def test_interrupt_leaves_nothing(tmp_path):
    def pictures():
        yield '0.jpg', picture(0)
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): data.write_recording(tmp_path / 'root' / 'x', SMALL_META, pictures(), {})
    assert list(tmp_path.iterdir()) == []


def test_command_line_says_one_sentence(tmp_path):
    (tmp_path / 'bad.zip').write_bytes(b'<html>')
    for archive in 'bad.zip', 'none.zip':
        run = subprocess.run([sys.executable, HERE / 'data_scripts' / 'osie.py', '--root', tmp_path / 'root', '--archive', tmp_path / archive],
            capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=str(HERE)))
        assert run.returncode == 1 and run.stderr.startswith('osie: ') and archive in run.stderr and len(run.stderr.splitlines()) == 1
    assert not (tmp_path / 'root').exists()


def test_failed_download(tmp_path, monkeypatch):
    monkeypatch.setattr(osie, 'URL', (tmp_path / 'gone.zip').as_uri())
    with pytest.raises(SystemExit, match='cannot download.*--archive'): osie.main(['--root', str(tmp_path / 'root')])
    assert list(tmp_path.iterdir()) == []


def test_the_real_archive(tmp_path):
    archive = os.environ.get('SALNAS_OSIE_ARCHIVE')
    if not archive: pytest.skip('SALNAS_OSIE_ARCHIVE does not name the official OSIE zip')
    osie.main(['--root', str(tmp_path), '--archive', archive])
    r = data.load_recording('osie', tmp_path)
    assert len(r) == 700 and len(r.x) == 98_321 and r.inside.all() and len(np.unique(r.subject)) == 15
    assert r.native_size(0) == (600, 800) and r.image_names[0] == '1001.jpg'
    assert r.points(0)[0].tolist() == pytest.approx([394.5, 264.7]) # published as 395.5, 265.7
    parts = {k: data.SaliencyDataset(r, k, cache=False) for k in ('train', 'val', 'test')}
    assert {k: len(p) for k, p in parts.items()} == dict(train=450, val=50, test=200)
    assert parts['test'][0]['fixations'].sum() == len(parts['test'][0]['points'])


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


@pytest.mark.parametrize('orientation, turn', [(1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)])
def test_exif_orientation(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / 'a.png', exif=exif)
    assert (data.read_image(tmp_path / 'a.png') == turn(RGB)).all()


@pytest.mark.parametrize('content', [b'', b'<html>', picture(0)[:700], b'\x89PNG\r\n\x1a\n' + b'\0' * 50])
def test_undecodable_picture_is_named(tmp_path, content):
    (tmp_path / 'bad.jpg').write_bytes(content)
    with pytest.raises(ValueError, match='bad.jpg') as e: data.read_image(tmp_path / 'bad.jpg')
    assert '\n' not in str(e.value)


def test_missing_picture_is_not_a_broken_one(tmp_path):
    with pytest.raises(FileNotFoundError): data.read_image(tmp_path / 'none.jpg')


def test_float_pictures_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / 'f.tif')
    with pytest.raises(ValueError, match='f.tif.*agreed range'): data.read_image(tmp_path / 'f.tif')


# --- folders ---

@pytest.fixture
def folder(tmp_path, planted):
    return prepare(tmp_path / 'root', official_zip(tmp_path / 'a.zip', planted))


def test_stale_cache_is_made_again(folder):
    load = lambda: data.load_dataset('osie', 'trainval', root=folder.parent, size=(6, 8))
    before = load()
    files = list((folder / 'cache').iterdir())
    assert len(files) == 1 and load().images.file == files[0] and isinstance(load().images.array, np.memmap)
    name = before[0]['name']
    Image.new('RGB', (80, 60), 'blue').save(folder / 'stimuli' / name)
    after = load()
    assert after[0]['image'].mean((1, 2)).tolist() == pytest.approx([0, 0, 1], abs=.02)
    assert list((folder / 'cache').iterdir()) != files and len(list((folder / 'cache').iterdir())) == 1
    assert torch.equal(after[1]['image'], before[1]['image'])


def test_caches_of_two_sizes_live_together(folder):
    for size in (6, 8), (12, 16), (6, 8): data.load_dataset('osie', root=folder.parent, size=size)
    assert len(list((folder / 'cache').iterdir())) == 2


def test_cached_and_decoded_samples_are_the_same(folder):
    a, b = (data.load_dataset('osie', 'trainval', root=folder.parent, size=(24, 32), cache=c) for c in (True, False))
    for s, t in zip(a, b): assert all(torch.equal(s[k], t[k]) for k in ('image', 'density', 'fixations', 'points'))


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_workers_give_the_same_samples(folder, context):
    d = data.load_dataset('osie', 'trainval', root=folder.parent, size=(24, 32))
    if context == 'spawn': d = data.SaliencyDataset(d.recording, 'trainval', (24, 32)) # pickled, not forked
    got = next(iter(DataLoader(d, 3, collate_fn=data.collate, num_workers=1, multiprocessing_context=context)))
    assert torch.equal(got['image'], data.collate(list(d))['image'])


@pytest.mark.parametrize('broken', ['meta.json', 'fixations.npz'])
def test_incomplete_folder_says_so(folder, broken):
    data.read_recording(folder)
    file = folder / broken
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match='prepare it again') as e: data.read_recording(folder)
    assert '\n' not in str(e.value)


def test_fixations_with_objects_are_not_unpickled(folder):
    with np.load(folder / 'fixations.npz') as f: arrays = dict(f)
    np.savez(folder / 'fixations.npz', **arrays | dict(x=np.array([object()] * 60)))
    with pytest.raises(ValueError, match='prepare it again'): data.read_recording(folder)


def test_swapped_picture_is_noticed(folder):
    (folder / 'stimuli' / '1001.jpg').write_bytes(picture(0, (40, 30)))
    with pytest.raises(ValueError, match='1001.jpg.*40x30.*80x60'): data.load_recording('osie', folder.parent).read(0)


def test_names(tmp_path, monkeypatch, folder):
    monkeypatch.setenv('SALNAS_DATA', str(folder.parent))
    assert data.dataset_names() == ['osie', 'popout'] and len(data.load_dataset('osie')) == 2
    monkeypatch.setenv('SALNAS_DATA', str(tmp_path / 'elsewhere'))
    with pytest.raises(FileNotFoundError, match='data_scripts/osie.py --root .*elsewhere'): data.load_dataset('osie')
    with pytest.raises(ValueError, match='choose one of osie, popout'): data.load_dataset('salicon')
    os.rename(folder, tmp_path / 'root' / 'mine')
    assert len(data.load_dataset('mine', root=tmp_path / 'root')) == 2


# --- maps ---

@pytest.mark.parametrize('native', [(600, 800), (375, 500), (1080, 1920), (31, 17)])
@pytest.mark.parametrize('size', [(192, 256), (48, 64), (99, 41)])
def test_counts_density_and_flip_agree(native, size):
    h, w = native
    points = np.random.default_rng(0).uniform(-.5, [w - .5, h - .5], (80, 2))
    points[:4] = [-.5, -.5], [w - .5 - 1e-6, h - .5 - 1e-6], [0, 0], [w - 1, h - 1]
    sigma = max(w / 30, .6 * w / size[1], .6 * h / size[0])
    counts, density = data.count_map(points, native, size), data.density_map(points, native, size, sigma)
    assert counts.sum() == 80 and density.sum() == pytest.approx(1, abs=1e-5)
    sample = dict(image=torch.zeros(3, *size), density=density, fixations=counts, points=torch.from_numpy(points), native_size=native, name='')
    flipped = data.hflip(sample)
    assert torch.allclose(data.density_map(flipped['points'], native, size, sigma), flipped['density'], rtol=1e-3, atol=1e-7)
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
    for i, scene in enumerate(r.source.scenes):
        row, col = np.unravel_index(r.truth(i, (240, 320)).argmax(), (240, 320))
        assert np.hypot(col - scene.xy[0, 0], row - scene.xy[0, 1]) < 3


def test_test_pictures_do_not_reach_the_centre_bias():
    d = data.load_dataset('popout', 'test')
    before = data.centre_bias(d, size=(24, 32))
    r = d.recording
    x = r.x.copy()
    x[np.isin(r.image_id, d.indices)] = 3
    moved = data.SaliencyDataset(data.Recording(**{k: getattr(r, k) for k in r.__dataclass_fields__} | dict(x=x)), 'test', cache=False)
    assert torch.equal(data.centre_bias(moved, size=(24, 32)), before)
