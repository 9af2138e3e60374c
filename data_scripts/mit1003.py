"""MIT1003: `salnas_data get mit1003`."""

import sys

import numpy as np
from scipy.signal import lfilter

from salnas.sources import Content, File, Source, data_command, columns_of, points_of_map, read_mat

RATE = 240  # samples per second
TURN = 6 * 34  # px/s gained in a sample that begins a saccade: 6 degrees per second at 34 px per degree
SHORTEST = 12  # samples (50 ms): a shorter stop between two saccades is part of them
BRAKING = 25  # samples within which a saccade must slow down


def detect_fixations(eye):
    """(n,3) array x, y, duration (ms) from raw gaze, (samples,2) in pixels at 240 Hz.

    The rule of the data set's own checkFixations.m: where speed (a mean of four samples) grows by more than TURN for at
    least three samples a saccade begins, if a slowing by as much follows in time; fixations are what lies between, each
    at its median. Samples that are not numbers are left out of the median."""
    n = len(eye)
    speed = lfilter(np.full(4, 0.25), 1, np.concatenate([[0], np.hypot(*np.diff(eye, axis=0).T)]))
    gain = np.zeros(n)
    if n > 6:
        gain[1 : n - 5] = RATE / 4 * (speed[6:] - speed[1 : n - 5])
    saccades = []
    for start, end in _saccades(gain):
        if saccades and start - saccades[-1][1] <= SHORTEST:
            saccades[-1][1] = end
        else:
            saccades.append([start, end])
    if saccades and n - 1 - saccades[-1][1] <= SHORTEST:
        saccades[-1][1] = n - 1
    edges = [-1, *np.ravel(saccades).astype(int), n]
    stops = [(edges[k] + 1, edges[k + 1]) for k in range(0, len(edges), 2) if edges[k] + 1 < edges[k + 1]]
    with np.errstate(all='ignore'):
        return np.array([[*_median(eye[a:b]), 1000 * (b - a) / RATE] for a, b in stops]).reshape(-1, 3)


def _saccades(gain):
    "First and last sample of each saccade."
    fast = np.flatnonzero(gain > TURN)
    runs = [r for r in np.split(fast, np.flatnonzero(np.diff(fast) > 1) + 1) if len(r) >= 3]
    for run in runs:
        end = _slowing(gain, run[-1])
        if end is None and len(runs) == 1 and run[-1] == np.flatnonzero(gain)[-1]:
            end = len(gain) - 1  # the trial ends within it
        if end is not None:
            yield run[0], end


def _slowing(gain, last):
    "The sample in which the speed last falls by more than TURN, soon after sample `last`; None if it does not."
    for j in range(last + 1, last + 1 + BRAKING):
        if j > last + 1 and j + 2 >= len(gain):
            return None
        if gain[j] < -TURN and not gain[j + 1] < -TURN:
            return j


def _median(samples):
    "Medians of x and y over the samples that are numbers; NaN if none is."
    return [np.median(a[~np.isnan(a)]) if not np.isnan(a).all() else np.nan for a in samples.T]


def from_gaze(official, stems):
    """DATA/<viewer>/<picture>.mat: raw gaze.

    The first fixation of a trial is dropped: viewers were made to look at the middle."""
    members = official.glob('DATA/*/*.mat')
    viewers, place = sorted({m.folder for m in members}), {s: i for i, s in enumerate(stems)}
    missing = {(v, s) for v in viewers for s in stems} - {(m.folder, m.stem) for m in members}
    if missing:
        raise ValueError(
            f"{official} lacks {len(missing)} of {len(viewers) * len(stems)} trials, "
            f"the first is DATA/{'/'.join(min(missing))}.mat: is DATA.zip whole?"
        )
    for m in members:
        if m.stem not in place:
            continue  # calibration and the order of showing
        trial = read_mat(m, None)  # one variable, named after the picture, cut to MATLAB's 63 letters
        try:
            eye = np.asarray(np.atleast_1d(trial.DATA)[0].eyeData, dtype=np.float64)[:, :2]
        except (AttributeError, IndexError, TypeError, ValueError) as e:
            raise ValueError(f"{m.path} holds no DATA.eyeData ({e}): is it the official DATA.zip?") from e
        x, y, duration = detect_fixations(eye)[1:].T
        yield place[m.stem], viewers.index(m.folder), x - 1, y - 1, duration


def from_text(official, stems):
    "FixaTons: SCANPATHS/<picture>/<viewer>, rows x, y, start, end (s) as text; the first row is dropped too."
    members, place = official.glob('MIT1003/SCANPATHS/*/*'), {s: i for i, s in enumerate(stems)}
    viewers = sorted({m.name for m in members})
    if missing := set(stems) - {m.folder for m in members}:
        raise ValueError(
            f"{official} lacks the scanpaths of {len(missing)} pictures, the first is {min(missing)}: "
            "is FixaTons.zip whole?"
        )
    for m in members:
        if m.folder not in place:
            raise ValueError(f"{m.path} is about no picture of the archive")
        try:
            table = [line.split()[:4] for line in m.read().decode().splitlines() if line.strip()]
            x, y, start, end = np.array(table, dtype=np.float64).reshape(-1, 4)[1:].T
        except ValueError as e:
            raise ValueError(f"{m.path} is no table of x, y, start, end ({e})") from e
        yield place[m.folder], viewers.index(m.name), x - 1, y - 1, 1000 * (end - start)


def drawn(official, end, stems):
    "(name, read) of the official maps of one kind."
    members = [(m.stem.removesuffix(end), m.read) for m in official.glob(f'*{end}.jpg')]
    return [(f'{stem}.jpg', read) for stem, read in members if stem in set(stems)]


def convert(source, official):
    "Archives to `Content`."
    theirs, fixatons = 'ALLSTIMULI/*.jpeg', 'MIT1003/STIMULI/*.jpeg'
    stimuli = official.pictures(theirs if official.glob(theirs) else fixatons)
    stems = [n.rsplit('.', 1)[0] for n, _ in stimuli]
    maps, marks, meta = drawn(official, '_fixMap', stems), drawn(official, '_fixPts', stems), {}
    if official.glob('DATA/*/*.mat'):
        found = from_gaze(official, stems)
    elif official.glob('MIT1003/SCANPATHS/*/*'):
        found, meta = from_text(official, stems), dict(edition='FixaTons')
    elif marks:
        place = {s: i for i, s in enumerate(stems)}
        found = ((place[n.rsplit('.', 1)[0]], -1, *points_of_map(read(), lossy=True)) for n, read in marks)
        meta = dict(
            edition='points of the JPEG maps',
            losses='viewers, order, repeated looks, neighbouring points run together by JPEG; '
            'the maps hold the first 6 fixations of each viewer',
        )
    else:
        raise ValueError(
            f"{official} has no fixations: "
            "give DATA.zip (raw gaze), FixaTons.zip, or ALLFIXATIONMAPS.zip beside ALLSTIMULI.zip"
        )
    return Content(stimuli, columns_of(found), maps, marks, meta)


SITE = 'http://people.csail.mit.edu/tjudd/WherePeopleLook/'
SOURCE = Source(
    name='mit1003',
    title='MIT1003',
    edition='DATA.zip, fixations detected',
    page=SITE + 'index.html',
    licence='none stated',
    cite='Judd 2009',
    citation='T. Judd, K. Ehinger, F. Durand, A. Torralba: Learning to predict where humans look. '
    'ICCV 2009, pp. 2106-2113.',
    files=(
        File('ALLSTIMULI.zip', (SITE + 'ALLSTIMULI.zip',), digest='md5:0d7df8b954ecba69b6796e77b9afe4b6'),
        File('DATA.zip', (SITE + 'DATA.zip',), digest='md5:ea19d74ad0a0144428c53e9d75c2d71c'),
        File('ALLFIXATIONMAPS.zip', (SITE + 'ALLFIXATIONMAPS.zip',), optional=True),
    ),
    convert=convert,
    expected=dict(images=1003),
    published=dict(viewers=15),
    origin=1,
    viewing='free viewing, 3 s',
    megabytes=1500,
    pixels_per_degree=35,
    pixels_per_degree_source='README of DeepGaze (Kummerer and others); the code of the set says 34',
    authors=dict(
        n_train=803,
        needs=('maps', 'point_maps'),
        sigma_px=35,
        offset=0.5,
        size=(384, 384),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    notes=(
        'DATA.zip holds raw gaze; fixations are detected by the rule of its own checkFixations.m, '
        'and the first of each trial, held in the middle, is dropped.',
        'Coordinates are taken as those of MATLAB, counted from 1, as its owners plot them; '
        'pysaliency takes the same numbers as counted from 0. '
        'With that reading, and in frame, pysaliency counts 104,171.',
    ),
)

if __name__ == '__main__':
    data_command(['get', SOURCE.name, *sys.argv[1:]])
