"""NUS Scene: `salnas_data get scene`.

Outside the paper's seven: for training and for tests of generalisation."""

import sys

import numpy as np

from salnas.sources import Content, File, Source, data_command, columns_of, read_mat


def scanpaths(member, n):
    """A cell of pictures x viewers; rows y, x, latency, duration (seconds).

    Coordinates are continuous in (0, width], so half a pixel goes; pictures stand in the order of their names."""
    cells = np.asarray(read_mat(member, 'fixations'), dtype=object)
    if cells.ndim != 2 or len(cells) != n:
        raise ValueError(
            f"{member.path} is a cell of {cells.shape}, pictures x viewers, there are {n}: "
            f"is {member.archive} the official archive?"
        )
    for i, row in enumerate(cells):
        for viewer, looks in enumerate(row):
            looks = np.asarray(looks, dtype=np.float64)
            if looks.size == 0:
                continue
            if looks.size % 4:
                raise ValueError(f"{member.path}: viewer {viewer} on picture {i} has rows of another length than 4")
            y, x, _, duration = looks.reshape(-1, 4).T
            yield i, viewer, x - 0.5, y - 0.5, duration * 1000


def convert(source, official):
    "Archives to `Content`."
    stimuli = official.pictures('data/stimuli/*.jpg')
    return Content(stimuli, columns_of(scanpaths(official.find('data/tidy/fixations.mat'), len(stimuli))))


SOURCE = Source(
    name='scene',
    title='NUS Scene',
    edition='github 2cf042b',
    page='https://github.com/Yanakz/Scene',
    licence='MIT, (c) 2015 Haoran Liang',
    cite='Liang 2017',
    citation='H. Liang, M. Jiang, R. Liang, Q. Zhao: Saliency prediction with scene structural guidance. '
    'IEEE SMC 2017.',
    files=(
        File(
            'scene.zip',
            (
                'https://github.com/Yanakz/Scene/archive/2cf042b013181a6339378827d094aafa9322ba0d.zip',
                'https://github.com/Yanakz/Scene/archive/refs/heads/master.zip',
            ),
        ),
    ),
    convert=convert,
    expected=dict(images=500, viewers=12, fixations=43_894),
    origin=0.5,
    viewing='free viewing',
    megabytes=300,
    pixels_per_degree=8,
    pixels_per_degree_at=256,
    pixels_per_degree_source="sigma of the owners' maps, 8 px on a picture of 256; the degree itself is not published",
    authors=dict(n_train=400, sigma_px=8),  # not one of theirs: the split is this project's
    notes=(
        '311 of the 500 pictures were published squashed to 256 x 256, with coordinates in that frame.',
        'The owners write of 15 viewers; the file has 12.',
        'Pictures differ in scale (225 to 3888 px wide, each fitted to the screen), so sigma goes with the long side.',
    ),
)

if __name__ == '__main__':
    data_command(['get', SOURCE.name, *sys.argv[1:]])
