"The house rules: exported, clean, importable, readable, and papermill's parameters arrive."

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
NOTEBOOKS = sorted(
    p for p in (ROOT / 'nbs').rglob('*.ipynb') if not any(part[0] in '._' for part in p.relative_to(ROOT).parts)
)


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    "A copy of the tree, so that a check never changes what it checks."
    copy = tmp_path_factory.mktemp('tree') / 'salnas'
    ignore = shutil.ignore_patterns(
        '.git',
        '.venv*',
        'runs',
        '_proc',
        '_docs',
        'results',
        'data',
        '*.egg-info',
        '__pycache__',
        '.pytest_cache',
        '.ipynb_checkpoints',
    )
    shutil.copytree(ROOT, copy, ignore=ignore, symlinks=True)
    return copy


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob('*')
        if p.is_file() and '__pycache__' not in p.parts
    }


def run(*command, cwd, **env):
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=os.environ | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize('command, folder', [('nbdev_export', 'salnas'), ('nbdev_clean', 'nbs')])
def test_is_a_no_op_on_the_tree(tree, command, folder):
    before = contents(tree / folder)
    run(BIN / command, cwd=tree)
    after = contents(tree / folder)
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    assert not changed, f'{command} changes {changed}: run it and commit the result'


def modules():
    return sorted(p.stem for p in (ROOT / 'salnas').glob('*.py') if p.stem[0] != '_')


FIRST = """
import importlib, os, sys
# what the children get for nothing; not salnas
import matplotlib.pyplot, numpy, pandas, scipy.ndimage, scipy.stats, torch, torchvision
for name in sys.argv[1:]:
    if (child := os.fork()) == 0:
        module = importlib.import_module(f'salnas.{name}')
        for public in getattr(module, '__all__', ()):
            getattr(module, public)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f'salnas.{name} cannot be the first module that a program imports')
"""


def test_every_module_can_be_imported_first_and_has_what_it_lists():
    "Two rooms that import each other work or fail by the order of imports; and nbdev_test runs cells, not the library."
    assert {'data', 'metrics', 'space', 'supernet', 'training', 'selfkd'} <= set(modules())
    run(sys.executable, '-c', FIRST, *modules(), cwd=ROOT)


def imported(path):
    "(line, module, name) of every name that a file of the library takes from another one."
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or '').startswith('salnas')):
            for alias in node.names:
                yield node.lineno, node.module or '', alias.name


@pytest.mark.parametrize('name', modules())
def test_a_room_keeps_its_private_names(name):
    private = [f'{module}.{what}' for _, module, what in imported(ROOT / f'salnas/{name}.py') if what[0] == '_']
    assert not private, f'salnas.{name} takes {private}: give them public names, or move them'


def generated(lines):
    "Where nbdev lists the public names, in lines of its own width."
    start = next((i for i, line in enumerate(lines) if line.startswith('__all__')), 0)
    return range(start, lines.index('', start))


@pytest.mark.parametrize('name', modules())
def test_a_room_has_a_size_that_can_be_read(name):
    lines = (ROOT / f'salnas/{name}.py').read_text().splitlines()
    assert len(lines) <= 400, f'salnas.{name} has {len(lines)} lines: a wall is missing'
    long = [i + 1 for i, line in enumerate(lines) if len(line) > 120 and i not in generated(lines)]
    assert not long, f'lines {long} of salnas.{name} are too long'


def test_lines_are_short_statements_alone_and_imports_used():
    run(BIN / 'ruff', 'check', '.', cwd=ROOT)
    run(BIN / 'ruff', 'format', '--check', '.', cwd=ROOT)


def test_the_library_needs_only_its_requirements():
    "No module imports what only developers have (nbdev's pins must never reach a user)."
    config = ConfigParser(delimiters=['='])
    config.read(ROOT / 'settings.ini')
    optional = {
        'pysaliency',
        'nncf',
        'onnxruntime',
        'openvino',
        'codecarbon',
        'av',
        'optuna',
    }  # imported where they are asked for, and named then
    allowed = (
        {re.split('[<>=!~;]', r)[0] for r in config['DEFAULT']['requirements'].split()}
        | {'PIL', 'salnas'}
        | optional
        | set(sys.stdlib_module_names)
    )
    for file in (ROOT / 'salnas').glob('*.py'):
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom) and node.level == 0
                else []
            )
            outside = {n.split('.')[0] for n in names} - allowed
            assert not outside, f'{file.name} imports {outside}'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_fit_to_be_read(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    title = notebook.cells[0].source.splitlines()
    assert title[0].startswith('# ') and any(line.startswith('> ') for line in title) and len(title) == 3, (
        'the first cell holds the title and one sentence, nothing else'
    )
    assert notebook.metadata.kernelspec.name == 'python3'
    assert 'widgets' not in notebook.metadata, 'take the state of widgets out: pages with it fetch scripts elsewhere'
    for cell in notebook.cells:
        for output in cell.get('outputs', []):
            assert output.output_type != 'error' and output.get('name') != 'stderr', cell.source
            live = 'application/vnd.jupyter.widget-view+json'
            assert live not in output.get('data', {}), f'take {live} out of the output of: {cell.source}'
        assert not [w for w in ('root', 'home', 'work', 'tmp') if f'/{w}/' in json.dumps(cell.get('outputs', []))], (
            f'a path of some machine in the output of: {cell.source}'
        )


LESSONS = [p for p in NOTEBOOKS if re.match(r'(0\d|1[0-3])_', p.name)]


@pytest.mark.parametrize('path', LESSONS, ids=lambda p: p.stem)
def test_a_lesson_says_what_was_learnt_and_solves_its_exercises(path):
    "Solutions that are code are run with the notebook; they are folded, on the site and in JupyterLab."
    cells = nbformat.read(path, 4).cells
    text = '\n'.join(c.source for c in cells if c.cell_type == 'markdown')
    assert '## What did we learn?' in text and '## Exercises' in text
    asked = re.findall(r'^(\d+)\. ', text.rpartition('## Exercises')[2], re.M)
    solved = re.findall(r'<summary>Solution (\d+)</summary>', text)
    for cell in cells:
        if found := re.search(r'^#\| code-summary: "Solution (\d+)"$', cell.source, re.M):
            assert cell.metadata.jupyter.source_hidden and '#| code-fold: true' in cell.source
            solved.append(found[1])
    assert asked and sorted(solved, key=int) == asked


def test_the_sidebar_lists_every_notebook_once():
    listed = re.findall(r'^ +- (\S+\.ipynb)$', (ROOT / 'nbs/sidebar.yml').read_text(), re.M)
    assert sorted(listed) == sorted(str(p.relative_to(ROOT / 'nbs')) for p in NOTEBOOKS)


def test_the_index_of_the_workshop_lists_every_room():
    "Its table is an output, made when the page was last run."
    index = ROOT / 'nbs/workshop/index.ipynb'
    shown = json.dumps([c.get('outputs') for c in nbformat.read(index, 4).cells])
    missing = [p.name for p in NOTEBOOKS if p.parent == index.parent and p != index and f']({p.name})' not in shown]
    assert not missing, f'run nbs/workshop/index.ipynb again: it lacks {missing}'


def test_the_site_has_one_configuration():
    link = ROOT / 'nbs' / '_quarto.yml'
    assert (
        link.is_symlink()
        and os.readlink(link) == '../_quarto.yml'
        and link.resolve() == (ROOT / '_quarto.yml').resolve()
    )


PAPERMILL = 'papermill', '--no-progress-bar', '--log-level', 'ERROR'
ROWS = 'none, largest|none, smallest|self-kd, largest|self-kd, smallest|centre bias|true density'.split('|')


def test_papermill_parameters_arrive_and_results_go_to_runs(tree):
    """Without the `parameters` tag papermill runs the defaults and says nothing.

    So ask for something else than the defaults and look at what ran, from the root, without --cwd."""
    (tree / 'runs').mkdir(exist_ok=True)
    asked = dict(profile='smoke', epochs=1, alpha=0.25, seed=3)
    options = [word for name, value in asked.items() for word in ('-p', name, value)]
    run(BIN / PAPERMILL[0], *PAPERMILL[1:], 'nbs/05_selfkd.ipynb', 'runs/ran.ipynb', *options, cwd=tree)
    out = tree / 'runs/05_selfkd'
    results = {r['model']: r for r in map(json.loads, (p.read_text() for p in out.glob('*/result.json')))}
    assert set(ROWS) == set(results)
    for name, r in results.items():
        facts = r['dataset'], r['edition'], r['protocol'], r['split'], r['experiment']
        assert facts == ('popout', 'popout-1', 'native', 'test', '05_selfkd')
        assert (r['seed'], r['profile']) == (3, 'smoke')
        if r['cost']:
            alpha = 0.25 if 'self-kd' in name else None
            assert (r['parameters']['epochs'], r['parameters']['kd'].get('alpha')) == (1, alpha)
        assert r['provenance']['versions']['torch'] and list(r['metrics']) == 'CC KLD NSS SIM AUC sAUC IG'.split()
    assert len((out / 'none' / 'log.jsonl').read_text().splitlines()) == 1


def test_the_main_notebook_finds_runs_from_everywhere(tree):
    "Its parameters and its output folder, from the root with --cwd nbs, from nbs/, and outside of any checkout."
    whole = nbformat.read(tree / 'nbs/05_selfkd.ipynb', 4)
    short = nbformat.v4.new_notebook(metadata=whole.metadata)
    starts = "dataset = 'popout'", 'output_dir = Path('
    short.cells = [nbformat.v4.new_code_cell('from pathlib import Path\nfrom salnas.checkout import runs_folder')]
    short.cells += [c for c in whole.cells if c.source.startswith(starts)]
    assert len(short.cells) == 3
    short.cells.append(nbformat.v4.new_code_cell("(output_dir / 'found').mkdir(parents=True)"))
    file, elsewhere = tree.parent / 'short.ipynb', tree.parent / 'elsewhere'
    nbformat.write(short, file)
    elsewhere.mkdir()
    for cwd, arguments, home in ((tree, ['--cwd', 'nbs'], tree), (tree / 'nbs', [], tree), (elsewhere, [], elsewhere)):
        run(BIN / PAPERMILL[0], *PAPERMILL[1:], file, tree.parent / 'ran.ipynb', *arguments, cwd=cwd)
        (home / 'runs/05_selfkd/found').rmdir()
