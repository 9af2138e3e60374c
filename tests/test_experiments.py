"The experiments run from nothing, go on where they were stopped, and what is committed under results/ is whole."

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

ROOT, BIN = Path(__file__).parent.parent, Path(sys.executable).parent


def papermill(notebook, out, *parameters):
    command = [
        BIN / 'papermill',
        ROOT / 'nbs/experiments' / notebook,
        out,
        '--cwd',
        ROOT / 'nbs/experiments',
        *parameters,
    ]
    done = subprocess.run(
        list(map(str, command)), env=os.environ | {'OMP_NUM_THREADS': '1'}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return nbformat.read(out, 4)


def printed(notebook):
    return ''.join(
        o.get('text', '')
        for c in notebook.cells
        for o in c.get('outputs', [])
        if o.output_type == 'stream' and o.get('name') == 'stdout'
    )


def test_kd_ablation(tmp_path):
    "A small one of everything; a second call trains nothing and gives the same tables."
    common = [
        '-p',
        'dataset',
        'popout',
        '-p',
        'space',
        'tiny',
        '-p',
        'profile',
        'smoke',
        '-p',
        'resolution',
        64,
        '-y',
        '{size: [48, 64], seeds: [0]}',
        '-p',
        'epochs',
        2,
        '-p',
        'encoder',
        '',
        '-p',
        'runs_dir',
        tmp_path / 'runs',
        '-p',
        'results_dir',
        tmp_path / 'results',
    ]
    jobs = 'alone/0 none/0 self-kd/0 multi-step/0 self-kd-alpha1/0'
    first = printed(papermill('kd_ablation.ipynb', tmp_path / 'first.ipynb', *common, '-p', 'only', jobs))
    assert all(f'{job.split("/")[0]}, seed 0: best' in first for job in jobs.split())
    means = {
        r['model']: r['metrics']
        for r in map(json.loads, (p.read_text() for p in (tmp_path / 'results').rglob('result.json')))
    }
    assert (
        len(means) == 9 and means['none, largest'] == means['self-kd-alpha1, largest'] != means['self-kd, largest']
    )  # a teacher without weight is none
    again = papermill('kd_ablation.ipynb', tmp_path / 'again.ipynb', *common, '-p', 'only', 'nothing')
    assert 'best' not in printed(again)
    assert any(f'{means["self-kd, largest"]["CC"]:.3f}' in str(o) for c in again.cells for o in c.get('outputs', []))
    assert (tmp_path / 'results/rivals.png').is_file()


def test_search(tmp_path):
    "From a supernet to tested networks; a second call evaluates nothing anew."
    from salnas.space import tiny_space
    from salnas.supernet import Supernet
    from salnas.training import save_checkpoint

    start = save_checkpoint(Supernet(tiny_space((64,))), tmp_path / 'net.safetensors')
    common = [
        '-p',
        'supernet',
        start,
        '-p',
        'dataset',
        'popout',
        '-p',
        'strategies',
        'random evolution progressive',
        '-p',
        'budget',
        6,
        '-p',
        'seeds',
        1,
        '-p',
        'height',
        48,
        '-p',
        'width',
        64,
        '-p',
        'calibration',
        16,
        '-p',
        'precision',
        'fp32',
        '-p',
        'epochs',
        1,
        '-p',
        'limit',
        0.7,
        '-p',
        'output_dir',
        tmp_path / 'out',
    ]
    papermill('search_osie.ipynb', tmp_path / 'first.ipynb', *common)
    results = {p.parent.name: json.loads(p.read_text()) for p in (tmp_path / 'out').rglob('result.json')}
    assert (
        len(results) == 6
        and {r['split'] for r in results.values()} == {'test'}
        and results['found-1-more-epochs']['cost']['macs'] <= 0.7 * results['largest-shared-weights']['cost']['macs']
    )
    studies = {p: p.read_text() for p in (tmp_path / 'out').glob('*.jsonl')}
    assert len(studies) == 3 and all(t.count('"state": "done"') == 6 for t in studies.values())
    papermill('search_osie.ipynb', tmp_path / 'again.ipynb', *common)
    assert {p: p.read_text() for p in (tmp_path / 'out').glob('*.jsonl')} == studies


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'results').rglob('result.json')), ids=lambda p: '/'.join(p.parts[-4:-1])
)
def test_a_committed_result_is_whole(path):
    "It names a commit, and its means are those of its own per-image scores."
    result = json.loads(path.read_text())
    rows = pd.read_csv(path.parent / result['per_image'], index_col='image')
    assert np.allclose(rows.mean()[list(result['metrics'])], list(result['metrics'].values()), rtol=1e-4, atol=1e-5)
    assert len(result['provenance']['commit']) == 40, 'no commit, or uncommitted changes'
