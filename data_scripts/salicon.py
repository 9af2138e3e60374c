"""SALICON, fixations of 2017: `salnas_data get salicon`; of 2015: `salnas_data get salicon2015`.

The 5,000 test pictures have no public fixations."""

import json
import re
import sys

import numpy as np

from salnas.sources import Content, File, Source, data_command, columns_of, gaze_points, in_processes


def from_mat(official, names):
    "A file per picture: a `gaze` struct per worker, points counted from 1."
    members = {m.stem: m for m in official.glob('COCO_*.mat')}
    stems = [n.rsplit('.', 1)[0] for n in names]
    if missing := [s for s in stems if s not in members]:
        raise ValueError(
            f"{official} lacks the fixations of {len(missing)} pictures, the first is {missing[0]}: "
            "is fixations.zip given whole?"
        )
    results = in_processes(gaze_points, (members[s].read() for s in stems), len(stems))
    for i, stem in enumerate(stems):
        try:
            subject, x, y = next(results)
        except Exception as e:
            raise ValueError(
                f"{members[stem].path} cannot be read ({type(e).__name__}: {e}): "
                f"is {members[stem].archive} the official archive?"
            ) from e
        yield i, subject, x - 1, y - 1


def from_json(official, names):
    """COCO-style annotations, one per worker and picture: [[row, column], ...] counted from 1.

    Positions of the mouse, not fixations."""
    place, workers = {n: i for i, n in enumerate(names)}, {}
    for member in official.glob('fixations_*2014*.json'):
        text = member.read().decode('utf-8')
        files = {image['id']: image['file_name'] for image in items(text, 'images', member)}
        for a in items(text, 'annotations', member):
            if files.get(a['image_id']) not in place:
                raise ValueError(
                    f"{member.path} is about picture {a['image_id']}, which is not there: are the pictures given whole?"
                )
            row, column = np.asarray(a['fixations'], dtype=np.float64).reshape(-1, 2).T - 1
            yield place[files[a['image_id']]], workers.setdefault(a['worker_id'], len(workers)), column, row


def items(text, key, member):
    "The elements of a list in a JSON text, one at a time: all of it as objects would need ten times its size."
    start = re.search(rf'"{key}"\s*:\s*\[', text)
    if not start:
        raise ValueError(f"{member.path} has no list {key}: is it SALICON's?")
    decoder, at, space = json.JSONDecoder(), start.end(), re.compile(r'[\s,]*')
    while text[at := space.match(text, at).end()] != ']':
        try:
            item, at = decoder.raw_decode(text, at)
        except (ValueError, IndexError) as e:
            raise ValueError(f"{member.path} is cut off or damaged ({e}): download it again") from e
        yield item


def convert(source, official):
    "Archives to `Content`."
    stimuli = official.pictures('COCO_train2014_*.jpg') + official.pictures('COCO_val2014_*.jpg')
    names = [n for n, _ in stimuli]
    maps = [(m.name, m.read) for m in official.glob('COCO_*2014_*.png') if '_test2014_' not in m.name]
    if official.glob('COCO_*.mat'):
        return Content(stimuli, columns_of(from_mat(official, names)), maps)
    if source.name == 'salicon' and official.glob('fixations_*2014*.json'):
        raise ValueError(f"{official} holds the JSON of the first release: salnas_data get salicon2015")
    if not official.glob('fixations_*2014*.json'):
        raise ValueError(
            f"{official} has neither COCO_*.mat nor fixations_*2014.json: "
            "give images.zip, fixations.zip and, if you have it, maps.zip"
        )
    return Content(
        stimuli,
        columns_of(from_json(official, names)),
        maps,
        meta=dict(edition='2015 JSON', losses='the JSON holds positions of the mouse, not fixations'),
    )


def drive(key):
    "The address of a file on Google Drive."
    return f'https://drive.google.com/uc?id={key}'


IMAGES = File(
    'images.zip', (drive('1g8j-hTT-51IG1UFwP0xTGhLdgIUCW5e5'),), digest='md5:eb2a1bb706633d1b31fc2e01422c5757'
)
MAPS = File('maps.zip', (drive('1PnO7szbdub1559LfjYHMy65EDC4VhJC8'),), optional=True)
FACTS = dict(
    page='http://salicon.net/challenge-2017/',
    licence='CC BY 4.0; pictures under their Flickr licences',
    cite='Jiang 2015',
    citation='M. Jiang, S. Huang, J. Duan, Q. Zhao: SALICON: saliency in context. CVPR 2015.',
    origin=1,
    viewing='mouse over a blurred picture, 5 s',
    megabytes=10_000,
    pixels_per_degree=19.2,
    pixels_per_degree_source="convention of this project: 3% of the long side of 640 px; "
    "the owners' tool blurs with 19 px",
)
# the SalNAS code puts an official coordinate, counted from 1, at the pixel of that number counted from 0,
# and drops what falls beside
THEIRS = dict(
    needs=('maps',),
    sigma_px=19,
    offset=1.5,
    beyond='drop',
    size=(480, 640),
    image_size=(288, 384),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

SOURCE = Source(
    name='salicon',
    title='SALICON',
    edition='2017 (LSUN)',
    files=(
        IMAGES,
        File(
            'fixations.zip',
            (drive('1P-jeZXCsjoKO79OhFUgnj6FGcyvmLDPj'),),
            digest='md5:462b70f4f9e8ea446ac628e46cea8d3d',
        ),
        MAPS,
    ),
    convert=convert,
    expected=dict(images=15_000),
    published=dict(fixations=4_598_112 + 2_576_914),
    authors=dict(n_train=10_000, split='in order', **THEIRS),
    **FACTS,
    notes=(
        'Fixations counted by pysaliency.',
        'The edition of the LSUN 2017 challenge and of the paper; the first release had other fixations: '
        '`salicon2015`.',
        'Train is the official training part, test the official validation part.',
    ),
)

SOURCE_2015 = Source(
    name='salicon2015',
    title='SALICON, first release',
    edition='2015',
    files=(
        IMAGES,
        File(
            'fixations.zip',
            (drive('1WVEiXba-I4GN33f0uUl4KhaN1rK7qzs6'),),
            digest='md5:9a22db9d718200fb90252e5010c004c4',
        ),
    ),
    convert=convert,
    expected=dict(images=15_000),
    published=dict(fixations=3_171_533 + 1_662_655),
    authors=dict(n_train=10_000, split='in order', **THEIRS),
    **FACTS,
    notes=(
        'Fixations counted by pysaliency.',
        'JSON files (fixations_train2014.json, fixations_val2014.json) are read too, with --archive; '
        'they hold positions of the mouse rather than fixations.',
    ),
)


def convert_51(source, official):
    "There is no official layout to read."
    raise ValueError(
        f"{source.name} is prepared from a reduced copy only: a folder with fixations.npz and its pictures"
    )


SOURCE_51 = Source(
    name='salicon51',
    title='SALICON, raw mouse samples of 51 pictures in BubbleView',
    edition='github bubbleview 598b89b',
    files=(),
    convert=convert_51,
    expected=dict(images=51, viewers=65, fixations=360_012),
    authors=dict(n_train=34, sigma_px=19),
    **FACTS | dict(page='https://github.com/cvzoya/bubbleview', viewing='mouse over a blurred picture', megabytes=100),
    notes=('Samples of the mouse, about 110 per worker, not fixations: good for densities only.',),
)

if __name__ == '__main__':
    data_command(['get', SOURCE.name, *sys.argv[1:]])
