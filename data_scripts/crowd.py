"""EyeCrowd (Saliency in Crowd): `salnas_data get crowd`.

Outside the paper's seven: for training and for tests of generalisation."""

import sys

from salnas.sources import Content, File, Source, data_command, columns_of, nested_scanpaths


def convert(source, official):
    "Archives to `Content`."
    stimuli = official.pictures('data/stimuli/*.jpg')
    scanpaths = nested_scanpaths(official.find('data/eye/fixations.mat'), [n for n, _ in stimuli])
    return Content(stimuli, columns_of(scanpaths))


SOURCE = Source(
    name='crowd',
    title='EyeCrowd: Saliency in Crowd',
    edition='github 8bb0416',
    page='https://github.com/NUS-VIP/saliency-in-crowd',
    licence='MIT, (c) 2014 NUS VIP',
    cite='Jiang 2014',
    citation='M. Jiang, J. Xu, Q. Zhao: Saliency in Crowd. ECCV 2014, LNCS 8695.',
    files=(
        File(
            'crowd.zip',
            (
                'https://github.com/NUS-VIP/saliency-in-crowd/archive/8bb0416ee9942346f0a990f87a1325742fe3293f.zip',
                'https://github.com/NUS-VIP/saliency-in-crowd/archive/refs/heads/master.zip',
            ),
        ),
    ),
    convert=convert,
    expected=dict(images=500, viewers=16, fixations=126_348),
    origin=1,
    viewing='free viewing, 5 s',
    megabytes=600,
    pixels_per_degree=26,
    pixels_per_degree_source="sigma of the owners' maps (config.m); no other figure is published",
    authors=dict(n_train=400, sigma_px=26),  # not one of theirs: the split is this project's
    notes=('131.jpg, 299.jpg and 497.jpg were seen by 15 of the 16 viewers.',),
)

if __name__ == '__main__':
    data_command(['get', SOURCE.name, *sys.argv[1:]])
