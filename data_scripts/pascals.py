"""PASCAL-S: `salnas_data get pascals`."""

import io
import sys

import h5py
import numpy as np

from salnas.sources import Content, File, Source, data_command, columns_of


def cells(member):
    """The arrays of `fixCell`.

    In HDF5 (MATLAB 7.3) a cell holds references, matrices lie transposed, and an empty matrix is stored as its size."""
    try:
        with h5py.File(io.BytesIO(member.read())) as f:
            found = [np.asarray(f[r]) for r in np.asarray(f['fixCell']).ravel()]
    except (OSError, KeyError, ValueError, TypeError) as e:
        raise ValueError(
            f"{member.path} cannot be read ({type(e).__name__}: {e}): is {member.archive} the official archive?"
        ) from e
    return [a if a.ndim == 2 and len(a) == 3 else np.empty((3, 0)) for a in found]


def scanpaths(member, names):
    "A cell per picture, by its number: row, column, viewer, each counted from 1."
    place = {int(n.rsplit('.', 1)[0]): i for i, n in enumerate(names)}  # by number, for 10.jpg sorts before 2.jpg
    found = cells(member)
    if sorted(place) != list(range(1, len(found) + 1)):
        raise ValueError(
            f"{member.path} is about {len(found)} pictures, not these {len(names)}: "
            f"is {member.archive} the official archive?"
        )
    for k, (row, column, viewer) in enumerate(found, start=1):
        for v in np.unique(viewer):
            yield place[k], int(v) - 1, column[viewer == v].astype(float) - 1, row[viewer == v].astype(float) - 1


def convert(source, official):
    "Archives to `Content`."
    stimuli = official.pictures('imgs/pascal/*.jpg')
    fixations = columns_of(scanpaths(official.find('fixations/pascalFix.mat'), [n for n, _ in stimuli]))
    return Content(stimuli, fixations, maps=[(m.name, m.read) for m in official.glob('humanFix/*.png')])


SOURCE = Source(
    name='pascals',
    title='PASCAL-S',
    edition='salObj.zip',
    page='https://cbs.ic.gatech.edu/salobj/',
    licence='none stated',
    cite='Li 2014',
    citation='Y. Li, X. Hou, C. Koch, J. M. Rehg, A. L. Yuille: The secrets of salient object segmentation. '
    'CVPR 2014, pp. 280-287.',
    files=(
        File(
            'salObj.zip',
            ('http://cbs.ic.gatech.edu/salobj/download/salObj.zip', 'http://cbi.gatech.edu/salobj/download/salObj.zip'),
            digest='md5:e48b4e5deac08bddcaec55ce56e4d420',
        ),
    ),
    convert=convert,
    expected=dict(images=850),
    published=dict(fixations=40_314),
    origin=1,
    viewing='free viewing, 2 s',
    megabytes=3000,
    pixels_per_degree=15,
    pixels_per_degree_source='convention of this project: 3% of the long side of 500 px; none is published',
    authors=dict(
        n_train=650,
        needs=('maps',),
        sigma_px=15,
        offset=0.5,
        size=(384, 384),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    notes=(
        'Fixations counted by pysaliency, with all of them in frame.',
        'Owners of readers disagree on the viewing time (2 or 3 s) and on the number of viewers (8 or 12); '
        'the file is asked for the latter.',
    ),
)

if __name__ == '__main__':
    data_command(['get', SOURCE.name, *sys.argv[1:]])
