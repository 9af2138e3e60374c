"""Small archives in the official layouts, with fixations known beforehand.

Each builder writes archives into a folder and returns (source, archives, planted): the `Source` with its counts set to
this small one, the paths to give, and for every picture the rows (viewer, x, y) that must come out, in this project's
coordinates, in the order of looking. What a builder wrote once is kept in memory, and only copied the next time."""

import functools
import io
import json
import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from salnas.sources import catalogue

SIZES = [(80, 60), (60, 80), (72, 54)]  # width, height of the pictures in turn


def kept(builder):
    "A builder that does its work once for each way it is called."
    made = {}

    @functools.wraps(builder)
    def build(folder, *arguments, **options):
        key = repr((arguments, sorted(options.items())))
        if key not in made:
            aside = Path(tempfile.mkdtemp())
            source, archives, planted = builder(aside, *arguments, **options)
            files = {f.name: f.read_bytes() for f in aside.iterdir()}
            made[key] = source, [a.name for a in archives], planted, files
            shutil.rmtree(aside)
        source, names, planted, files = made[key]
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return source, [folder / n for n in names], planted

    return build


def noise(i, shape):
    "Random 8-bit pixels; a large picture in blocks of 8 x 8, which are quick to compress."
    block = 8 if max(shape) > 200 else 1
    h, w = -(-shape[0] // block), -(-shape[1] // block)
    pixels = np.random.default_rng(i).integers(0, 255, (h, w, *shape[2:]), dtype=np.uint8)
    return pixels.repeat(block, 0).repeat(block, 1)[: shape[0], : shape[1]]


def picture(i, size=(80, 60), format='jpeg'):
    file = io.BytesIO()
    Image.fromarray(noise(i, (*size[::-1], 3))).save(file, format)
    return file.getvalue()


def grey(array, format='png', **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format, **options)
    return file.getvalue()


def mat(**variables):
    file = io.BytesIO()
    savemat(file, variables, do_compression=True)
    return file.getvalue()


def zipped(file, members, drop=()):
    "A zip file; members whose path ends in one of drop are left out."
    with zipfile.ZipFile(file, 'w') as z:
        for name, content in members.items():
            if not name.endswith(tuple(drop) or '\0'):
                z.writestr(name, content)
    return file


def struct(**fields):
    return np.array([[tuple(fields.values())]], dtype=[(k, 'O') for k in fields])


def cell(items):
    out = np.empty((len(items), 1), object)
    for i, item in enumerate(items):
        out[i, 0] = item
    return out


def source(name, planted, n_train=None, **changes):
    "The catalogue's source with the counts of a small set."
    s = catalogue()[name]
    viewers = {v for rows in planted.values() for v, *_ in rows if v >= 0}
    counts = dict(images=len(planted), viewers=len(viewers), fixations=sum(map(len, planted.values())))
    authors = s.authors | dict(n_train=n_train or len(planted) - 1) | changes.pop('authors', {})
    return replace(s, expected={k: counts[k] for k in s.expected}, published={}, authors=authors, **changes)


def random_points(n, size, seed, decimals=None, low=0):
    "(n,2) official coordinates within a picture, counted from low."
    p = np.random.default_rng(seed).uniform([low, low], [size[0] - 1 + low, size[1] - 1 + low], (n, 2))
    return p.round(decimals) if decimals is not None else p.round().astype(int)


@kept
def nested(folder, name, drop=(), jpeg=None, viewers=3, looks=5, n=4):
    """OSIE and EyeCrowd: one folder on top as GitHub makes it, structs within structs, pictures stored in reverse.

    One viewer did not see the last picture."""
    planted, entries, members = {}, [], {}
    for i in range(n):
        size, rows, subjects = SIZES[i % 3], [], []
        for v in range(viewers):
            p = random_points(looks, size, [i, v], 1, low=1)
            if i == v == 0:
                p[0] = 85, 30  # beside the picture
            if i == n - 1 and v == 1:
                subjects.append(np.empty((0, 0)))
                continue
            if i == 1 and v == 0:
                p = p[:1]  # MATLAB knows no lists: a single fixation is a number
            duration = np.arange(100, 100 + len(p), dtype=np.uint16)
            subjects.append(struct(fix_x=p[None, :, 0], fix_y=p[None, :, 1], fix_duration=duration[None]))
            rows += [(v, x, y) for x, y in p - 1]
        planted[f'{1001 + i}.jpg'] = rows
        entries.append(struct(img=f'{1001 + i}.jpg', subjects=cell(subjects)))
    members['top-master/data/eye/fixations.mat'] = mat(fixations=cell(entries))
    members |= {'top-master/README.md': b'read me', 'top-master/data/mouse/fixations.txt': b'other'}
    for i in reversed(range(n)):
        members[f'top-master/data/stimuli/{1001 + i}.jpg'] = jpeg or picture(i, SIZES[i % 3])
    return source(name, planted), [zipped(folder / f'{name}.zip', members, drop)], planted


@kept
def scene(folder, drop=()):
    planted, cells, members = {}, np.empty((4, 12), object), {}
    for i in range(4):
        size, rows = SIZES[i % 3], []
        for v in range(12):
            p = np.random.default_rng([i, v]).uniform(0, size, (3, 2))
            if v == 5 and i == 0:
                p = p[:0]  # viewer 5 did not see the first
            cells[i, v] = np.column_stack([p[:, 1], p[:, 0], np.zeros(len(p)), np.full(len(p), 0.25)])
            rows += [(v, x, y) for x, y in p - 0.5]
        planted[f'{i + 1:03d}.jpg'] = rows
        members[f'Scene-1/data/stimuli/{i + 1:03d}.jpg'] = picture(i, size)
        members[f'Scene-1/data/featuremap/red/{i + 1:03d}.jpg'] = picture(9, (5, 5))  # of the same name
    members['Scene-1/data/tidy/fixations.mat'] = mat(fixations=cells)
    return source('scene', planted), [zipped(folder / 'scene.zip', members, drop)], planted


@kept
def salicon(folder, drop=()):
    size, planted, images, gaze, maps = (640, 480), {}, {}, {}, {}
    for i, split in enumerate(['train', 'train', 'train', 'val', 'val', 'test']):
        stem, rows, workers = f'COCO_{split}2014_{i + 7:012d}', [], []
        images[f'images/{split}/{stem}.jpg'] = picture(i, size)
        for v in range(2 + i % 2):
            p = random_points(4, size, [i, v], low=1).astype(np.uint16)
            if v == 0:
                p[0] = 1, 1
                p[1] = 640, 480  # the corners; unsigned numbers must not wrap
            if i == 1 and v == 1:
                p = p[:0]
            workers.append((p + 3, np.arange(len(p)), p))
            rows += [(v, int(x) - 1, int(y) - 1) for x, y in p]
        if split == 'test':
            gaze[f'{split}/{stem}.mat'] = mat(resolution=[480, 640])
            continue
        gaze[f'{split}/{stem}.mat'] = mat(resolution=[480, 640], gaze=_gaze(workers))
        maps[f'{split}/{stem}.png'] = grey(noise(i, size[::-1]))
        planted[f'{stem}.jpg'] = rows
    archives = [
        zipped(folder / 'images.zip', images, drop),
        zipped(folder / 'fixations.zip', gaze, drop),
        zipped(folder / 'maps.zip', maps, drop),
    ]
    return source('salicon', planted, 3), archives, planted


def _gaze(workers):
    out = np.zeros((len(workers), 1), dtype=[('location', 'O'), ('timestamp', 'O'), ('fixations', 'O')])
    for k, w in enumerate(workers):
        out[k, 0] = w
    return out


@kept
def salicon_json(folder):
    "The first release's JSON: [[row, column], ...] per worker, from 1."
    s, archives, planted = salicon(folder)
    names = sorted(planted)
    for split in 'train', 'val':
        mine = [(i, n) for i, n in enumerate(names) if f'_{split}2014_' in n]
        images = [dict(id=100 + i, file_name=n, width=640, height=480) for i, n in mine]
        looks = []
        for i, n in mine:
            for k, v in enumerate(sorted({u for u, *_ in planted[n]})):
                points = [[int(y) + 1, int(x) + 1] for u, x, y in planted[n] if u == v]
                looks.append(dict(image_id=100 + i, id=k, worker_id=40 + v, fixations=points))
        found = dict(info={'by "x"': [1, ']']}, images=images, licenses=[], type='fixations', annotations=looks)
        (folder / f'fixations_{split}2014.json').write_text(json.dumps(found))
    given = [archives[0], folder / 'fixations_train2014.json', folder / 'fixations_val2014.json']
    return replace(s, name='salicon2015'), given, planted


def gaze_trace(points, hold=60, travel=6):
    "Raw samples that rest exactly on each point and travel fast between: what a perfect tracker sees."
    rows = []
    for a, b in zip(points, [*points[1:], None]):
        rows += [a] * hold
        if b is not None:
            rows += [a + (b - a) * np.sin(0.5 * np.pi * k / travel) ** 2 for k in range(1, travel)]
    return np.array(rows, dtype=np.float64)


@kept
def mit1003(folder, drop=(), kind='gaze'):
    planted, images, gaze, maps, text = {}, {}, {}, {}, {}
    viewers, rng = ['ajs', 'po', 'zb'], np.random.default_rng(3)
    stems = ['i1', 'istatic_' + 'long' * 20, 'i2130']  # MATLAB cuts names at 63 letters
    for i, stem in enumerate(stems):
        size, rows = (SIZES[i][0] * 10, SIZES[i][1] * 10), []
        images[f'ALLSTIMULI/{stem}.jpeg'] = picture(i, size)
        marks = np.zeros(size[::-1], np.uint8)
        for v, viewer in enumerate(viewers):
            corners = np.array([[0.2, 0.2], [0.8, 0.25], [0.75, 0.8], [0.2, 0.75]]) * size
            near = corners[(np.arange(4) + v) % 4] + rng.uniform(-20, 20, (4, 2))
            points = np.concatenate([[np.array(size) / 2], near]).round(2)
            if i == v == 1:
                points[2] = size[0] + 200, 100.0  # beside the picture
            trial = struct(imgName=stem + '.jpeg', DATA=struct(eyeData=gaze_trace(points)))
            gaze[f'DATA/{viewer}/{stem}.mat'] = mat(**{stem[:63]: trial})
            table = '\n'.join(f'{x} {y} {0.3 * k} {0.3 * k + 0.25} ' for k, (x, y) in enumerate(points))
            text[f'FixaTons/MIT1003/SCANPATHS/{stem}/{viewer}'] = table.encode()
            rows += [(v, x, y) for x, y in points[1:] - 1]  # the first is dropped
            for x, y in points[1:].astype(int):
                if x < size[0]:
                    marks[y, x] = 255
        planted[f'{stem}.jpeg'] = rows
        maps |= {
            f'ALLFIXATIONMAPS/{stem}_fixMap.jpg': grey(marks // 3, 'jpeg'),
            f'ALLFIXATIONMAPS/{stem}_fixPts.jpg': grey(marks, 'jpeg', quality=90),
        }
    gaze |= {f'DATA/{v}/CalibrationData.mat': mat(a=1) for v in viewers}
    gaze |= {f'DATA/{v}/shuff_stimnames.mat': mat(b=1) for v in viewers}
    images['__MACOSX/ALLSTIMULI/._i1.jpeg'] = b'junk'
    maps['ALLFIXATIONMAPS/i1fixPts.jpg'] = b'stray'
    parts = dict(
        gaze=[zipped(folder / 'DATA.zip', gaze, drop), zipped(folder / 'ALLFIXATIONMAPS.zip', maps, drop)],
        text=[zipped(folder / 'FixaTons.zip', text, drop)],
        maps=[folder / 'ALLFIXATIONMAPS.zip'],
    )
    return source('mit1003', planted), [zipped(folder / 'ALLSTIMULI.zip', images, drop), *parts[kind]], planted


@kept
def cat2000(folder, drop=(), scanpaths=False):
    "Four categories of two pictures; the pooled maps, or the map of scanpaths in MATLAB's own class."
    planted, members, found = {}, {}, {}
    for c, category in enumerate(['Action', 'Art', 'Fractal', 'Satelite']):
        for k in range(2):
            size, key, rows, cells = (192, 108), f'{category}/{k + 1:03d}.jpg', [], []
            locs = np.zeros(size[::-1], np.uint8)
            for v, viewer in enumerate(['ak', 'bc']):
                p = random_points(4, size, [c, k, v], low=1)
                p[3] = p[2]  # a repeated look
                cells.append(struct(name=f'24-53-{viewer}.eye', data=np.column_stack([p, np.arange(4)]).astype(float)))
                rows += [(v, x, y) for x, y in p - 1]
                locs[p[:, 1] - 1, p[:, 0] - 1] = 1
            planted[key.replace('/', '_')] = rows if scanpaths else [(-1, x, y) for y, x in zip(*np.nonzero(locs))]
            found[key] = cell(cells)
            members |= {
                f'trainSet/Stimuli/{key}': picture([c, k], size),
                f'trainSet/Stimuli/{category}/Output/{k + 1:03d}.jpg': picture(5, size),
                f'trainSet/FIXATIONLOCS/{category}/{k + 1:03d}.mat': mat(fixLocs=locs),
                f'trainSet/FIXATIONMAPS/{key}': grey(locs * 200, 'jpeg'),
            }
    if scanpaths:
        from matio import save_to_mat
        from matio.utils import MatlabContainerMap

        save_to_mat(str(folder / 'allFixData.mat'), {'allData': MatlabContainerMap(found)}, version='v7')
        members['trainSet/allFixData.mat'] = (folder / 'allFixData.mat').read_bytes()
    small = source('cat2000', planted, 4, authors=dict(categories=4))
    return small, [zipped(folder / 'trainSet.zip', members, drop)], planted


@kept
def pascals(folder, drop=()):
    "Twelve pictures, so that 10.jpg sorts before 2.jpg; one without any look, which HDF5 stores as its size."
    planted, members, file = {}, {}, io.BytesIO()
    with h5py.File(file, 'w') as f:
        refs = f.create_dataset('fixCell', (1, 12), dtype=h5py.ref_dtype)
        for i in range(12):
            size, name = SIZES[i % 3], f'{i + 1}.jpg'
            p, viewer = random_points(6, size, i, low=1), np.array([1, 1, 2, 2, 2, 3])
            rows = np.stack([p[:, 1], p[:, 0], viewer]).astype(float)
            if i == 4:
                p, rows = p[:0], np.zeros(2, np.uint64)
            refs[0, i] = f.create_dataset(f'#refs#/{i}', data=rows).ref
            planted[name] = [(v - 1, x - 1, y - 1) for v, (x, y) in zip(viewer, p)]
            members[f'datasets/imgs/pascal/{name}'] = picture(i, size)
            members[f'datasets/algmaps/pascal/humanFix/{i + 1}.png'] = grey(np.full(size[::-1], i, np.uint8))
            members[f'datasets/algmaps/pascal/itti/{i + 1}.png'] = b'other'
    members['datasets/fixations/pascalFix.mat'] = file.getvalue()
    return source('pascals', planted, 9), [zipped(folder / 'salObj.zip', members, drop)], planted


@kept
def dutomron(folder, drop=()):
    planted, images, looks = {}, {}, {}
    for i, stem in enumerate(['img_1', 'im005', 'sun_a', 'img_561715398']):
        size = SIZES[i % 3]
        images |= {f'DUT-OMRON-image/{stem}.jpg': picture(i, size), f'__MACOSX/DUT-OMRON-image/._{stem}.jpg': b'junk'}
        p, viewer = random_points(5, size, i).astype(np.uint16), np.array([1, 1, 2, 5, 5], np.uint16)
        p[0] = 0, 0
        table = np.column_stack([p, viewer])
        with_size = np.insert(table, i % 3, [*size, 0], axis=0)  # somewhere
        looks[f'DUT-OMRON-eye-fixations/mat/{stem}.mat'] = mat(s=with_size)
        if stem != 'img_561715398':
            planted[f'{stem}.jpg'] = [(int(v) - 1, int(x), int(y)) for x, y, v in table]
    archives = [zipped(folder / 'image.zip', images, drop), zipped(folder / 'eye.zip', looks, drop)]
    return source('dutomron', planted), archives, planted


@kept
def fiwi(folder, drop=()):
    planted, members = {}, {}
    for i in range(4):
        size, marks = SIZES[i % 3], np.zeros(SIZES[i % 3][::-1], np.uint8)
        p = random_points(12, size, i)
        marks[p[:, 1], p[:, 0]] = 255
        members |= {
            f'webpage/stimuli/page{i}.png': picture(i, size, 'png'),
            f'webpage/eye/all5/page{i}.png': grey(marks),
            f'webpage/eye/all1/page{i}.png': b'other',
        }
        planted[f'page{i}.png'] = [(-1, x, y) for y, x in zip(*np.nonzero(marks))]
    return source('fiwi', planted), [zipped(folder / 'webpage_dataset.zip', members, drop)], planted


@kept
def fiwi51(folder, drop=()):
    planted, members = {}, {}
    pages = np.zeros((1, 4), dtype=[('filename', 'O'), ('impath', 'O'), ('userdata', 'O')])
    for i in range(4):
        size, name, rows = SIZES[i % 3], f'Page({4 - i}).png', []
        users = np.zeros((1, 3), dtype=[('fixations', 'O')])
        for v in range(3):
            p = random_points(4 if i or v else 1, size, [i, v], 1, low=1)
            users[0, v] = (struct(enc=p),)
            rows += [(v, x, y) for x, y in p - 1]
        pages[0, i] = name, 'path', users
        planted[name] = rows
        members[f'bubbleview-1/targets_fiwi/{name}'] = picture(i, size, 'png')
    members['bubbleview-1/fiwi_eyetrack.mat'] = mat(bubble=pages)
    return source('fiwi51', planted), [zipped(folder / 'bubbleview.zip', members, drop)], planted


def contents(archive):
    "{path: bytes} of a zip file."
    with zipfile.ZipFile(archive) as z:
        return {n: z.read(n) for n in z.namelist()}


def extracted(archives, folder):
    "The folder, with all archives extracted into it."
    for a in archives:
        with zipfile.ZipFile(a) as z:
            z.extractall(folder)
    return folder


def damaged(folder, changes):
    "Change three bits of a file in an extracted folder, yield the file, and mend it again; as many times as told."
    endings = '.mat', '.png', '.jpg', '.jpeg', '.npz'
    files = sorted(p for p in folder.rglob('*') if p.suffix in endings and 'MACOSX' not in str(p))
    readable = next(p for p in files if p.suffix in ('.mat', '.png'))  # what a converter reads, every other time
    rng = np.random.default_rng(0)
    for k in range(changes):
        file = files[rng.integers(len(files))] if k % 2 else readable
        whole = file.read_bytes()
        if len(whole) < 2:
            continue
        raw = bytearray(whole)
        for at in rng.integers(0, len(raw), 3):
            raw[at] ^= 1 << rng.integers(8)
        file.write_bytes(raw)
        yield file
        file.write_bytes(whole)


ALL = dict(
    osie=functools.partial(nested, name='osie'),
    crowd=functools.partial(nested, name='crowd'),
    scene=scene,
    salicon=salicon,
    mit1003=mit1003,
    cat2000=cat2000,
    pascals=pascals,
    dutomron=dutomron,
    fiwi=fiwi,
    fiwi51=fiwi51,
)
