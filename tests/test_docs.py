"The glue of the documentation site: navigation, text, pages, API entries, the checker. The whole build is a slow test."

import base64
import io
import json
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
pytest.importorskip('fastcore', reason='the extra `docs` is missing: pip install -e .[docs]')
pytest.importorskip('bs4', reason='the extra `docs` is missing: pip install -e .[docs]')

from docs import check, navigation, objects, pages, trial  # noqa: E402
from docs.text import Links, escaped  # noqa: E402
from salnas.predict import SaliencyModel  # noqa: E402
from salnas.recordings import checksum  # noqa: E402
from salnas.supernet import macs  # noqa: E402
from salnas.testing import raises  # noqa: E402

NBS = ROOT / 'nbs'


def sidebar(folder, *lines, files=('index.ipynb', '00_a.ipynb', 'b.md', 'w/c.ipynb')):
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text('')
    head = ['website:', '  sidebar:', '    contents:']
    (folder / 'sidebar.yml').write_text('\n'.join(head + ['      ' + line for line in lines]) + '\n')
    return folder


def test_pages_are_named_as_nbdev_names_them():
    from nbdev.doclinks import _nbpath2html

    for source in ('00_data.ipynb', 'workshop/runs.ipynb', '12_predict.ipynb', 'experiments/kd_ablation.ipynb'):
        assert navigation.docname(source) + '.html' == _nbpath2html(Path(source)).as_posix()


def test_the_sidebar_becomes_tables_of_contents(tmp_path):
    nested = '- section: W', '  contents:', '    - section: In', '      contents:', '        - w/c.ipynb'
    whole = navigation.navigation(sidebar(tmp_path, '- index.ipynb', '- 00_a.ipynb', *nested))
    assert whole.sources == ['index.ipynb', '00_a.ipynb', 'w/c.ipynb']
    trees = navigation.toctrees(whole)
    assert trees.index('/a\n') < trees.index(':caption: W') < trees.index('/section-in')
    assert '/index' not in trees.splitlines()  # the home page does not list itself


def test_a_section_within_a_section_has_a_page_that_lists_its_rooms():
    whole = navigation.navigation(NBS)
    made = navigation.section_pages(whole, NBS)
    assert '](/workshop/runs): ' in made['workshop/section-experiments']
    listed = [s for outer in whole.contents for s in getattr(outer, 'contents', ()) if not isinstance(s, str)]
    assert len(made) == len(listed) >= 6


@pytest.mark.parametrize(
    'lines, message',
    [
        (['- index.ipynb', '- gone.ipynb'], 'gone.ipynb'),
        (['- 00_a.ipynb', '- section: S', '  contents:', '    - 00_a.ipynb'], 'rename all but one'),
    ],
)
def test_a_sidebar_that_cannot_be_right_is_refused(tmp_path, lines, message):
    with raises(ValueError, message):
        navigation.navigation(sidebar(tmp_path, *lines))


def links(source='workshop/runs.ipynb', resolve=lambda name: {'fit': 'salnas.training.fit'}.get(name)):
    return Links(source, ['00_data.ipynb', 'workshop/runs.ipynb', 'glossary.md'], ROOT, 'https://host/r', resolve)


@pytest.mark.parametrize(
    'text, expected',
    [
        ('see [data](../00_data.ipynb#coordinates).', 'see [data](../data.ipynb#coordinates).'),
        ('see [words](../glossary.md)', 'see [words](../glossary.md)'),
        ('[other](https://x.org/a.ipynb)', '[other](https://x.org/a.ipynb)'),
        ('[licence](../../LICENSE)', '[licence](https://host/r/blob/main/LICENSE)'),
        ('`fit` or `fit()`, not `fit_`', '{py:obj}`fit <@>` or {py:obj}`fit() <@>`, not `fit_`'),
        ('## On `fit`', '## On `fit`'),
        ('```\n`fit`\n```', '```\n`fit`\n```'),
        ('$a `fit` b$ and [`fit`](../00_data.ipynb)', '$a `fit` b$ and [`fit`](../data.ipynb)'),
    ],
)  # fmt: skip
def test_links_and_names_in_prose(text, expected):
    assert links()(text) == expected.replace('@', 'salnas.training.fit')


def test_a_link_to_nothing_stops_the_build():
    with raises(ValueError, 'nbs/workshop/runs.ipynb links to ../gone.ipynb'):
        links()('[x](../gone.ipynb)')


def test_markup_in_docstrings_is_literal():
    assert escaped('<root>/*.json costs $5, `a<b`') == r'\<root>/\*.json costs \$5, `a<b`'


def notebook(*cells):
    v4, made = nbformat.v4, nbformat.v4.new_notebook()
    made.cells = [v4.new_markdown_cell('# Title\n\n> A `sentence`.')]
    made.cells += [v4.new_code_cell(c) if isinstance(c, str) else c for c in cells]
    return made


def made(*cells, source='00_data.ipynb'):
    return pages.page(notebook(*cells), source, lambda text: text, 'https://github.com/o/r').cells


def test_a_page_begins_with_title_sentence_and_buttons():
    head, buttons = made()
    assert head.source == '# Title\n\n{.lead}\nA `sentence`.'
    assert 'colab.research.google.com/github/o/r/blob/gh-pages/notebooks/00_data.ipynb' in buttons.source
    assert 'href="../notebooks/workshop/runs.ipynb"' in pages.buttons(
        'workshop/runs.ipynb', 1, 'https://github.com/o/r'
    )


def test_directives_decide_what_is_shown():
    printed = nbformat.v4.new_code_cell(
        '#| echo: false\nprint(1)', outputs=[nbformat.v4.new_output('stream', text='1')]
    )
    hidden = '#| hide\nassert True', '#| default_exp data', '#| export\nimport os', "#| export\n_all_ = ['a']"
    cells = made(*hidden, '#| echo: false\nx = 1', printed, 'y = 2', '#| code-fold: true\nz = 3')[2:]
    assert [c.source for c in cells] == ['print(1)', 'y = 2', 'z = 3']
    assert [c.metadata['tags'] for c in cells] == [['remove-input'], [], ['hide-input']]
    with raises(ValueError, 'nbs/00_data.ipynb', 'warp'):
        made('#| warp: 9\nx = 1')


def test_solutions_are_folded_with_what_they_print():
    cell = made('#| code-fold: true\n#| code-summary: "Solution 2"\nprint(4)')[2]
    assert cell.metadata['tags'] == ['hide-cell'] and cell.metadata['mystnb']['code_prompt_show'] == 'Solution 2'


def test_figures_carry_their_description():
    cell = made('#| fig-alt: "A heron: grey"\nplot()')[2]
    assert (cell.source, cell.metadata['mystnb']) == ('plot()', {'image': {'alt': 'A heron: grey'}})


@pytest.mark.parametrize('bare, drawing', [(0.9, True), (0.2, False)])
def test_only_drawings_may_be_turned_dark(bare, drawing):
    picture = np.full((10, 10, 3), 255, np.uint8)
    picture[: round(10 * (1 - bare))] = 90, 20, 160
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'PNG')
    data = {'image/png': base64.b64encode(file.getvalue()).decode()}
    figure = nbformat.v4.new_output('display_data', data=data)
    cell = made(nbformat.v4.new_code_cell('plot()', outputs=[figure]))[2]
    assert ('drawing' in cell.metadata['mystnb']['image'].values()) == drawing


def test_exported_cells_are_documented_above_their_folded_source():
    source = next(
        c.source for c in nbformat.read(NBS / '00_data.ipynb', 4).cells if '\ndef count_map(' in c.get('source', '')
    )
    entry, code = made('#| default_exp data', source)[2:]
    assert entry.source.startswith(':::::{py:function} count_map(points, native_size, size)\n:module: salnas.data\n')
    assert ':param size: (H, W) of the asked grid' in entry.source
    assert code.metadata['tags'] == ['hide-input'] and code.source.startswith('def count_map')


def test_a_class_is_documented_with_its_methods():
    entry = objects.entry('salnas.search.Evolution', lambda text: text)
    assert entry.startswith(':::::{py:class} Evolution(space')
    from salnas.strategy import Strategy

    asked = objects.entry(f'{Strategy.__module__}.Strategy', lambda text: text)
    assert '::::{py:method} ask(' in asked and 'self' not in asked.split('py:method', 1)[1].split(')')[0]


def test_signatures_can_always_be_parsed():
    import ast
    from dataclasses import dataclass, field

    @dataclass
    class Odd:
        a: list = field(default_factory=list)
        b: object = object()

    def keywords(x, *, y: 'int | None' = None, **rest) -> None: ...

    assert objects.signature(Odd) == '(a: list = ..., b: object = ...)'
    assert objects.signature(keywords) == '(x, *, y: int | None = None, **rest)'
    for name in objects.Objects(_symbols()).names:
        if signature := objects.signature(objects.found(name)):
            ast.parse(f'def f{signature}: ...')


def _symbols():
    from salnas._modidx import d

    return {module: list(names) for module, names in d['syms'].items()}


def test_names_resolve_where_it_is_clear_what_they_mean():
    known = objects.Objects(
        {'salnas.a': ['salnas.a.f', 'salnas.a.K', 'salnas.a.K.m', 'salnas.a._p'], 'salnas.b': ['salnas.b.f']}
    )
    assert known.resolve('K.m') == known.resolve('a.K.m') == 'salnas.a.K.m'
    assert known.resolve('f') is None and known.resolve('f', 'salnas.b') == known.resolve('b.f') == 'salnas.b.f'
    assert known.resolve('_p') is None and known.resolve('salnas.a') == 'salnas.a' and known.resolve('a') is None


def test_downloads_begin_with_a_cell_that_installs():
    copy = pages.with_install(notebook('x = 1'), 'workshop/runs.ipynb', 'https://github.com/o/r')
    assert 'git clone' in copy.cells[1].source and '%cd salnas/nbs/workshop' in copy.cells[1].source
    nbformat.validate(copy)


PAGE = """<html><head><title>t</title><meta property="og:image" content="https://h/s/p.jpg">
<meta name="description" content="d">{head}</head><body><h1 id="top">t</h1>{body}</body></html>"""


@pytest.mark.parametrize(
    'head, body, fault',
    [
        ('', '<a href="#top">x</a><a href="/s/b.html">x</a><a href="https://o.org">x</a>', None),
        ('', '<a href="c.html">x</a>', 'c.html, which is not there'),
        ('', '<a href="b.html#gone">x</a>', 'no such anchor'),
        ('', '<img src="p.jpg">', 'without a text'),
        ('', '<img src="p.jpg" alt="../p.jpg">', 'without a text'),
        ('<script src="https://cdn.org/x.js"></script>', '', 'from another site'),
        ('<link rel="stylesheet" href="//cdn.org/x.css">', '', 'from another site'),
        ('', '<h1>again</h1>', '2 headings'),
        ('', '<p id="top"></p>', 'more than once'),
    ],
)
def test_the_checker_sees(tmp_path, head, body, fault):
    (tmp_path / 'p.jpg').write_bytes(b'')
    (tmp_path / 'b.html').write_text(PAGE.format(head='', body=''))
    (tmp_path / 'a.html').write_text(PAGE.format(head=head, body=body))
    found = check.faults(tmp_path, 'https://h/s')
    assert (len(found) == 1 and fault in found[0] and found[0].startswith('a.html')) if fault else not found, found


def test_every_figure_has_a_description():
    for path in navigation.navigation(NBS).sources:
        if path.endswith('.ipynb'):
            for cell in json.loads((NBS / path).read_text())['cells']:
                pictures = any({'image/png', 'image/jpeg'} & o.get('data', {}).keys() for o in cell.get('outputs', []))
                described = pages.directives(''.join(cell['source']))[0].get('fig-alt')
                assert described or not pictures, (
                    f'nbs/{path}, cell {cell["id"]}: say what its figure shows, #| fig-alt:'
                )


@pytest.mark.parametrize('path', ['datasets.ipynb', 'models.ipynb', 'workshop/index.ipynb'])
def test_listings_are_as_fresh_as_what_they_list(path, monkeypatch):
    "Pages whose text is made by their cells: run them again, and compare."
    monkeypatch.chdir((NBS / path).parent)
    names = {}
    for cell in nbformat.read(NBS / path, 4).cells:
        if cell.cell_type == 'code':
            _, code = pages.directives(cell.source)
            before, _, last = code.rpartition('\n')
            if last.startswith('Markdown('):
                exec(before, names)
                shown = eval(last, names).data
                assert shown == cell.outputs[0].data['text/markdown'], (
                    f'jupyter nbconvert --to notebook --execute --inplace nbs/{path} && nbdev_clean'
                )
            else:
                exec(code, names)


def test_nbdevs_own_flow_for_quarto_documents_without_executing():
    from execnb.nbio import read_nb
    from nbdev.processors import FilterDefaults

    processed = read_nb(NBS / '00_data.ipynb')
    FilterDefaults()(processed)
    text = '\n'.join(c.source for c in processed.cells if c.cell_type == 'markdown')
    assert '### count_map {#count_map}' in text and '(H, W) of the asked grid' in text
    assert not [c for c in processed.cells if 'show_doc(' in c.source]


def test_llms_txt_lists_every_page():
    pytest.importorskip('sphinx', reason='the extra `docs` is missing: pip install -e .[docs]')
    from docs import build

    site = SimpleNamespace(**build.facts(NBS))
    assert site.title == 'salnas'
    text = build.llms(build.facts(NBS), [('00_data.ipynb', 'Data', 'Exact.')])
    assert f'- [Data]({build.facts(NBS)["site-url"]}/data.md): Exact.' in text


def test_the_runtime_of_the_browser_is_what_the_page_needs_of_its_package(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime', reason='the extra `docs` is missing: pip install -e .[docs]')
    package = tmp_path / 'cache/package.tgz'  # is there already, so nobody is asked
    package.parent.mkdir()
    with tarfile.open(package, 'w:gz') as archive:
        for name in (*trial.PARTS, 'ort.webgpu.min.mjs'):
            entry = tarfile.TarInfo(f'package/dist/{name}')
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    pinned = trial.File(package.name, (), digest=f'sha256:{checksum(package)}')
    monkeypatch.setattr(trial, 'PACKAGE', pinned)
    facts = trial.runtime(tmp_path / 'out', package.parent)
    assert facts == dict(edition=trial.EDITION, bytes=sum(map(len, trial.PARTS)))
    notices = {'LICENSE.txt', 'ThirdPartyNotices.txt'}
    assert {p.name for p in (tmp_path / 'out').iterdir()} == {*trial.PARTS, *notices}
    assert all((tmp_path / 'out' / name).read_text() == name for name in trial.PARTS)
    assert 'Copyright (c) Microsoft Corporation' in (tmp_path / 'out/LICENSE.txt').read_text()
    package.write_bytes(package.read_bytes()[:-1])
    assert trial.runtime(tmp_path / 'out', package.parent) == {}  # not the pinned one


def test_without_a_network_the_page_has_nothing_to_compute_with_and_the_build_goes_on(tmp_path, monkeypatch, capsys):
    def offline(*args, **kwargs):
        raise ConnectionError('the connection failed')

    monkeypatch.setattr(trial, 'fetch', offline)
    trial.write(tmp_path / 'try', tmp_path / 'cache')
    about = json.loads((tmp_path / 'try/about.json').read_text())
    assert (about['runtime'], about['networks']) == ({}, []) and 'the connection failed' in capsys.readouterr().out
    assert len(about['photographs']) == 8 and all(
        (tmp_path / 'try' / p['file']).is_file() for p in about['photographs']
    )
    assert {Path(p['file']).name for p in about['photographs']} == {p.name for p in trial.FOLDER.glob('*.jpg')}
    assert 'NUS VIP' in (tmp_path / 'try/photographs/LICENSE.txt').read_text()


def test_what_the_page_says_of_a_network_is_true(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime', reason='the extra `docs` is missing: pip install -e .[docs]')
    name = next(n for n in trial.NAMES if n in trial.PACKAGED)
    facts, model = trial.network(name, tmp_path), SaliencyModel.load(name)
    assert facts['macs'] == macs(model.net, model.size) and facts['size'] == model.size
    assert (
        facts['bytes'] == (tmp_path / facts['file']).stat().st_size > 4e6
    )  # at least 32 bits for a million parameters
    assert facts['cc']['osie'] == model.card['metrics']['osie']['CC']
    keeping = SimpleNamespace(transform=replace(model.transform, keep_aspect=True))
    monkeypatch.setattr(trial.SaliencyModel, 'load', lambda name: keeping)
    with raises(ValueError, 'only squashes bilinearly'):
        trial.network(name, tmp_path)
