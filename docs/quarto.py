"""Where nbdev's own flow needs help, so that `nbdev_docs` (which needs Quarto) can build the site from the same files.

nbdev's stock processor executes every cell that holds an import, and so stops at the first name that another cell made.
settings.ini leaves it out and names this one, which takes the objects from the library and executes nothing."""

from fastcore.docments import DocmentTbl
from nbdev.config import get_config

from . import objects


def _markdown(full):
    "A heading that nbdev's links find, the signature, the docstring, and a table of parameters."
    thing, name = objects.found(full), full.rsplit('.', 1)[1]
    source = objects.source_address(*full.rsplit('.', 1), get_config().git_url)
    link = f' <small>[source]({source})</small>' if source else ''
    kind = 'class ' if isinstance(thing, type) else ''
    signature, doc = objects.signature(thing), objects.docstring(thing)
    text = f'### {name} {{#{name.lower()}}}\n\n`{kind}{name}{signature}`{link}\n\n{doc}'
    table = DocmentTbl(thing)
    return f'{text}\n\n{table._repr_markdown_()}' if table.has_docment else text


class ShowDocs:
    "A processor of a notebook: cells that nbdev made to call `show_doc` become what that would have printed."

    def __init__(self, nb):
        named = [cell.directives_['default_exp'][0] for cell in nb.cells if 'default_exp' in cell.directives_]
        self.module = f'salnas.{named[0]}' if named else ''

    def __call__(self, cell):
        if cell.cell_type == 'code' and getattr(cell, 'has_sd', False):
            name = cell.source.rsplit('show_doc(', 1)[1].rstrip(')')
            cell.cell_type, cell.source = 'markdown', _markdown(f'{self.module}.{name}')
            for key in ('outputs', 'execution_count'):
                cell.pop(key, None)
