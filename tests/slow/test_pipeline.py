"The pipeline in small: by its notebook, by the four commands that it prints, and killed in every stage."

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE)]
from notebooks import ROOT, namespace, options, papermill, printed  # noqa: E402

from salnas.popout import write_popout  # noqa: E402
from salnas.predict import SaliencyModel  # noqa: E402
from salnas.search import history  # noqa: E402
from salnas.search_command import search_command  # noqa: E402
from salnas.space import tiny_space  # noqa: E402
from salnas.supernet import Supernet  # noqa: E402
from salnas.training import load_checkpoint, save_checkpoint  # noqa: E402

COMMANDS = {
    'salnas_train': 'from salnas.train import train_command as command',
    'salnas_search': 'from salnas.search_command import search_command as command',
    'salnas_predict': 'from salnas.predict_command import predict_command as command',
}
ENV = os.environ | {'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'Agg', 'PYTHONPATH': os.pathsep.join([str(ROOT), str(HERE)])}
TRAININGS = ['joint', *(f'tuned/{name}/{kd}' for name in ('one', 'two') for kd in ('none', 'self-kd'))]
TRAININGS += ['retrained/found']


def small(folder):
    "Parameters of a small pipeline."
    where = {f'{k}_dir': str(folder / k) for k in ('runs', 'results', 'commands')}
    return where | dict(profile='smoke')


def weights(path):
    return load_checkpoint(path).state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A pipeline that nobody disturbed: its folder, and the notebook that ran."
    folder = tmp_path_factory.mktemp('whole')
    return folder, papermill('pipeline.ipynb', folder / 'ran.ipynb', *options(**small(folder)))


def test_the_notebook_leaves_what_it_names(whole):
    folder, notebook = whole
    tables = ''.join(str(o.get('data', {}).get('text/html', '')) for c in notebook.cells for o in c.get('outputs', []))
    for key in (*TRAININGS, 'search'):
        assert json.loads((folder / 'results' / key / 'run.json').read_text())['finished'] and f'>{key}<' in tables
    named = ['best.safetensors', 'state-*.pt', 'network/net.safetensors', 'study.jsonl', 'arch.json', 'latency.json']
    assert all(name in tables for name in named) and 'tuned self-kd' in tables
    means = {
        key: [json.loads(p.read_text())['metrics'] for p in sorted((folder / 'results' / key).rglob('result.json'))]
        for key in TRAININGS
    }
    assert [len(means[key]) for key in TRAININGS] == [4, 2, 2, 2, 2, 2]
    assert means['tuned/one/none'] != means['tuned/one/self-kd']
    card = SaliencyModel.load(folder / 'runs/weights/found.safetensors').card
    assert card['arch'] == json.loads((folder / 'results/search/arch.json').read_text())['arch']
    assert set(card['metrics']) == {'one', 'two'} and card['training']['provenance']['trained_at']
    assert '| one |' in (folder / 'runs/weights/README.md').read_text()


def test_a_second_call_makes_nothing_anew(whole):
    folder, _ = whole
    files = [*(folder / 'results').rglob('r*.json'), *(folder / 'results').rglob('study.jsonl')]
    before = {p: p.stat().st_mtime_ns for p in [*files, *(folder / 'runs').rglob('*.pt')]}
    papermill('pipeline.ipynb', folder / 'again.ipynb', *options(**small(folder)))
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_results_without_weights_are_enough_for_the_tables(whole):
    "As in a clean clone, where finished results are committed and weights are not."
    folder, notebook = whole
    where = small(folder) | {'runs_dir': str(folder / 'no weights')}
    again = papermill('pipeline.ipynb', folder / 'tables.ipynb', *options(**where))
    assert 'net.safetensors is not here: finished results come along' in printed(again)
    assert not list((folder / 'no weights').rglob('*.safetensors'))


def test_the_four_commands_do_the_same(whole):
    "They are taken from the page as they stand there, and end at the notebook's weights."
    folder, notebook = whole
    lines = [shlex.split(line) for line in printed(notebook).splitlines() if line.startswith('salnas_')]
    assert [line[0] for line in lines] == ['salnas_train', 'salnas_search', 'salnas_train', 'salnas_predict']
    for name, *arguments in lines:
        script = [sys.executable, '-c', f'{COMMANDS[name]}; command()', *arguments]
        done = subprocess.run(script, env=ENV, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    runs, by_hand = folder / 'runs', folder / 'commands'
    assert equal(weights(runs / 'joint/best.safetensors'), weights(by_hand / 'joint/best.safetensors'))
    archs = [json.loads((p / 'search/arch.json').read_text()) for p in (folder / 'results', by_hand)]
    assert archs[0]['arch'] == archs[1]['arch'] and archs[0]['notes']['scores'] == archs[1]['notes']['scores']
    found = (runs / 'retrained/found/network/net.safetensors', by_hand / 'found/network/net.safetensors')
    assert equal(*map(weights, found))
    maps = sorted(p.name for p in (by_hand / 'maps').glob('*.map.png'))
    assert len(maps) == len(list((runs / 'data/two/stimuli').iterdir())) == 32


SCRIPT = """
import json, sys
from notebooks import namespace
namespace('pipeline.ipynb', 'model.save(weights', **json.loads(sys.argv[1]))
"""


def begun(folder, stage):
    "Whether a stage has something that the next call must go on from."
    if stage == 'search':
        study = folder / 'runs/search/study.jsonl'
        return study.is_file() and '"state": "done"' in study.read_text()
    return bool(list((folder / 'runs' / stage).rglob('state-*.pt')))


def test_kill_9_in_every_stage(whole, tmp_path):
    "What was finished is not made again, and the end is that of a pipeline that nobody killed."
    finished = {}
    script = [sys.executable, '-c', SCRIPT, json.dumps(small(tmp_path))]
    start = dict(env=ENV, cwd=ROOT / 'nbs/experiments', start_new_session=True, stdout=subprocess.DEVNULL)
    for stage in ('joint', 'tuned', 'search', 'retrained'):
        process = subprocess.Popen(script, **start)
        while not begun(tmp_path, stage):
            assert process.poll() is None
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        now = {p: p.stat().st_mtime_ns for p in (tmp_path / 'results').rglob('run.json')}
        assert finished.items() <= now.items()
        finished = now
        print(f'killed in {stage}: {len(finished)} of 7 runs finished')
    assert subprocess.run(script, **start).returncode == 0
    assert finished.items() <= {p: p.stat().st_mtime_ns for p in (tmp_path / 'results').rglob('run.json')}.items()
    for key in TRAININGS:
        assert equal(*(weights(f / 'runs' / key / 'best.safetensors') for f in (whole[0], tmp_path))), key
    studies = [history(f / 'results/search/study.jsonl') for f in (whole[0], tmp_path)]
    assert [list(s.arch) for s in studies[:1]] == [list(s.arch) for s in studies[1:]] and len(studies[1]) == 4
    assert np.allclose(studies[0]['CC two'], studies[1]['CC two'])


def test_what_cannot_work_is_said_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / 'nbs/experiments')
    where = small(tmp_path)
    with pytest.raises(FileNotFoundError, match='salnas_data get osie crowd scene --data-root'):
        namespace('pipeline.ipynb', "'trained'", **where | dict(profile='cpu', data_root=str(tmp_path)))
    for wrong, message in (
        (dict(strategy='evolve'), "unknown strategy 'evolve'"),
        (dict(objectives=['AUC']), "unknown score 'AUC'"),
        (dict(max_macs='10'), 'no architecture'),
    ):
        with pytest.raises(ValueError, match=message):
            namespace('pipeline.ipynb', "'trained'", **where | wrong)
    assert not list(tmp_path.rglob('grid.json'))


@pytest.mark.parametrize('workers', [0, 2])
def test_a_search_in_a_database(tmp_path, workers):
    "Alone or by two processes, in two calls: the trials of one call that keeps a file."
    pytest.importorskip('optuna')
    names = ['one', 'two']
    for seed, name in enumerate(names):
        write_popout(tmp_path / name, seed, n=24)
    net = save_checkpoint(Supernet(tiny_space((64,)), seed=0), tmp_path / 'net.safetensors')
    asked = [str(net), '--dataset', *names, '--data-root', str(tmp_path), '--strategy', 'random', '--calibration', '8']
    asked += ['--size', '48', '64']
    url, place = f'sqlite:///{tmp_path}/study.db', ['--output-dir', str(tmp_path / 'found')]
    for trials in ('2', '3'):
        search_command([*asked, *place, '--storage', url, '--workers', str(workers), '--trials', trials])
    search_command([*asked, '--trials', '3', '--output-dir', str(tmp_path / 'alone')])
    there, alone = history(url), history(tmp_path / 'alone/study.jsonl')
    pd.testing.assert_series_equal(there.arch, alone.arch)
    assert np.allclose(there['CC two'], alone['CC two'])
