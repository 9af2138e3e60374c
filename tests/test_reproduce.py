"salnas_reproduce through the real papermill, on experiments of two cells; the report of results that a hand changed."

import json
import os
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from salnas.pages import write_report
from salnas.reproduce import reproduce_command

ROOT = Path(__file__).resolve().parent.parent


def experiment(root, name, code, **parameters):
    "A notebook of two cells under a checkout."
    told = dict(data_root='', runs_dir=f'../../runs/{name}', results_dir=f'../../results/{name}') | parameters
    cells = [
        nbformat.v4.new_code_cell('\n'.join(f'{k} = {v!r}' for k, v in told.items())),
        nbformat.v4.new_code_cell(code),
    ]
    cells[0].metadata['tags'] = ['parameters']
    kernel = {'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}}
    path = root / 'nbs/experiments' / f'{name}.ipynb'
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / 'nbs/experiments').mkdir(parents=True)
    (tmp_path / 'settings.ini').write_text('[DEFAULT]\nlib_name = salnas\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
    return tmp_path


def status(*arguments):
    with pytest.raises(SystemExit) as e:
        reproduce_command(list(arguments))
    return e.value.code


def states(checkout, profile='cpu'):
    return json.loads((checkout / 'runs/reproduce' / profile / 'notebooks.json').read_text())


def test_two_small_ones_at_a_time(checkout, capfd, monkeypatch):
    "Each waits until the other is there, in its own folder; the caller's stays what it was."
    meet = """import os, time
    from pathlib import Path
    Path(runs_dir).mkdir(parents=True)
    assert os.path.samefile('.', '../../nbs/experiments') and os.environ['OMP_NUM_THREADS'] == '1'
    until = time.time() + 60
    while not all(Path(f'../../runs/reproduce/smoke/runs/{name}').is_dir() for name in ('one', 'two')):
        assert time.time() < until, 'the other did not come'
        time.sleep(.1)""".replace('\n    ', '\n')
    for name in ('one', 'two'):
        experiment(checkout, name, meet, profile='cpu', dataset='popout')
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    assert reproduce_command(['--profile', 'smoke', '--workers', '2', '--results', 'out']) is None
    said = capfd.readouterr().out
    assert '] one: done' in said and '] two: done' in said
    assert Path.cwd() == checkout and (checkout / 'out/REPORT.md').is_file()


def test_one_fails_the_other_goes_on_and_all_is_told(checkout, capsys):
    made = "from pathlib import Path\nPath(results_dir).mkdir(parents=True)\nprint('made by', profile)"
    experiment(checkout, 'bad', "print('before')\nraise ValueError('one of many')", dataset='popout')
    experiment(checkout, 'good', made, profile='cpu')
    assert status() == 1
    said = capsys.readouterr().out
    assert '[1 of 2] bad: failed ValueError: one of many (' in said and ' min left)' in said
    assert 'made by cpu' in said and '[2 of 2] good: done (' in said
    partial = nbformat.read(checkout / 'runs/reproduce/cpu/bad.ipynb', 4)
    outputs = [o for c in partial.cells for o in c.get('outputs', [])]
    assert any(o.get('text') == 'before\n' for o in outputs) and any(o.output_type == 'error' for o in outputs)
    report = (checkout / 'results/REPORT.md').read_text()
    assert '| bad | failed | ValueError: one of many |' in report and '| good | done |' in report
    assert (checkout / 'results/report.html').is_file() and (checkout / 'results/good').is_dir()


def test_an_unknown_parameter_stops_before_anything_runs(checkout):
    experiment(checkout, 'knows', "open(results_dir, 'w')", epochs=1)
    assert 'knows does not know the parameter epoch: it has data_root' in status('--set', 'epoch=2')
    assert "no experiment 'nobody': choose among knows" in status('--only', 'nobody')
    odd = experiment(checkout, 'odd', '')
    notebook = nbformat.read(odd, 4)
    notebook.cells[0].source = "data_root = ''"
    nbformat.write(notebook, odd)
    assert 'odd has no parameter runs_dir, results_dir' in status()
    notebook.cells[0].metadata.tags = []
    nbformat.write(notebook, odd)
    assert 'no cell with the tag parameters' in status()
    assert not (checkout / 'runs').exists() and not (checkout / 'results').exists()


GRID = """
import json
from salnas import runs
made = runs.complete([{'key': f'one/{i}', 'value': i} for i in range(2)], 'steps:make', runs_dir, results=results_dir)
runs.complete([{'key': 'two', 'value': json.loads((made['one/1'] / 'value.json').read_text())}], 'steps:make', runs_dir)
"""
STEPS = """
import json
def make(folder, value):
    (folder / 'value.json').write_text(json.dumps(value))
"""


def test_runs_are_listed_made_and_then_need_no_data(checkout, capsys):
    (checkout / 'nbs/experiments/steps.py').write_text(STEPS)
    experiment(checkout, 'grid', GRID, dataset='osie')
    nowhere = '--data-root', str(checkout / 'nowhere')
    reproduce_command([*nowhere])
    skipped = states(checkout)['grid']
    assert skipped['state'] == 'skipped' and 'salnas_data get osie --data-root' in skipped['reason']
    assert 'salnas_data get osie' in (checkout / 'results/REPORT.md').read_text()
    capsys.readouterr()
    assert status('--list') == 0
    head, *commands, last = capsys.readouterr().out.splitlines()
    assert head == '# grid: 2 runs' and last.startswith('# grid: what comes after these is known when they are made')
    assert [c.split()[:3] + c.split()[4:] for c in commands] == [
        ['python', '-m', 'salnas.runs', f'one/{i}'] for i in range(2)
    ]
    assert not (checkout / 'results/grid').exists()
    (checkout / 'nowhere/osie').mkdir(parents=True)
    (checkout / 'nowhere/osie/meta.json').write_text('{}')
    reproduce_command([*nowhere])
    assert json.loads((checkout / 'runs/grid/two/value.json').read_text()) == 1
    shutil.rmtree(checkout / 'nowhere')
    reproduce_command([*nowhere])  # all is made: the tables come from files
    assert states(checkout)['grid']['state'] == 'done'


def test_smoke_writes_nothing_into_results_and_says_who_has_none(checkout):
    write = 'from pathlib import Path\nfor d in (results_dir, runs_dir):\n    Path(d, profile).mkdir(parents=True)'
    experiment(checkout, 'small', write, profile='cpu', dataset='osie')
    experiment(checkout, 'large', 'raise ValueError', dataset='osie')
    reproduce_command(['--profile', 'smoke'])
    own = checkout / 'runs/reproduce/smoke'
    assert (own / 'results/small/smoke').is_dir() and (own / 'runs/small/smoke').is_dir()
    assert '| large | skipped | no smoke profile |' in (own / 'results/REPORT.md').read_text()
    assert not (checkout / 'results').exists()


def test_a_hand_that_changes_a_result_changes_the_report(tmp_path):
    copy = tmp_path / 'results'
    shutil.copytree(ROOT / 'results/kd_ablation-osie', copy / 'kd_ablation-osie')
    line = lambda text: next(
        l for l in text.splitlines() if l.startswith('| Self-KD beats training without a teacher |')
    )
    before = line(write_report(copy)[0].read_text())
    assert '| does not hold |' in before
    for folder in (copy / 'kd_ablation-osie/self-kd').glob('seed*/largest'):
        rows = pd.read_csv(folder / 'per_image.csv', index_col='image')
        rows['CC'] = 0.9 + rows.CC / 100
        rows.to_csv(folder / 'per_image.csv')
    after = line(write_report(copy)[0].read_text())
    assert '| holds |' in after and before.split('|')[3] != after.split('|')[3]
    shutil.rmtree(copy / 'kd_ablation-osie/self-kd')
    assert '| no run |' in line(write_report(copy)[0].read_text())


def test_the_committed_report_is_that_of_the_committed_results(tmp_path, monkeypatch):
    "`salnas_reproduce --report-only` after new results, or after a change that makes old ones stale."
    monkeypatch.chdir(ROOT)
    shutil.copytree(ROOT / 'results', tmp_path / 'results', ignore=shutil.ignore_patterns('*.png', 'REPORT.md'))
    reproduce_command(['--report-only', '--results', str(tmp_path / 'results')])
    told, committed = ((place / 'results/REPORT.md').read_text() for place in (tmp_path, ROOT))
    assert told == committed, 'run: .venv/bin/salnas_reproduce --report-only'
