"""FIWI, fixations in web pages: `salnas_data get fiwi`.

The 51 pages whose scanpaths are public: `salnas_data get fiwi51`."""

import sys

import numpy as np

from salnas.sources import Content, File, Source, data_command, columns_of, points_of_map, read_mat, size_of


def within(official, folder):
    "Sorted (name, read) of the PNG files that lie in a folder of this name, at any depth."
    members = [m for m in official.glob('*.png') if folder in m.path.lower().split('/')[:-1]]
    return sorted(((m.name, m.read) for m in members), key=lambda pair: pair[0])


def convert(source, official):
    "Pages in a folder `stimuli`, and for each a PNG map of the points of all viewers in a folder `all5`."
    stimuli, marks = within(official, 'stimuli'), within(official, 'all5')
    if not stimuli or [n for n, _ in stimuli] != [n for n, _ in marks]:
        raise ValueError(
            f"{official} holds {len(stimuli)} pages in stimuli and {len(marks)} maps in all5 of other names, "
            "expected a map for each page: is it the official archive?"
        )
    for (name, page), (_, read) in zip(stimuli, marks):
        sizes = [size_of(name, f()) for f in (page, read)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the page {name} is {sizes[0]}, its map of points {sizes[1]}: points cannot be placed")
    scanpaths = ((i, -1, *points_of_map(read(), lossy=False)) for i, (_, read) in enumerate(marks))
    return Content(stimuli, columns_of(scanpaths), point_maps=marks)


def convert_51(source, official):
    "`fiwi_eyetrack.mat` of BubbleView: a struct per page, and in it one per viewer with rows x, y counted from 1."
    pages = {m.name: m.read for m in official.glob('targets_fiwi/*.png')}
    entries = np.atleast_1d(read_mat(official.find('fiwi_eyetrack.mat'), None))
    names = sorted(str(e.filename) for e in entries)
    if missing := [n for n in names if n not in pages]:
        raise ValueError(
            f"{official} lacks {len(missing)} pages, the first is {missing[0]}: is it the official archive?"
        )
    scanpaths = []
    for e in entries:
        for viewer, user in enumerate(np.atleast_1d(e.userdata)):
            x, y = np.asarray(user.fixations.enc, dtype=np.float64).reshape(-1, 2).T - 1
            scanpaths.append((names.index(str(e.filename)), viewer, x, y))
    return Content([(n, pages[n]) for n in names], columns_of(scanpaths))


CITATION = 'C. Shen, Q. Zhao: Webpage saliency. ECCV 2014, LNCS 8695, pp. 33-46.'
DEGREE = dict(
    pixels_per_degree=50, pixels_per_degree_source='Kim et al., ACM TOCHI 24(5):36, 2017, section 5.3 (about)'
)
THEIRS = dict(sigma_px=30, offset=0.5, stretch=True, size=(384, 384), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

SOURCE = Source(
    name='fiwi',
    title='FIWI: fixations in webpage images',
    edition='webpage_dataset.zip',
    page='https://www-users.cse.umn.edu/~qzhao/webpage_saliency.html',
    licence='none stated',
    cite='Shen 2014',
    citation=CITATION,
    files=(File('webpage_dataset.zip', ('https://www.dropbox.com/s/30nxg2uwd1wpb80/webpage_dataset.zip?dl=1',)),),
    convert=convert,
    expected=dict(images=149),
    origin=0,
    viewing='free viewing, 5 s, 11 viewers',
    megabytes=700,
    **DEGREE,
    authors=dict(n_train=99, **THEIRS),
    notes=(
        'The points come from PNG maps of all viewers together: exact pixels, '
        'but neither viewers nor order nor repeated looks; `fiwi51` has them for a third of the pages.',
    ),
)

SOURCE_51 = Source(
    name='fiwi51',
    title='FIWI, the 51 pages in BubbleView',
    edition='github bubbleview 598b89b',
    page='https://github.com/cvzoya/bubbleview',
    licence='none stated',
    cite='Shen 2014',
    citation=CITATION + ' With: N. W. Kim et al.: BubbleView. ACM TOCHI 24(5):36, 2017.',
    files=(
        File(
            'bubbleview.zip',
            (
                'https://github.com/cvzoya/bubbleview/archive/598b89b829912bb5e291084a63c61a764dba24f4.zip',
                'https://github.com/cvzoya/bubbleview/archive/refs/heads/master.zip',
            ),
        ),
    ),
    convert=convert_51,
    expected=dict(images=51, viewers=11, fixations=10_060),
    origin=1,
    viewing='free viewing, 5 s',
    megabytes=1500,
    **DEGREE,
    authors=dict(n_train=34, **THEIRS),
    notes=('A part of FIWI with scanpaths; its split was made for this project.',),
)

if __name__ == '__main__':
    data_command(['get', SOURCE.name, *sys.argv[1:]])
