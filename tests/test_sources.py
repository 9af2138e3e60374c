"""Sources: archives in the official layouts, true and damaged, through preparation to what a network sees."""

import contextlib
import functools
import http.server
import io
import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fake_archives as fake
import numpy as np
import pytest
import torch
from PIL import Image

from salnas import data, data_command, recordings, sources

HERE = Path(__file__).resolve().parent.parent
BUILDERS = fake.ALL | {
    'salicon JSON': fake.salicon_json,
    'mit1003 FixaTons': functools.partial(fake.mit1003, kind='text'),
    'cat2000 scanpaths': functools.partial(fake.cat2000, scanpaths=True),
}


@pytest.fixture
def built(tmp_path, request):
    if 'scanpaths' in request.param:
        pytest.importorskip('matio', reason='mat-io (extra cat2000) is not installed')
    (tmp_path / 'archives').mkdir()
    return *BUILDERS[request.param](tmp_path / 'archives'), tmp_path / 'root'


def get(source, archives, root, **options):
    return sources.get(source.name, archives, root, source=source, say=lambda *_: None, **options)


def all_sets(*names):
    return pytest.mark.parametrize('built', names or BUILDERS, indirect=True)


def inside(points, size):
    "The (x, y) of planted rows that lie in a picture of this (height, width)."
    h, w = size
    return [(x, y) for _, x, y in points if -0.5 <= x < w - 0.5 and -0.5 <= y < h - 0.5]


def rows_of(recording, i):
    "(viewer, x, y) of a picture, viewer by viewer in the order of looking."
    rows = np.flatnonzero(recording.image_id == i)
    if (recording.order[rows] >= 0).any():
        rows = rows[np.lexsort((recording.order[rows], recording.subject[rows]))]
    return [(int(recording.subject[r]), recording.x[r], recording.y[r]) for r in rows]


# --- what is planted comes out ---


@all_sets()
def test_prepared_fixations_are_the_planted_ones(built):
    source, archives, planted, root = built
    r = data.read_recording(get(source, archives, root))
    assert list(r.image_names) == sorted(planted)
    for i, name in enumerate(r.image_names):
        got, want = rows_of(r, i), sorted(planted[name], key=lambda row: row[0])  # stable: the order of looking stays
        assert [g[0] for g in got] == [w[0] for w in want]
        got, want = (np.array([row[1:] for row in rows]).reshape(-1, 2) for rows in (got, want))
        assert np.abs(got - want).max(initial=0) <= 1e-12
        assert r.inside[r.image_id == i].sum() == len(inside(planted[name], r.native_size(i)))
    assert sources.verify(source.name, root).set_index('check').ok[['checksums', 'files', 'picture sizes']].all()


@all_sets()
@pytest.mark.parametrize('size', [(48, 64), (60, 80), (37, 41)])
def test_samples_hold_the_planted_points(built, size):
    source, archives, planted, root = built
    get(replace(source, pixels_per_degree=20, pixels_per_degree_at=None), archives, root)
    seen = []
    for split in 'train', 'val', 'test':
        for s in data.load_dataset(source.name, split, root=root, size=size):
            seen.append(s['name'])
            h, w = s['native_size']
            points, want = inside(planted[s['name']], (h, w)), torch.zeros(size)
            for x, y in points:
                want[int((y + 0.5) * size[0] / h), int((x + 0.5) * size[1] / w)] += 1
            assert torch.equal(s['fixations'], want)
            assert sorted(map(tuple, s['points'].tolist())) == sorted(tuple(np.float32(p).tolist()) for p in points)
            flipped = data.hflip(s)
            assert torch.equal(flipped['fixations'], want.flip(1))
            assert torch.equal(flipped['points'][:, 0], w - 1 - s['points'][:, 0])
            assert s['density'].sum() == pytest.approx(1 if points else 0, abs=1e-4)
    assert sorted(seen) == sorted(planted)


@all_sets('osie', 'salicon', 'mit1003', 'cat2000', 'pascals', 'dutomron', 'fiwi')
def test_authors_loader_at_native_size(built):
    "Every mark of their loader, written out from what their code does to each set (FACTS of the project: data.py)."
    source, archives, planted, root = built
    name = source.name
    folder = get(source, archives, root)
    r = data.read_recording(folder)
    assert r.meta['authors']['size'] == ([480, 640] if name == 'salicon' else [384, 384])
    for i, picture in enumerate(r.image_names):
        h, w = r.native_size(i)
        points = inside(planted[picture], (h, w))
        if not points:
            continue
        dataset = data.SaliencyDataset(r, 'train', (h, w), 'authors', cache=False)
        density, marks = dataset.maps(i)
        if name == 'mit1003':  # the marks of its JPEG, whatever is not zero
            drawn = Image.open(folder / 'point_maps' / f'{Path(picture).stem}.jpg')
            want = {(int(x), int(y)) for y, x in np.argwhere(np.array(drawn) > 0)}
        else:
            plus = 1 if name in ('osie', 'salicon') else 0  # the official number, cut, taken as counted from 0
            want = {(int(x + plus), int(y + plus)) for x, y in points}
            if name == 'salicon':
                want = {(x, y) for x, y in want if x < 640 and y < 480}  # theirs drops the last column and row
            want = {(min(x, w - 1), min(y, h - 1)) for x, y in want}
        assert {(x, y) for y, x in marks.nonzero().tolist()} == want, picture
        official = list((folder / 'maps').glob(f'{Path(picture).stem}.*'))
        assert len(official) == (name in ('salicon', 'mit1003', 'cat2000', 'pascals'))
        for file in official:
            theirs = torch.from_numpy(np.array(Image.open(file).convert('L'))).float()
            assert torch.equal((density * 255).round(), theirs)


def test_authors_sizes_and_normalisation(tmp_path):
    source, archives, _ = fake.salicon(tmp_path)
    get(source, archives, tmp_path / 'root')
    theirs = data.load_dataset('salicon', 'train', root=tmp_path / 'root', protocol='authors')
    assert theirs[0]['image'].shape == (3, 288, 384)
    assert theirs[0]['density'].shape == (480, 640)
    assert theirs.mean == (0.485, 0.456, 0.406)
    parts = [data.load_dataset('salicon', s, root=tmp_path / 'root', protocol='authors') for s in ('train', 'val')]
    assert list(map(len, parts)) == [3, 2]
    native = data.load_dataset('salicon', 'train', root=tmp_path / 'root')
    assert native[0]['image'].shape == (3, 192, 256)
    assert {native.recording.image_names[i][5:10] for i in native.indices} == {'train'}


def test_fixations_of_mit1003_as_a_last_resort_from_jpeg(tmp_path):
    source, archives, planted = fake.mit1003(tmp_path, kind='maps')
    source = replace(source, expected=dict(images=3))
    r = data.read_recording(get(source, archives, tmp_path / 'root'))
    assert 'JPEG' in r.meta['edition'] and 'run together' in r.meta['losses'] and (r.subject == -1).all()
    for i, name in enumerate(r.image_names):
        want = {(int(x + 1), int(y + 1)) for _, x, y in planted[name] if x < r.width[i] - 0.5}
        assert {(int(x), int(y)) for x, y in r.points(i)} == want


def test_order_of_archives_and_extracted_folders_do_not_matter(tmp_path):
    source, archives, planted = fake.mit1003(tmp_path)
    given = [archives, archives[::-1], [fake.extracted(archives, tmp_path / 'extracted')]]
    one, *others = (data.read_recording(get(source, a, tmp_path / f'root{i}')) for i, a in enumerate(given))
    for other in others:
        for column in ('x', 'y', 'subject', 'image_id', 'order'):
            assert (getattr(one, column) == getattr(other, column)).all()


def test_reduced_copy_keeps_every_point_in_its_place(tmp_path):
    "The same set whole, and reduced to half: the points fall into the same cells of any grid."
    source, archives, planted = fake.nested(tmp_path, 'osie')
    whole = data.read_recording(get(source, archives, tmp_path / 'whole'))
    (tmp_path / 'copy/stimuli').mkdir(parents=True)
    for i, n in enumerate(whole.image_names):
        half = Image.fromarray(whole.read(i)).resize((whole.width[i] // 2, whole.height[i] // 2))
        half.save(tmp_path / 'copy/stimuli' / n)
    np.savez(
        tmp_path / 'copy/fixations.npz',
        image_names=[n.replace('jpg', 'png') for n in whole.image_names],
        width=whole.width.astype(np.int16),
        height=whole.height.astype(np.int16),
        image_id=whole.image_id,
        subject=whole.subject,
        order=whole.order,
        x=whole.x + 1,
        y=whole.y + 1,
        duration=np.full(len(whole.x), -1.0),
    )
    copy = data.read_recording(get(source, [tmp_path / 'copy'], tmp_path / 'reduced'))
    assert copy.native_size(0) == (30, 40)
    assert copy.meta['edition'].endswith('reduced to a long side of 40')
    assert np.isnan(copy.duration).all()
    assert (copy.inside == whole.inside).all() and copy.sigma(0) == pytest.approx(whole.sigma(0) / 2)
    for i in range(4):
        for size in (192, 256), (7, 5):
            counts = [data.count_map(r.points(i), r.native_size(i), size) for r in (whole, copy)]
            assert torch.equal(*counts)


def test_many_small_files_use_processes(tmp_path):
    assert list(sources.in_processes(abs, iter(range(-600, 0)), 600)) == list(range(600, 0, -1))


# --- what is refused, and what it leaves ---

MEMBERS = dict(
    osie='1003.jpg',
    crowd='fixations.mat',
    scene='fixations.mat',
    salicon='000000000008.mat',
    mit1003='.jpeg',
    cat2000='Art/001.mat',
    pascals='pascalFix.mat',
    dutomron='im005.mat',
    fiwi='all5/page2.png',
    fiwi51='(2).png',
)


def damage(kind, archives, name, folder):
    "Archives that must be refused, from good ones. The largest is the one that suffers."
    victim = max(archives, key=lambda a: a.stat().st_size)
    whole = victim.read_bytes()
    if kind == 'truncated':
        victim.write_bytes(whole[: len(whole) * 2 // 3])
    if kind == 'quota page':
        victim.write_bytes(b'\n<!DOCTYPE html><html>Google Drive: Quota exceeded</html>')
    if kind == 'empty':
        victim.write_bytes(b'')
    if kind == 'another archive':
        archives[:] = [fake.zipped(folder / 'other.zip', {'readme.txt': b'hello', 'photo.jpg': fake.picture(0)})]
    if kind == 'missing member':
        fake.ALL[name](folder, drop=[MEMBERS[name]])
    if kind in ('corrupt picture', 'flipped bit', 'corrupt mat'):
        for a in archives:
            damage_member(a, kind)
    return archives


PICTURES = re.compile(r'(timuli|images/|imgs|image/|targets).*\.(jpg|jpeg|png)$', re.IGNORECASE)


def damage_member(archive, kind):
    "Cut the first picture or MATLAB file of an archive in half, or flip one of its bits."
    fits = re.compile(r'\.mat$') if kind == 'corrupt mat' else PICTURES
    members = fake.contents(archive)
    hit = next((n for n in members if 'MACOSX' not in n and fits.search(n)), None)
    if hit is None:
        return
    if kind == 'flipped bit':
        raw = bytearray(archive.read_bytes())
        raw[raw.index(members[hit]) + len(members[hit]) // 2] ^= 4
        archive.write_bytes(raw)
    else:
        fake.zipped(archive, members | {hit: members[hit][: len(members[hit]) // 2]})


KINDS = [
    'truncated',
    'quota page',
    'empty',
    'another archive',
    'missing member',
    'corrupt picture',
    'flipped bit',
    'corrupt mat',
]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', fake.ALL)
def test_bad_archive_is_refused_and_leaves_nothing(tmp_path, name, kind):
    if name == 'fiwi' and kind == 'corrupt mat':
        pytest.skip('FIWI has no MATLAB file')
    source, archives, _ = fake.ALL[name](tmp_path)
    archives = damage(kind, list(archives), name, tmp_path)
    with pytest.raises(ValueError) as e:
        get(source, archives, tmp_path / 'root')
    assert '\n' not in str(e.value) and len(str(e.value)) < 1200
    assert not (tmp_path / 'root').exists()
    _, archives, planted = fake.ALL[name](tmp_path)  # and nothing stands in the way of a good one
    assert len(data.read_recording(get(source, archives, tmp_path / 'root'))) == len(planted)


def test_a_bad_replacement_leaves_the_good_one(tmp_path):
    source, archives, _ = fake.ALL['osie'](tmp_path)
    folder = get(source, archives, tmp_path / 'root')
    with pytest.raises(ValueError):
        get(source, damage('corrupt picture', archives, 'osie', tmp_path), tmp_path / 'root', overwrite=True)
    assert len(data.read_recording(folder)) == 4 and [f.name for f in folder.parent.iterdir()] == ['osie']


def test_no_member_can_name_a_place_on_the_disk(tmp_path):
    source, archives, planted = fake.ALL['osie'](tmp_path)
    members = fake.contents(archives[0])
    evil = {
        '../../data/stimuli/evil.jpg': fake.picture(0),
        '/data/stimuli/evil2.jpg': fake.picture(0),
        'C:\\data\\stimuli\\evil3.jpg': fake.picture(1),
    }
    fake.zipped(archives[0], members | evil)
    before = set(tmp_path.rglob('*'))
    with pytest.raises(ValueError):
        get(source, archives, tmp_path / 'root')  # these pictures have no fixations
    assert set(tmp_path.rglob('*')) == before and not (tmp_path.parent / 'data').exists()


def test_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / 'bomb.zip', 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr('data/eye/fixations.mat', bytes(100 << 20))
    began = time.process_time()
    with pytest.raises(ValueError, match='would unpack'):
        get(sources.source_of('osie'), [tmp_path / 'bomb.zip'], tmp_path / 'root')
    assert time.process_time() - began < 1


def test_duplicate_names_are_refused(tmp_path):
    facts = dict(pixels_per_degree=5, authors=dict(n_train=2, sigma_px=4))
    pictures = [(n, fake.picture(0)) for n in ('a.jpg', 'b.jpg', 'A.JPG')]
    none = dict.fromkeys(('image_id', 'subject', 'order', 'x', 'y'), [])
    with pytest.raises(ValueError, match='unique.*A.JPG'):
        data.write_recording(tmp_path / 'root/x', facts, pictures, none)
    assert not (tmp_path / 'root').exists()


def test_nan_coordinates_are_kept_marked_and_reported(tmp_path):
    facts = dict(pixels_per_degree=20, authors=dict(n_train=2, sigma_px=4))
    columns = dict(image_id=[0, 0, 1, 2], subject=[0] * 4, order=[0, 1, 0, 0])
    columns |= dict(x=[5, np.nan, 6, -9], y=[5, 4, np.nan, 3])
    data.write_recording(tmp_path / 'odd', facts, [(f'{i}.jpg', fake.picture(i)) for i in range(3)], columns)
    r = data.load_recording('odd', tmp_path)
    assert r.inside.tolist() == [True, False, False, False] and len(r.x) == 4 and r.points(0).tolist() == [[5, 5]]
    assert data.load_dataset('odd', 'trainval', root=tmp_path, size=(30, 40))[0]['density'].isfinite().all()
    checks = sources.verify('odd', tmp_path).set_index('check').found
    assert checks['in frame'] == '1 of 4, 2 have no coordinates'
    assert checks['pictures without fixations'] == '2'


@contextlib.contextmanager
def files_of_at_most(n):
    "No file may grow beyond n bytes: what a full disk does to a write."
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_full(tmp_path):
    "A limit on file size stands for a full disk: the write fails in the middle."
    source, archives, _ = fake.ALL['salicon'](tmp_path)
    with files_of_at_most(4000), pytest.raises(OSError, match='too large'):  # smaller than one picture
        get(source, archives, tmp_path / 'root')
    assert not (tmp_path / 'root').exists()
    assert len(data.read_recording(get(source, archives, tmp_path / 'root'))) == 5


def disk_with(monkeypatch, free):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: SimpleNamespace(free=free))


def test_too_little_disk_is_said_before_the_download(tmp_path, monkeypatch):
    disk_with(monkeypatch, free=1 << 20)
    with pytest.raises(OSError, match='needs about 10000 MB.*1 MB free'):
        sources.get('salicon', root=tmp_path / 'root')
    assert not (tmp_path / 'root').exists()


def test_what_a_killed_process_left_is_cleared_or_put_back(tmp_path):
    source, archives, _ = fake.ALL['osie'](tmp_path)
    root = tmp_path / 'root'
    folder = get(source, archives, root)
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    (root / f'.osie.{dead.pid}.partial/stimuli').mkdir(parents=True)
    os.rename(folder, root / f'.osie.{dead.pid}.old')  # killed between the two renames of a replacement
    with pytest.raises(FileNotFoundError):
        data.load_recording('osie', root)
    with pytest.raises(FileExistsError):
        sources.prepare(source, archives, root)  # it is back
    assert len(data.load_recording('osie', root)) == 4
    assert [f.name for f in root.iterdir()] == ['osie']
    (root / f'.osie.{dead.pid}.old').mkdir()  # killed after the last rename
    get(source, archives, root)  # prepared already, and tidies up
    assert [f.name for f in root.iterdir()] == ['osie']


def test_one_process_at_a_time(tmp_path):
    source, archives, _ = fake.ALL['osie'](tmp_path)
    root = tmp_path / 'root'
    with recordings.sole_writer(root / 'osie'):
        with pytest.raises(RuntimeError, match='another process is preparing'):
            get(source, archives, root)
    assert not root.exists() or not any(root.iterdir())
    found = []

    def one():
        try:
            found.append(get(source, archives, root))
        except Exception as e:
            found.append(e)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(data.load_recording('osie', root)) == 4
    assert all(isinstance(f, (Path, RuntimeError, FileExistsError)) for f in found), found
    assert [f.name for f in root.iterdir()] == ['osie']


# --- found by a reviewer, each failed before ---


def test_prepared_set_is_no_archive(tmp_path):
    source, archives, _ = fake.ALL['osie'](tmp_path)
    folder = get(source, archives, tmp_path / 'root')
    with pytest.raises(ValueError, match='is a prepared set'):
        get(source, [folder], tmp_path / 'other')  # its points would move by a pixel


def test_missing_trial_of_mit1003(tmp_path):
    source, archives, _ = fake.mit1003(tmp_path, drop=['ajs/i1.mat'])
    with pytest.raises(ValueError, match='lacks 1 of 9 trials, the first is DATA/ajs/i1.mat'):
        get(source, archives, tmp_path / 'root')


def test_other_edition_of_salicon(tmp_path, monkeypatch):
    source, archives, planted = fake.salicon(tmp_path)
    n = sum(map(len, planted.values()))
    other = replace(sources.source_of('salicon2015'), published=dict(fixations=n))
    with_other = sources.catalogue() | dict(salicon2015=other)
    monkeypatch.setattr(sources, 'catalogue', lambda: with_other)
    with pytest.raises(ValueError, match='salnas_data get salicon2015'):
        get(replace(source, published=dict(fixations=n + 5)), archives, tmp_path / 'root')
    _, archives, _ = fake.salicon_json(tmp_path)
    with pytest.raises(ValueError, match='first release: salnas_data get salicon2015'):
        get(source, archives, tmp_path / 'root')


def test_authors_protocol_needs_the_official_maps(tmp_path):
    source, archives, _ = fake.salicon(tmp_path)
    get(source, archives[:2], tmp_path / 'root')  # maps.zip is optional
    assert data.load_dataset('salicon', root=tmp_path / 'root')[0]['density'].sum() == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="takes maps of salicon from its archive"):
        data.load_dataset('salicon', root=tmp_path / 'root', protocol='authors')[0]


def test_some_maps_are_not_enough(tmp_path):
    source, archives, _ = fake.salicon(tmp_path, drop=['000000000008.png'])
    with pytest.raises(ValueError, match='4 maps for 5 pictures'):
        get(source, archives, tmp_path / 'root')


@pytest.mark.parametrize('name', fake.ALL)
def test_archive_given_twice(tmp_path, name):
    source, archives, _ = fake.ALL[name](tmp_path)
    with pytest.raises(ValueError):
        get(source, [*archives, *archives], tmp_path / 'root')


def test_exif_notes_of_a_benchmark_are_ignored(tmp_path):
    "Coordinates belong to the pixels as they are stored."
    note = Image.Exif()
    note[0x0112] = 6
    pictures = []
    for i in range(3):
        Image.open(io.BytesIO(fake.picture(i))).save(tmp_path / f'{i}.jpg', exif=note)
        pictures.append((f'{i}.jpg', (tmp_path / f'{i}.jpg').read_bytes()))
    columns = dict(image_id=[0, 1, 2], subject=[0] * 3, order=[0] * 3, x=[75] * 3, y=[3] * 3)
    facts = dict(pixels_per_degree=5, authors=dict(n_train=2, sigma_px=4))
    data.write_recording(tmp_path / 'root/theirs', facts | dict(exif=False), pictures, columns)
    data.write_recording(tmp_path / 'root/mine', facts, pictures, columns)
    theirs, mine = data.load_recording('theirs', tmp_path / 'root'), data.load_recording('mine', tmp_path / 'root')
    assert theirs.native_size(0) == (60, 80) == theirs.read(0).shape[:2] and theirs.inside.all()
    assert mine.native_size(0) == (80, 60) == mine.read(0).shape[:2] and not mine.inside.any()
    assert all(s.meta['exif'] is False for s in sources.catalogue().values())


def test_zip_that_lies_about_its_sizes(tmp_path):
    with zipfile.ZipFile(tmp_path / 'liar.zip', 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr('a.mat', bytes(60 << 20))
    raw = bytearray((tmp_path / 'liar.zip').read_bytes())
    at = raw.index(b'PK\x01\x02')
    raw[at + 24 : at + 28] = struct.pack('<I', 1000)  # the directory's uncompressed size
    (tmp_path / 'liar.zip').write_bytes(raw)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with sources.Archives([tmp_path / 'liar.zip']) as a, pytest.raises(ValueError, match='damaged at a.mat'):
        a.find('a.mat').read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KB


@pytest.mark.parametrize('name', fake.ALL)
def test_damage_anywhere_is_one_sentence(tmp_path, name, changes=2):
    """Bits changed in extracted members (no checksum guards them), `changes` times; 400 in all in tests/slow.

    Prepared all the same, or refused in a sentence; never anything else."""
    source, archives, _ = fake.ALL[name](tmp_path)
    folder = fake.extracted(archives, tmp_path / 'extracted')
    for file in fake.damaged(folder, changes):
        try:
            get(source, [folder], tmp_path / 'root')
        except (ValueError, OSError) as e:
            assert '\n' not in str(e).strip(), file
        shutil.rmtree(tmp_path / 'root', ignore_errors=True)


def test_damaged_scanpaths_of_cat2000(tmp_path):
    pytest.importorskip('matio')
    source, archives, _ = fake.cat2000(tmp_path, scanpaths=True)
    members = fake.contents(archives[0])
    for content in fake.mat(other=1), b'garbage', members['trainSet/allFixData.mat'][:300]:
        fake.zipped(archives[0], members | {'trainSet/allFixData.mat': content})
        with pytest.raises(ValueError, match='allFixData.mat cannot be read'):
            get(source, archives, tmp_path / 'root')


def test_disk_check_counts_what_is_there(tmp_path, served, monkeypatch):
    source, handler, _ = served
    sources.fetch(source.files[0], tmp_path / 'root/.downloads/osie', quiet=True)
    disk_with(monkeypatch, free=(1 << 20) - 9000)
    get(source, (), tmp_path / 'root', quiet=True)  # needs 1 MB, of which the archive is a part


def test_zip_by_another_name(tmp_path):
    source, archives, _ = fake.ALL['osie'](tmp_path)
    os.rename(archives[0], tmp_path / 'osie.zip?dl=1')
    assert len(data.read_recording(get(source, [tmp_path / 'osie.zip?dl=1'], tmp_path / 'root'))) == 4


def test_damaged_download_is_not_remembered(tmp_path, served):
    "Without a published checksum: damage inside the zip is noticed, and not held against the next download."
    source, handler, _ = served
    source = replace(source, files=(replace(source.files[0], digest=''),))
    handler.mood = 'wrong byte'
    with pytest.raises(ConnectionError, match='damaged'):
        get(source, (), tmp_path / 'root', quiet=True)
    handler.mood = 'right'
    assert len(data.read_recording(get(source, (), tmp_path / 'root', quiet=True))) == 4


def test_certificate_that_is_not_valid(tmp_path, monkeypatch):
    "Only a published checksum can stand in for it; the error says what is wrong."
    import gdown
    import requests

    source, archives, _ = fake.ALL['osie'](tmp_path)
    asked = []

    def download(url, output, verify=True, **_):
        asked.append(verify)
        if verify:
            raise requests.exceptions.SSLError('self-signed')
        shutil.copy(archives[0], output)

    monkeypatch.setattr(gdown, 'download', download)
    file = sources.File('a.zip', ('https://x/a.zip',))
    with pytest.raises(ConnectionError, match='its certificate is not valid'):
        sources.fetch(file, tmp_path / 'a', quiet=True, sleep=lambda s: None)
    assert asked == [True]
    known = replace(file, digest='md5:' + data.checksum(archives[0], 'md5'))
    assert sources.fetch(known, tmp_path / 'b', quiet=True).exists()
    assert asked[1:] == [True, False]


def test_point_maps_of_any_grey_give_the_authors_marks(tmp_path):
    "Their code stretches FIWI's maps to 8 bits before it cuts them."
    source, archives, planted = fake.fiwi(tmp_path)
    members = fake.contents(archives[0])
    marks = {n: np.array(Image.open(io.BytesIO(d))) > 0 for n, d in members.items() if 'all5' in n}
    found = []
    for value in 1, 255:
        root = tmp_path / f'root{value}'
        faint = {n: fake.grey(m.astype(np.uint8) * np.uint8(value)) for n, m in marks.items()}
        fake.zipped(archives[0], members | faint)
        get(source, archives, root)
        found.append(data.load_dataset('fiwi', root=root, protocol='authors', size=(41, 57)).maps(0)[1])
    assert torch.equal(*found) and found[0].sum() > 0


def test_authors_density_is_not_rounded(tmp_path):
    source, archives, _ = fake.salicon(tmp_path)
    get(source, archives, tmp_path / 'root')
    density = data.load_dataset('salicon', root=tmp_path / 'root', protocol='authors', size=(100, 130)).maps(0)[0] * 255
    assert (density - density.round()).abs().max() > 0.1


def test_broken_page_is_named(tmp_path):
    source, archives, _ = fake.fiwi(tmp_path)
    members = fake.contents(archives[0])
    fake.zipped(archives[0], members | {'webpage/stimuli/page2.png': members['webpage/stimuli/page2.png'][:200]})
    with pytest.raises(ValueError, match='page2.png'):
        get(source, archives, tmp_path / 'root')


def test_picture_cache_of_a_killed_process_goes(tmp_path):
    source, archives, _ = fake.ALL['osie'](tmp_path)
    cache = get(source, archives, tmp_path / 'root') / 'cache'
    cache.mkdir()
    left, fresh = cache / '.images_9x9-0.npy.99999', cache / '.images_9x9-0.npy.99998'
    left.touch()
    fresh.touch()
    os.utime(left, (0, 0))  # the other may still be written
    data.load_dataset('osie', root=tmp_path / 'root', size=(30, 40))
    assert not left.exists() and fresh.exists()


# --- the network ---


class Server(http.server.BaseHTTPRequestHandler):
    "Serves files of a folder; `mood` says how: right, cut, 429, html, wrong byte, no ranges, slow."

    folder, mood, asked = None, 'right', Counter()

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked[self.path] += 1
        body = (self.folder / self.path.rsplit('/', 1)[-1]).read_bytes()
        mood, first = self.mood, self.asked[self.path] == 1
        if mood == '429' and first:
            self.send_response(429)
            self.send_header('Retry-After', '1')
            self.end_headers()
            return
        if mood == 'always 429':
            self.send_response(429)
            self.end_headers()
            return
        if mood == 'html':
            body = b'<!DOCTYPE html><html>Too many users have viewed this file</html>'
        if mood == 'wrong byte':
            body = body[:200] + bytes([body[200] ^ 1]) + body[201:]
        start = int(self.headers['Range'][6:].split('-')[0]) if 'Range' in self.headers and mood != 'no ranges' else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(body) - 1}/{len(body)}')
        self.send_header('Content-Length', str(len(body) - start))
        self.end_headers()
        body = body[start:]
        self.wfile.write(body[: len(body) // 2] if mood in ('cut', 'no ranges') and self.asked[self.path] < 3 else body)


@pytest.fixture
def served(tmp_path, monkeypatch):
    "A small OSIE behind a server; returns (source, mood setter)."
    source, archives, _ = fake.ALL['osie'](tmp_path)
    handler = type('Moody', (Server,), dict(folder=tmp_path, asked=Counter()))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}'
    file = sources.File('osie.zip', (f'{url}/a/osie.zip',), digest='sha256:' + data.checksum(archives[0]))
    # nobody waits, neither between our tries nor, for a random time, between gdown's
    monkeypatch.setattr(sources, 'fetch', functools.partial(sources.fetch, sleep=lambda s: None))
    monkeypatch.setattr('random.uniform', lambda low, high: low)
    yield replace(source, files=(file,), megabytes=1), handler, url
    server.shutdown()


@pytest.mark.parametrize('mood', ['right', 'cut', '429', 'no ranges'])
def test_download_in_spite_of_the_server(tmp_path, served, mood):
    source, handler, _ = served
    handler.mood = mood
    folder = get(source, (), tmp_path / 'root', quiet=True)
    assert len(data.read_recording(folder)) == 4
    assert sorted(f.name for f in (tmp_path / 'root/.downloads/osie').iterdir()) == ['.lock', 'SHA256SUMS', 'osie.zip']


@pytest.mark.parametrize(
    'mood, said', [('html', 'web page'), ('wrong byte', 'its sha256 is'), ('always 429', 'HTTP 429')]
)
def test_download_that_must_fail(tmp_path, served, mood, said):
    source, handler, url = served
    handler.mood = mood
    with pytest.raises(ConnectionError, match=f'{said}.*--archive FILE') as e:
        get(source, (), tmp_path / 'root', quiet=True)
    assert '\n' not in str(e.value) and source.page in str(e.value) and not (tmp_path / 'root/osie').exists()
    assert not list((tmp_path / 'root').rglob('*.zip'))
    handler.mood = 'right'
    assert len(data.read_recording(get(source, (), tmp_path / 'root', quiet=True))) == 4  # the next get completes


def test_server_that_is_gone_and_a_mirror(tmp_path, served):
    source, handler, url = served
    file = source.files[0]
    gone = 'http://127.0.0.1:9/osie.zip'  # nobody listens there
    nowhere, twice = (replace(source, files=(replace(file, urls=u),)) for u in ((gone,), (gone, *file.urls)))
    with pytest.raises(ConnectionError, match='the connection failed'):
        get(nowhere, (), tmp_path / 'root', quiet=True)
    assert len(data.read_recording(get(twice, (), tmp_path / 'root', quiet=True))) == 4


def test_optional_file_that_cannot_be_had(tmp_path, served):
    source, handler, url = served
    said = []
    files = source.files + (sources.File('maps.zip', ('http://127.0.0.1:9/maps.zip',), optional=True),)
    sources.get('osie', (), tmp_path / 'root', source=replace(source, files=files), quiet=True, say=said.append)
    assert any('goes on without maps.zip' in s for s in said)


def test_drive_and_dropbox_links_are_understood():
    "Only that the fetcher knows what they are; no network here."
    from gdown.parse_url import parse_url

    for s in sources.catalogue().values():
        for f in s.files:
            assert f.urls and all(re.match(r'https?://\S+$', u) for u in f.urls)
            for u in f.urls:
                if 'drive.google' in u:
                    assert parse_url(u)[0]
                if 'dropbox' in u:
                    assert u.endswith('dl=1')


# --- the command ---


@pytest.fixture
def command(capsys):
    "The command with these arguments; returns exit code, output and errors."

    def run(*arguments):
        code = 0
        try:
            data_command.data_command([*map(str, arguments)])
        except SystemExit as e:
            code = e.code
        return code, *capsys.readouterr()

    return run


def test_command_lists_every_set(tmp_path, command):
    code, out, err = command('list', '--root', tmp_path)
    assert code == 0 and all(n in out for n in data.BENCHMARKS) and out.count('not here') == len(data.BENCHMARKS)
    code, out, err = command('list', 'mit1003', '--root', tmp_path)
    assert code == 0 and all(w in out for w in ('DATA.zip', 'md5:ea19', 'ICCV 2009', 'none stated', '35 px'))


def test_command_does_without_torch(tmp_path):
    "Importing it takes seconds, and neither listing, nor getting, nor verifying computes with it."
    asked = f"from salnas.data_command import data_command; data_command(['list', '--root', {str(tmp_path)!r}])"
    seen = f'{asked}; import sys; sys.exit("torch" in sys.modules and "torch was imported")'
    done = subprocess.run([sys.executable, '-c', seen], capture_output=True, text=True, cwd=HERE)
    assert done.returncode == 0 and 'salicon' in done.stdout, done.stderr


def test_command_whose_reader_has_gone_is_quiet(tmp_path):
    asked = f"from salnas.data_command import data_command; data_command(['list', '--root', {str(tmp_path)!r}])"
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([sys.executable, '-c', asked], stdout=writes, stderr=subprocess.PIPE, text=True, cwd=HERE)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, '')


@pytest.mark.parametrize(
    'arguments, words',
    [
        (('get', 'osie', '--archive', 'bad.zip'), 'bad.zip is a web page'),
        (('get', 'osie', '--archive', 'none.zip'), 'none.zip'),
        (('get', 'oise'), 'unknown data set'),
        (('verify', 'osie'), 'salnas_data get osie'),
        (('show', 'osie'), 'salnas_data get osie'),
        (('get', 'salicon51'), 'reduced copy'),
    ],
)
def test_command_says_one_sentence(tmp_path, monkeypatch, command, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path('bad.zip').write_bytes(b'<html>')
    code, out, err = command(*arguments, '--root', 'root')
    assert code == 1 and err.startswith(arguments[1] + ': ') and words in err and len(err.splitlines()) == 1, err
    assert not Path('root').exists()


def test_script_says_one_sentence(tmp_path):
    "In a process of its own, as people run it."
    (tmp_path / 'bad.zip').write_bytes(b'<html>')
    script = [sys.executable, HERE / 'data_scripts/osie.py', '--root', tmp_path / 'root']
    done = subprocess.run(
        [*script, '--archive', tmp_path / 'bad.zip'],
        capture_output=True,
        text=True,
        env=os.environ | dict(PYTHONPATH=str(HERE)),
    )
    assert done.returncode == 1 and done.stderr.startswith('osie: ') and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / 'root').exists()


def test_names_of_older_scripts():
    "A script that somebody wrote from an earlier one still finds what it imports."
    assert sources.main is data_command.data_command is sources.data_command
    assert sources.columns is sources.columns_of
    assert sources.verify and sources.contact_sheet and sources.listing
    with pytest.raises(AttributeError, match='no_such'):
        sources.no_such


def test_verify_and_show(tmp_path, command):
    source, archives, _ = fake.ALL['crowd'](tmp_path)
    root = tmp_path / 'root'
    folder = get(source, archives, root)
    code, out, err = command('verify', 'crowd', '--root', root)  # four pictures are no EyeCrowd
    assert code == 1 and 'BAD  images: 4, expected 500' in out
    assert command('show', 'crowd', '--root', root, '--out', tmp_path / 'sheet.png', '--n', '3')[0] == 0
    assert min(Image.open(tmp_path / 'sheet.png').size) > 200
    code, out, err = command('show', 'crowd', '--data-root', root, '--out', tmp_path / 'maps', '--n', '3')
    assert code == 0 and f'contact sheet in {tmp_path}/maps.png\n' in out and not (tmp_path / 'maps').exists()
    assert (tmp_path / 'maps.png').read_bytes()[1:4] == b'PNG'
    code, out, err = command('show', 'crowd', '--n', '0')
    assert code == 2 and 'argument --n: must be at least 1, got 0' in err
    (folder / 'fixations.npz').write_bytes((folder / 'fixations.npz').read_bytes()[:-40])
    code, out, err = command('verify', 'crowd', '--root', root)
    assert code == 1 and 'prepare it again' in err


@pytest.mark.skipif(shutil.which('sha256sum') is None, reason='no sha256sum here')
def test_checksums_are_what_sha256sum_reads(tmp_path):
    source, archives, _ = fake.ALL['pascals'](tmp_path)
    folder = get(source, archives, tmp_path / 'root')
    assert subprocess.run(['sha256sum', '--quiet', '--strict', '-c', 'SHA256SUMS'], cwd=folder).returncode == 0


def test_every_script_says_what_it_must():
    found = sources.catalogue()
    assert tuple(found) == data.BENCHMARKS and {p.stem for p in (HERE / 'data_scripts').glob('*.py')} <= {*found}
    for s in found.values():
        assert s.citation and s.licence and s.edition and s.pixels_per_degree_source
        assert s.page.startswith('http') and s.expected['images'] > s.authors['n_train']
        json.dumps(s.meta)


def test_pysaliency_there_and_back(tmp_path):
    pysaliency = pytest.importorskip('pysaliency')
    source, archives, planted = fake.ALL['osie'](tmp_path)
    r = data.read_recording(get(source, archives, tmp_path / 'root'))
    stimuli, fixations = data.to_pysaliency(r)
    assert len(stimuli) == 4 and len(fixations.x) == r.inside.sum()
    data.from_pysaliency(tmp_path / 'root/back', stimuli, fixations)
    back = data.load_recording('back', tmp_path / 'root')
    for i in range(4):
        assert (back.read(i) == r.read(i)).all()
        there, again = (
            sorted((int(q.subject[k]), round(q.x[k], 9), round(q.y[k], 9)) for k in q.rows(i)) for q in (r, back)
        )
        assert there == again
        # and each in the pixel that pysaliency cuts it to
        mine = fixations.n == i
        pixels = np.floor(r.points(i) + 0.5).astype(int)
        assert sorted(zip(fixations.x_int[mine], fixations.y_int[mine])) == sorted(map(tuple, pixels.tolist()))
    plain = (
        pysaliency.Stimuli([np.zeros((9, 12, 3), np.uint8)] * 3),
        pysaliency.Fixations.create_without_history([1.5, 2.5], [3.5, 4.5], [0, 2]),
    )
    data.from_pysaliency(tmp_path / 'root/arrays', *plain, pixels_per_degree=4)
    assert data.load_recording('arrays', tmp_path / 'root').points(2).tolist() == [[2, 4]]


def test_train_command_feeds_authors_data_with_their_normalisation(tmp_path):
    from salnas.train import train_command
    from salnas.training import load_checkpoint

    source, archives, _ = fake.nested(tmp_path, 'osie', n=8)
    get(replace(source, authors=source.authors | dict(n_train=5)), archives, tmp_path / 'root')
    for protocol, mean in (('authors', [0.5] * 3), ('native', [0.485, 0.456, 0.406])):
        where = f'--data-root {tmp_path / "root"} --output-dir {tmp_path / protocol}'
        how = f'--profile smoke --kd none --protocol {protocol} --set epochs=1 batch_size=4 n_random=0'
        train_command(f'--dataset osie {where} {how}'.split())
        assert load_checkpoint(tmp_path / protocol / 'largest/net.safetensors').mean.tolist() == pytest.approx(mean)
