"""DUT-OMRON: `salnas_data get dutomron`."""

import sys

import numpy as np

from salnas.sources import Content, File, Source, data_command, columns_of, read_mat

# taken out by the owners in 2018; an older copy of the pictures still has them
REMOVED = 'img_561715398.jpg', 'sun_bqfgwnmzhjwuphdi.jpg', 'sun_bswlalhygmnrhvuw.jpg', 'sun_buaqzytduodbufcb.jpg'


def scanpaths(official, names):
    "Rows x, y, viewer, counted from 0. A row of viewer 0 is no look but the picture's size."
    members = {m.stem: m for m in official.glob('*.mat')}
    for i, name in enumerate(names):
        member = members.get(name.rsplit('.', 1)[0])
        if member is None:
            raise ValueError(f"{official} has no fixations of {name}: are both archives given?")
        rows = np.atleast_2d(read_mat(member, 's')).astype(np.int64)
        if rows.shape[1] != 3:
            raise ValueError(
                f"{member.path} has {rows.shape[1]} columns, expected x, y, viewer: is it the official archive?"
            )
        x, y, viewer = rows.T
        for v in np.unique(viewer[viewer > 0]):
            yield i, int(v) - 1, x[viewer == v], y[viewer == v]


def convert(source, official):
    "Archives to `Content`."
    stimuli = [(n, read) for n, read in official.pictures('DUT-OMRON-image/*.jpg') if n not in REMOVED]
    return Content(stimuli, columns_of(scanpaths(official, [n for n, _ in stimuli])))


SITE = 'http://saliencydetection.net/dut-omron/download/'
SOURCE = Source(
    name='dutomron',
    title='DUT-OMRON',
    edition='5,168 pictures',
    page='http://saliencydetection.net/dut-omron/',
    licence='none stated',
    cite='Yang 2013',
    citation='C. Yang, L. Zhang, H. Lu, X. Ruan, M.-H. Yang: Saliency detection via graph-based manifold ranking. '
    'CVPR 2013, pp. 3166-3173.',
    files=(
        File('DUT-OMRON-image.zip', (SITE + 'DUT-OMRON-image.zip',), digest='md5:a8951db9297afacf78bc0e5079103cf1'),
        File(
            'DUT-OMRON-eye-fixations.zip',
            (SITE + 'DUT-OMRON-eye-fixations.zip',),
            digest='md5:d9f4f83fcc78b1e5efb579ae9fb0edc2',
        ),
    ),
    convert=convert,
    expected=dict(images=5168),
    published=dict(fixations=797_542),
    origin=0,
    viewing='free viewing, 2 s',
    megabytes=1000,
    pixels_per_degree=12,
    pixels_per_degree_source='convention of this project: 3% of the long side of 400 px; none is published',
    authors=dict(n_train=4168, sigma_px=16, offset=0.5, size=(384, 384), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    notes=(
        'Fixations counted by pysaliency.',
        'About 31 rows per viewer in 2 s: filtered samples of gaze rather than fixations.',
        'Viewers are numbered per picture; five of 25 saw each.',
    ),
)

if __name__ == '__main__':
    data_command(['get', SOURCE.name, *sys.argv[1:]])
