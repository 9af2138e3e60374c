"""CAT2000, the training set (the test set has no public fixations): `salnas_data get cat2000`."""

import os
import sys
import tempfile

import numpy as np

from salnas.sources import Content, File, Source, data_command, columns_of, read_mat


def plain(member):
    "Action/001.jpg as Action_001.jpg, for all pictures lie in one folder here."
    return f'{member.folder}_{member.name}'


def pooled(official, names):
    "Maps of zeros and ones, one per picture: exact pixels, but neither viewers nor order nor repeated looks."
    members = {f'{m.folder}_{m.stem}': m for m in official.glob('FIXATIONLOCS/*/*.mat')}
    for i, name in enumerate(names):
        member = members.get(name.rsplit('.', 1)[0])
        if member is None:
            raise ValueError(f"{official} has no FIXATIONLOCS of {name}: is it the whole trainSet.zip?")
        row, column = np.nonzero(read_mat(member, 'fixLocs'))
        yield i, -1, column, row


def scanpaths(member, names):
    """Scanpaths of `allFixData.mat`: a containers.Map from 'Action/001.jpg' to structs.

    Each is {name: '24-53-ak.eye', data: rows x, y}, counted from 1."""
    import matio  # reads MATLAB's own classes; in the extra `cat2000`

    with tempfile.TemporaryDirectory() as aside:  # it reads files only
        path = os.path.join(aside, 'allFixData.mat')
        with open(path, 'wb') as f:
            f.write(member.read())
        try:
            found = dict(matio.load_from_mat(path)['allData'])
        except Exception as e:
            raise ValueError(
                f"{member.path} cannot be read ({type(e).__name__}: {e}): is it the official trainSet.zip?"
            ) from e
    place, viewers = {n: i for i, n in enumerate(names)}, {}
    for key, cell in found.items():
        i = place.get(str(key).replace('/', '_'))
        if i is None:
            raise ValueError(f"{member.path} is about {key}, which is no picture of the archive")
        for entry in structs(cell):
            viewer = str(np.ravel(entry['name'])[0]).removesuffix('.eye').split('-')[-1]
            data = np.asarray(entry['data'], dtype=np.float64)
            if data.size:
                data = data.reshape(len(data), -1) - 1
                yield i, viewers.setdefault(viewer, len(viewers)), data[:, 0], data[:, 1]


def structs(cell):
    "The structs within nested cells."
    cell = np.asarray(cell)
    if cell.dtype.names:
        yield from cell.ravel()
    elif cell.dtype == object:
        for inner in cell.ravel():
            yield from structs(inner)


def convert(source, official):
    "Archives to `Content`."
    # model maps lie in folders called Output
    pictures = sorted((m for m in official.glob('Stimuli/*/*.jpg') if m.folder.lower() != 'output'), key=plain)
    if not pictures:
        raise ValueError(f"{official} has no Stimuli: is it trainSet.zip?")
    names = [plain(m) for m in pictures]
    maps = [(plain(m), m.read) for m in official.glob('FIXATIONMAPS/*/*.jpg')]
    paths, meta = official.glob('allFixData.mat'), {}
    try:
        found = columns_of(scanpaths(paths[0], names)) if paths else None
    except ImportError:
        found = None
    if found is None:
        found = columns_of(pooled(official, names))
        meta = dict(
            edition=f'{source.edition}, pooled pixels of FIXATIONLOCS',
            losses='viewers, order and repeated looks: '
            'install salnas[cat2000] and prepare again to read allFixData.mat',
        )
    return Content([(plain(m), m.read) for m in pictures], found, maps, meta=meta)


SOURCE = Source(
    name='cat2000',
    title='CAT2000, training set',
    edition='trainSet.zip',
    page='http://saliency.mit.edu/results_cat2000.html',
    licence='none stated',
    cite='Borji 2015',
    citation='A. Borji, L. Itti: CAT2000: a large scale fixation dataset for boosting saliency research. '
    'CVPR 2015 workshop on the future of datasets, arXiv 1505.03581.',
    files=(
        File('trainSet.zip', ('http://saliency.mit.edu/trainSet.zip',), digest='md5:56ad5c77e6c8f72ed9ef2901628d6e48'),
    ),
    convert=convert,
    expected=dict(images=2000),
    published=dict(viewers=18),
    origin=1,
    viewing='free viewing, 5 s',
    megabytes=12_000,
    pixels_per_degree=40,
    pixels_per_degree_source="sigma of the benchmark's own maps (saliency-benchmarking); "
    "the degree itself is not published",
    authors=dict(
        n_train=1600,
        needs=('maps',),
        split='per category',
        categories=20,
        sigma_px=40,
        offset=0.5,
        scale=1,
        size=(384, 384),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    notes=(
        'Viewers and order are in allFixData.mat, a MATLAB class that needs mat-io (extra `cat2000`, Python 3.11); '
        'without it the pooled pixels of FIXATIONLOCS are taken.',
        'pysaliency counts 672,053 fixations as they are, in frame, and 667,804 after dropping repeated ones.',
        'Pictures have grey margins up to 1920 x 1080.',
    ),
)

if __name__ == '__main__':
    data_command(['get', SOURCE.name, *sys.argv[1:]])
