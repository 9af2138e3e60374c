"The experiments run from nothing, repeat nothing, refuse what is foreign; what is committed under results/ is whole."

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from committed_results import identities

from salnas import runs

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


def options(**parameters):
    return [word for k, v in parameters.items() for word in ('-y', json.dumps({k: v}, default=str))]


def namespace(notebook, last, **parameters):
    "Names of a notebook's cells up to the one that holds `last`, with other parameters; results stay where they are."
    names = {}
    for cell in nbformat.read(ROOT / 'nbs/experiments' / notebook, 4).cells:
        if cell.cell_type == 'code':
            exec(cell.source, names)
            if 'parameters' in cell.metadata.get('tags', []):
                names.update(parameters)
        if last in cell.source and cell.cell_type == 'code':
            return names
    raise AssertionError(f'no cell of {notebook} has {last!r}')


@pytest.fixture
def in_experiments(monkeypatch):
    monkeypatch.chdir(ROOT / 'nbs/experiments')


def test_kd_ablation(tmp_path):
    "A small one of everything; a second call trains nothing and gives the same tables."
    common = options(
        dataset='popout',
        edition='popout-1',
        space='tiny',
        profile='smoke',
        resolution=64,
        size=[48, 64],
        seeds=[0],
        epochs=2,
        encoder='',
        encoder_sha256='',
        input_mean=None,
        input_std=None,
        runs_dir=tmp_path / 'runs',
        results_dir=tmp_path / 'results',
    )
    rows = ('alone', 'none', 'self-kd', 'multi-step', 'self-kd-alpha1')
    jobs = ' '.join(f'{row}/seed0' for row in rows)
    first = printed(papermill('kd_ablation.ipynb', tmp_path / 'first.ipynb', *common, *options(only=jobs)))
    assert all(f'{job} finished' in first for job in jobs.split())
    files = sorted((tmp_path / 'results').rglob('result.json'))
    means = {r['model']: r['metrics'] for r in map(json.loads, (p.read_text() for p in files))}
    assert len(means) == 9
    assert means['none, largest'] == means['self-kd-alpha1, largest']  # a teacher without weight is none
    assert means['none, largest'] != means['self-kd, largest']
    assert not list((tmp_path / 'results').rglob('*.safetensors'))
    again = papermill('kd_ablation.ipynb', tmp_path / 'again.ipynb', *common, *options(only='nothing'))
    assert ' to make' not in printed(again)
    assert any(f'{means["self-kd, largest"]["CC"]:.3f}' in str(o) for c in again.cells for o in c.get('outputs', []))
    assert (tmp_path / 'results/rivals.png').is_file()


def test_selfkd_when(tmp_path, in_experiments):
    "A small one of every kind of run, made in this process; and a grid that was cut there is read by the notebook."
    where = dict(profile='smoke', runs_dir=str(tmp_path / 'runs'), results_dir=str(tmp_path / 'results'))
    names = namespace('selfkd_when.ipynb', 'missing_runs', only='nothing', **where)
    jobs = [f'{row}/seed0' for row in ('v2-a1', 'v2-a0.5', 'start', 'warm-blur')]
    for grid, how in ((names['grid'], names['how']), ([names['halves']], names['labels'])):
        runs.commands(grid, **how)
    with pytest.raises(FileNotFoundError, match='make that run of the grid first'):
        runs.make_run(tmp_path / 'runs', 'warm-none/seed0')
    for job in ['reliability', *jobs]:
        runs.make_run(tmp_path / 'runs', job)
    folders = {job: tmp_path / 'results' / job for job in jobs}
    logs = {job: pd.read_json(folder / 'log.jsonl', lines=True) for job, folder in folders.items()}
    assert ['teacher CC' in log for log in logs.values()] == [True, True, False, True]
    silent, heard = (logs[job].loss for job in jobs[:2])
    assert silent[0] == heard[0] and silent[1] != heard[1]  # the teacher speaks from the second epoch on
    results = {job: json.loads((folder / 'largest/result.json').read_text()) for job, folder in folders.items()}
    assert results['v2-a1/seed0']['parameters']['viewers'] == 2 and results['warm-blur/seed0']['split'] == 'test'
    assert (folders['warm-blur/seed0'] / 'smallest/per_image.csv').is_file()
    read = papermill('selfkd_when.ipynb', tmp_path / 'read.ipynb', *options(**where, only='nothing'))
    assert '5 of 63 runs are finished' in printed(read)
    assert (tmp_path / 'results/phase.png').is_file()


OTHER = {
    'encoder': ('encoder', 'torchvision'),
    'encoder_sha256': ('encoder_sha256', '0' * 64),
    'input_mean': ('input_mean', 0.25),
    'precision': ('settings.precision', 'bf16'),
    'profile': ('settings.lr_encoder', 'paper'),
    'edition': ('edition', 'another'),
    'size': ('settings.size', [192, 256]),
}


@pytest.mark.parametrize('name', OTHER)
def test_committed_runs_are_not_taken_for_runs_of_other_settings(name, in_experiments):
    "Encoder, precision, profile and rates were left out of the guard once."
    word, value = OTHER[name]
    with pytest.raises(ValueError, match='is a run of other settings') as e:
        namespace('kd_ablation.ipynb', 'missing_runs', **{name: value})
    assert f'{word}: ' in str(e.value)


def test_every_committed_run_is_recognised(tmp_path, in_experiments, capsys, monkeypatch):
    "By the grids of the notebooks as they are: no result is repeated."
    monkeypatch.setattr(runs, '_start', None)  # a run that were made would fail
    assert namespace('kd_ablation.ipynb', 'missing_runs')['missing'] == []
    copy = shutil.copytree(ROOT / 'results/search-osie', tmp_path / 'search')  # figures are drawn anew
    names = namespace('search_osie.ipynb', 'salnas.recipes:train_further', results_dir=copy)
    assert len(names['studies']) == 18 and len(names['grid']) == 6
    namespace('pretrained.ipynb', 'salnas.recipes:pretrain')
    assert '29 of 29 runs are finished' in capsys.readouterr().out


def test_identities_are_those_that_the_results_tell(tmp_path):
    "What the migration reads off the files is what stands beside them."
    count = 0
    for folder, identity, finished in identities():
        assert json.loads((folder / 'run.json').read_text()) == {'identity': identity, 'finished': finished}
        count += 1
    assert count == 55 == len(list((ROOT / 'results').rglob('run.json')))


def search_parameters(tmp_path, **changes):
    from salnas.space import tiny_space
    from salnas.supernet import Supernet
    from salnas.training import save_checkpoint

    start = save_checkpoint(Supernet(tiny_space((64,)), seed=changes.pop('seed', 0)), tmp_path / 'net.safetensors')
    small = dict(
        supernet=str(start),
        supernet_sha256='',
        dataset='popout',
        edition='popout-1',
        space='tiny',
        resolutions=[64],
        strategies='random evolution',
        budget=6,
        seeds=1,
        height=48,
        width=64,
        calibration=16,
        precision='fp32',
        epochs=1,
        limit=0.7,
        runs_dir=str(tmp_path / 'runs'),
        results_dir=str(tmp_path / 'out'),
    )
    return small | changes


def test_search(tmp_path):
    "From a supernet to tested networks; a second call evaluates nothing anew, and another supernet is refused."
    common = search_parameters(tmp_path)
    papermill('search_osie.ipynb', tmp_path / 'first.ipynb', *options(**common))
    results = {p.parent.name: json.loads(p.read_text()) for p in (tmp_path / 'out').rglob('result.json')}
    assert len(results) == 6 and {r['split'] for r in results.values()} == {'test'}
    found, largest = (results[k]['cost']['macs'] for k in ('found-1-more-epochs', 'largest-shared-weights'))
    assert found <= 0.7 * largest
    studies = {p: p.read_text() for p in (tmp_path / 'out').rglob('*.jsonl') if p.name == 'study.jsonl'}
    assert len(studies) == 2 and all(t.count('"state": "done"') == 6 for t in studies.values())
    again = papermill('search_osie.ipynb', tmp_path / 'again.ipynb', *options(**common))
    assert ' to make' not in printed(again)
    assert {p: p.read_text() for p in studies} == studies
    with pytest.raises(ValueError, match='supernet_sha256: .* there, .* asked'):
        other = search_parameters(tmp_path, seed=1)
        namespace('search_osie.ipynb', 'quick_and_plain', **other)


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'results').rglob('result.json')), ids=lambda p: '/'.join(p.parts[-4:-1])
)
def test_a_committed_result_is_whole(path):
    "It names a commit, and its means are those of its own per-image scores."
    result = json.loads(path.read_text())
    rows = pd.read_csv(path.parent / result['per_image'], index_col='image')
    assert np.allclose(rows.mean()[list(result['metrics'])], list(result['metrics'].values()), rtol=1e-4, atol=1e-5)
    of = result['provenance']
    assert len(of.get('scored_at', of)['commit']) == 40, 'no commit, or uncommitted changes'
