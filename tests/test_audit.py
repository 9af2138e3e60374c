"The command salnas_audit in a process of its own, against a score made without salnas."

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salnas.data import load_dataset
from salnas.popout import write_popout

HERE = Path(__file__).resolve().parent.parent


def in_a_process(*arguments):
    run = subprocess.run(
        [sys.executable, '-c', 'from salnas.audit import audit_command; audit_command()', *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | dict(PYTHONPATH=str(HERE)),
    )
    return run.returncode, run.stdout, run.stderr


def test_finds_the_conventions_of_another_script(tmp_path):
    write_popout(tmp_path / 'sets/small', seed=2, n=40)
    part = load_dataset('small', 'test', root=tmp_path / 'sets', cache=False)
    scores, rng = [], np.random.default_rng(0)
    (tmp_path / 'maps').mkdir()
    for i in part.indices[:-1]:
        grey = np.kron(rng.integers(0, 256, (6, 8)), np.ones((8, 8))).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / 'maps' / part.recording.image_names[i])
        x, y = np.floor((part.recording.points(i).T + 0.5) / 5).astype(int)
        fixated = np.unique(y * 64 + x)  # each pixel once
        scores.append((grey.flat[fixated] - grey.mean()).mean() / grey.std())
    (tmp_path / 'maps' / part.recording.image_names[part.indices[-1]]).write_bytes(b'broken')
    value = np.mean(scores)
    options = '--dataset', 'small', '--root', tmp_path / 'sets', '--most', 2, '--reported'
    code, out, err = in_a_process(tmp_path / 'maps', *options, f'NSS={value:.4f}', '--out', tmp_path / 'all.csv')
    assert code == 0, err
    assert '9 of 10 pictures have a map' in out and 'left out: cannot read' in out
    best = out.split(' fit, the simplest')[1].splitlines()[1]
    assert best.split()[1:] == "2 differ against: binary, grid: maps' own".split()
    assert float(best.split()[0]) == pytest.approx(value, abs=1e-4)
    assert (tmp_path / 'all.csv').read_text().startswith('metric,values,grid,resizing,against,formula,mean,value,')
