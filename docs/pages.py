"A notebook as a page: nbdev's directives obeyed, exported cells documented, prose linked. Nothing is executed."

import ast
import base64
import io
import re
from copy import deepcopy

import numpy as np
from nbformat import from_dict
from PIL import Image

from . import objects

DIRECTIVE = re.compile(r'#\|\s*([\w-]+)(:?)[ \t]*(.*)')
# directives that concern tests and exports, and say nothing about the page
SILENT = {'export', 'exports', 'default_exp', 'hide', 'notest', 'slow', 'gpu', 'eval', 'code-summary'}

INSTALL = """# Where salnas is not installed, as on Colab: fetch and install it, and work in its folder of notebooks.
import importlib.util

if importlib.util.find_spec('salnas') is None:
    !git clone --quiet --depth 1 {repository}
    %pip install --quiet ./salnas
    %cd {folder}"""


def new_markdown_cell(source, id):
    "nbformat's own validates each cell, which takes longer than all the rest; it validates the whole when it writes."
    return from_dict(dict(cell_type='markdown', id=id, metadata={}, source=source))


def new_code_cell(source, id, outputs=(), metadata=()):
    "As `new_markdown_cell`."
    facts = dict(cell_type='code', id=id, execution_count=None)
    return from_dict(facts | dict(metadata=dict(metadata), outputs=list(outputs), source=source))


def directives(code: str) -> tuple:
    "({name: value}, the code without them) of a cell; directives are its first lines."
    lines, found = code.split('\n'), {}
    while lines and (match := DIRECTIVE.match(lines[0])):
        found[match[1]] = match[3].strip().strip('"\'')
        lines.pop(0)
    return found, '\n'.join(lines).lstrip('\n')


def is_drawing(output) -> bool:
    """Whether a picture is a diagram or a curve on white paper: half of it is bare.

    Where the page is dark its lightness may be turned round. A photograph's, or a saliency map's, may not."""
    data = output['data']
    if 'image/png' not in data:
        return 'image/svg+xml' in data
    picture = Image.open(io.BytesIO(base64.b64decode(data['image/png']))).convert('RGBA')
    paper = Image.new('RGBA', picture.size, 'white')
    paper.alpha_composite(picture)
    return bool((np.asarray(paper.convert('L')) >= 250).mean() >= 0.5)


def is_plumbing(code: str) -> bool:
    "Only imports and lists of names: nothing to read on a page."
    listing = lambda n: (
        isinstance(n, ast.Assign) and all(getattr(t, 'id', '') in ('_all_', '__all__') for t in n.targets)
    )
    return all(isinstance(n, (ast.Import, ast.ImportFrom)) or listing(n) for n in ast.parse(code).body)


def module_of(notebook) -> str:
    "The module that a notebook exports, such as 'salnas.data', or ''."
    for cell in notebook.cells:
        if cell.cell_type == 'code' and (name := directives(cell.source)[0].get('default_exp')):
            return f'salnas.{name}'
    return ''


def shown(
    cell,  # a code cell
    module: str,  # that the notebook exports
    links,  # text -> text
    where: str,  # for messages
) -> list:
    "The cells of the page that a code cell becomes. ValueError at a directive that nobody knows."
    found, code = directives(cell.source)
    unknown = found.keys() - SILENT - {'echo', 'code-fold', 'fig-alt'}
    if unknown:
        raise ValueError(f'{where}: cell {cell.id} has directives {sorted(unknown)}; docs/pages.py does not know them')
    exported = 'export' in found or 'exports' in found
    if 'hide' in found or 'default_exp' in found or not code or (exported and is_plumbing(code)):
        return []
    tags = set(cell.metadata.get('tags', []))
    if found.get('echo') == 'false':
        tags.add('remove-input')
        if not cell.outputs:
            return []
    elif exported or found.get('code-fold') == 'true':
        tags.add('hide-cell' if 'code-summary' in found else 'hide-input')  # a solution hides what it prints as well
    page = new_code_cell(code, cell.id, outputs=deepcopy(cell.outputs), metadata={'tags': sorted(tags)})
    page.metadata['mystnb'] = {'image': {'alt': found.get('fig-alt', '')}}
    pictures = [o for o in cell.outputs if any(kind.startswith('image/') for kind in o.get('data', {}))]
    if pictures and all(map(is_drawing, pictures)):
        page.metadata['mystnb']['image']['classes'] = 'drawing'
    if 'code-summary' in found:
        page.metadata['mystnb'] |= dict.fromkeys(('code_prompt_show', 'code_prompt_hide'), found['code-summary'])
    for output in page.outputs:
        if 'text/markdown' in output.get('data', {}):
            output.data['text/markdown'] = links(output.data['text/markdown'])
    entries = [objects.entry(f'{module}.{name}', links) for name in objects.defined(code)] if exported else []
    return [new_markdown_cell('\n'.join(entries), cell.id + '-api')] * bool(entries) + [page]


def buttons(
    source: str,  # the notebook's file in nbs/
    depth: int,  # of the page's folder
    repository: str,
    pages_branch='gh-pages',
) -> str:
    "Links to the notebook: on Colab, as a file, in the repository. The first two begin with a cell that installs."
    up = '../' * depth
    colab = repository.replace('https://github.com/', 'https://colab.research.google.com/github/')
    return (
        '<p class="buttons">'
        f'<a href="{colab}/blob/{pages_branch}/notebooks/{source}">Open in Colab</a>'
        f'<a href="{up}notebooks/{source}" download>Download notebook</a>'
        f'<a href="{repository}/blob/main/nbs/{source}">Source</a></p>'
    )


def joined(cells: list) -> list:
    "Folded cells that follow each other and print nothing become one."
    folded = lambda cell: cell.cell_type == 'code' and cell.metadata['tags'] == ['hide-input'] and not cell.outputs
    made = []
    for cell in cells:
        if made and folded(cell) and folded(made[-1]):
            made[-1].source += '\n\n\n' + cell.source
        else:
            made.append(cell)
    return made


def page(
    notebook,  # as it stands in nbs/
    source: str,  # its file in nbs/
    links,  # text -> text
    repository: str,
    tail: str = '',  # text that ends the page
):
    "The notebook that MyST-NB reads: title, sentence, buttons, cells."
    title, sentence = (line.lstrip('#> ') for line in notebook.cells[0].source.splitlines() if line.strip())
    module = module_of(notebook)
    head = [f'# {title}', f'```{{py:module}} {module}\n```' if module else '', f'{{.lead}}\n{links(sentence)}']
    cells = [new_markdown_cell('\n\n'.join(filter(None, head)), 'title')]
    for cell in notebook.cells[1:]:
        if cell.cell_type == 'markdown':
            cells.append(new_markdown_cell(links(cell.source), cell.id))
        elif cell.cell_type == 'code':
            cells += shown(cell, module, links, f'nbs/{source}')
    cells = joined(cells)
    strip = new_markdown_cell(buttons(source, source.count('/'), repository), 'buttons')
    cells.insert(2 if source == 'index.ipynb' else 1, strip)  # the home page begins with its picture
    if tail:
        cells.append(new_markdown_cell(tail, 'contents'))
    made = deepcopy(notebook)
    made.cells = cells
    plain = re.sub(r'[`"*$\\]', '', sentence)
    made.metadata['myst'] = {'html_meta': {'description': plain}}
    return made


def with_install(notebook, source: str, repository: str):
    "A copy that begins with a cell which installs salnas where it is missing; for Colab and for download."
    copy = deepcopy(notebook)
    folder = '/'.join(['salnas/nbs', *source.split('/')[:-1]])
    copy.cells.insert(1, new_code_cell(INSTALL.format(repository=repository, folder=folder), 'install'))
    return copy


def twin(notebook) -> str:
    "The notebook as plain Markdown without outputs, for readers that are programs."
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == 'markdown':
            parts.append(cell.source)
        elif cell.cell_type == 'code':
            found, code = directives(cell.source)
            if code and not found.keys() & {'hide', 'default_exp'} and found.get('echo') != 'false':
                parts.append(f'```python\n{code}\n```')
    return '\n\n'.join(parts) + '\n'
