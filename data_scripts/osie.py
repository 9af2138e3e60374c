"""OSIE: `salnas_data get osie`, or `python data_scripts/osie.py --archive FILE`."""

import sys

from salnas.sources import Content, File, Source, data_command, columns_of, nested_scanpaths


def convert(source, official):
    "Archives to `Content`."
    stimuli = official.pictures('data/stimuli/*.jpg')
    scanpaths = nested_scanpaths(official.find('data/eye/fixations.mat'), [n for n, _ in stimuli])
    return Content(stimuli, columns_of(scanpaths))


SOURCE = Source(
    name='osie',
    title='OSIE: Object and Semantic Images and Eye-tracking',
    edition='github master',
    page='https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels',
    licence='MIT, (c) 2014 NUS VIP',
    cite='Xu 2014',
    citation='J. Xu, M. Jiang, S. Wang, M. S. Kankanhalli, Q. Zhao: Predicting human gaze beyond pixels. '
    'Journal of Vision 14(1):28, 2014.',
    files=(
        File(
            'osie.zip',
            ('https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels/archive/refs/heads/master.zip',),
        ),
    ),
    convert=convert,
    expected=dict(images=700, viewers=15, fixations=98_321),
    origin=1,
    viewing='free viewing, 3 s',
    megabytes=600,
    pixels_per_degree=24,
    pixels_per_degree_source="Kim et al., ACM TOCHI 24(5):36, 2017, section 5.2; also the sigma of the owners' maps",
    # the SalNAS code cuts the official coordinate to a whole number and takes it as one that counts from 0: x + 1 here
    authors=dict(n_train=500, sigma_px=16, offset=1.0, size=(384, 384), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    notes=(
        '1279.jpg and 1374.jpg are the same picture with other fixations; '
        'the shuffled split puts one into training and the other into the rest.',
    ),
)

if __name__ == '__main__':
    data_command(['get', SOURCE.name, *sys.argv[1:]])
