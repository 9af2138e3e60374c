"""Prepare OSIE from its official archive: <root>/osie/{stimuli/, fixations.npz, meta.json}.

    python data_scripts/osie.py --root DIR                   downloads the archive
    python data_scripts/osie.py --root DIR --archive FILE    uses the zip at hand
"""
import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from salnas.data import Archive, data_root, download, write_recording

URL = 'https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels/archive/refs/heads/master.zip'
EXPECTED = dict(images=700, viewers=15, fixations=98_321)
META = dict(
    title='OSIE: Object and Semantic Images and Eye-tracking', edition='github master', licence='MIT, (c) 2014 NUS VIP',
    citation='Xu, Jiang, Wang, Kankanhalli, Zhao: Predicting human gaze beyond pixels. Journal of Vision 14(1):28, 2014',
    source=URL, pixels_per_degree=24, pixels_per_degree_source='convention of this project: 24 px at a width of 800',
    # their code cuts the official 1-based coordinate to a whole number and uses it as a 0-based pixel: x + 1 here
    authors=dict(n_train=500, sigma_px=16, offset=1.))


def read_fixations(data):
    "Sorted names of the pictures, and columns with a row per fixation, from the bytes of fixations.mat."
    try: return _table(np.atleast_1d(loadmat(io.BytesIO(data), squeeze_me=True, struct_as_record=False)['fixations']))
    except Exception as e: raise ValueError(f"fixations.mat cannot be read ({type(e).__name__}: {e}): is it the official archive?") from e


def _table(entries):
    "Names and columns from the nested structs: fixations(i).subjects{j}.fix_x."
    rows, names = [], sorted(e.img for e in entries)
    for entry in entries:
        for subject, s in enumerate(np.atleast_1d(entry.subjects)):
            # a single fixation is a number, not an array; official coordinates count from 1
            x, y, duration = np.atleast_1d(s.fix_x) - 1., np.atleast_1d(s.fix_y) - 1., np.atleast_1d(s.fix_duration)
            rows.append([np.full(len(x), names.index(entry.img)), np.full(len(x), subject), np.arange(len(x)), x, y, duration])
    return names, dict(zip(('image_id', 'subject', 'order', 'x', 'y', 'duration'), map(np.concatenate, zip(*rows))))


def prepare(root, archive, expected=EXPECTED, meta=META, overwrite=False):
    "Turn the official archive into `<root>/osie` and return that folder. Raises ValueError if it is not what was expected."
    with Archive(archive) as official:
        names, columns = read_fixations(official.read(official.find('data/eye/fixations.mat')))
        found = dict(images=len(names), viewers=len(np.unique(columns['subject'])), fixations=len(columns['x']))
        if found != expected: raise ValueError(f"{archive} holds {found}, expected {expected}: is it the official archive?")
        stimuli = ((name, official.read(official.find(f'data/stimuli/{name}'))) for name in names)
        return write_recording(Path(root) / 'osie', meta | dict(viewers=found['viewers']), stimuli, columns, overwrite)


def main(argv=None):
    parser = argparse.ArgumentParser(description='Prepare OSIE from its official archive.')
    parser.add_argument('--root', default=data_root(), type=Path, help='folder of the prepared data sets (default: %(default)s)')
    parser.add_argument('--archive', type=Path, help='the official zip; without it, it is downloaded')
    parser.add_argument('--overwrite', action='store_true', help='replace a prepared OSIE')
    args = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as aside:
            archive = args.archive or download(URL, Path(aside) / 'osie.zip')
            folder = prepare(args.root, archive, overwrite=args.overwrite)
    except (OSError, ValueError) as e: sys.exit(f"osie: {e}")
    print(f"osie: {EXPECTED['images']} images, {EXPECTED['viewers']} viewers, {EXPECTED['fixations']} fixations in {folder}")


if __name__ == '__main__': main()
