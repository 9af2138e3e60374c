"Public functions and classes of the library as API entries: signature, docstring, a field per parameter, methods."

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path

from fastcore.docments import docments

from .text import escaped


class Objects:
    "The names that notebooks export, by full name."

    def __init__(
        self,
        symbols: dict,  # module -> full names, as nbdev's `_modidx` has them
    ):
        public = lambda name: not any(part.startswith('_') for part in name.split('.'))
        self.names = {name for names in symbols.values() for name in names if public(name)} | set(symbols)
        self.modules, self.short = sorted(symbols), {}
        for name in sorted(self.names - set(symbols)):
            module = next(m for m in (name.rsplit('.', k)[0] for k in (1, 2)) if m in symbols)
            self.short.setdefault(name.removeprefix(module + '.'), []).append(name)

    def resolve(
        self,
        written: str,  # as it stands in prose: 'fit', 'training.fit', 'salnas.training.fit'
        module: str = '',  # of the page, which comes first where a name stands for several things
    ):
        "The full name, or None where it is no public name or not clear which."
        for name in (written, 'salnas.' + written):
            if name in self.names and '.' in written:
                return name
        found = self.short.get(written, [])
        here = [f for f in found if f.startswith(module + '.')]
        return here[0] if here else found[0] if len(found) == 1 else None


def defined(code: str) -> list:
    "Public functions and classes that a cell defines."
    kinds = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
    return [node.name for node in ast.parse(code).body if isinstance(node, kinds) and not node.name.startswith('_')]


def found(full: str):
    "The object of a full name such as 'salnas.search.Evolution.ask'; a method as it stands in its class."
    module, names = full, []
    while True:
        try:
            thing = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, name = module.rpartition('.')
            names.insert(0, name)
    for name in names:
        thing = inspect.getattr_static(thing, name)
    return thing


def _readable(text):
    "Source text of a default or an annotation; '' where it is no Python."
    text = re.sub(r'\b(salnas|typing|collections\.abc)(\.\w+)*\.(?=\w)', '', text)
    try:
        ast.parse(text, mode='eval')
    except SyntaxError:
        return ''
    return text


def _annotation(value):
    if value is inspect.Parameter.empty:
        return ''
    return _readable(value if isinstance(value, str) else inspect.formatannotation(value))


def signature(thing, bound=False) -> str:
    "(a: int, b=2) -> float, in a form that can always be parsed; '' for what has none."
    try:
        whole = inspect.signature(thing)
    except (TypeError, ValueError):
        return ''
    values, text = list(whole.parameters.values())[bound:], []
    for i, p in enumerate(values):
        if p.kind is p.KEYWORD_ONLY and not any(v.kind in (v.VAR_POSITIONAL, v.KEYWORD_ONLY) for v in values[:i]):
            text.append('*')
        annotation = _annotation(p.annotation)
        default = '' if p.default is p.empty else _readable(repr(p.default)) or '...'
        stars = {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '')
        equals = (' = ' if annotation else '=') + default if default else ''
        text.append(f'{stars}{p.name}{": " + annotation if annotation else ""}{equals}')
    returns = '' if inspect.isclass(thing) else _annotation(whole.return_annotation)
    return f'({", ".join(text)})' + (f' -> {returns}' if returns and returns != 'None' else '')


def docstring(thing) -> str:
    "As it was written; '' for what a dataclass makes of its fields."
    text = inspect.cleandoc(thing.__doc__ or '')
    generated = inspect.isclass(thing) and text.startswith(thing.__name__ + '(')
    return '' if generated else text


def _fields(thing, prose):
    "A field per parameter that has a comment, and one for what is returned."
    try:
        notes = docments(thing, full=True)
    except (TypeError, ValueError, OSError, AttributeError):
        return []
    lines = []
    for name, note in notes.items():
        comment = note['docment']
        if not comment or name == 'self':
            continue
        comment = prose(escaped(' '.join(comment.split())))
        lines.append(f':returns: {comment}' if name == 'return' else f':param {name}: {comment}')
    return lines


KINDS = {classmethod: 'classmethod', staticmethod: 'staticmethod', property: 'property'}


def _members(cls):
    "(name, what it is, function) of the public methods and properties that a class itself defines."
    for name, member in vars(cls).items():
        function = getattr(member, 'fget', None) or getattr(member, 'func', None) or getattr(member, '__func__', member)
        if not name.startswith('_') and inspect.isfunction(function) and function.__qualname__.startswith(cls.__name__):
            cached = type(member).__name__ == 'cached_property'
            yield name, 'property' if cached else KINDS.get(type(member), 'method'), function


def entry(
    full: str,  # name of a function or a class
    prose,  # text -> text: links names
    colons: int = 5,  # of the directive's fence, fewer for what is inside
    member: tuple = None,  # for a method: (name, kind, function)
) -> str:
    "The MyST directive that documents it, the public methods of a class within."
    name, kind, thing = member or (full.rsplit('.', 1)[1], None, found(full))
    kind = kind or ('class' if inspect.isclass(thing) else 'function')
    options, arguments = [], ''
    if kind == 'property':
        directive = 'property'
    else:
        options = [f':{kind}:'] if kind in ('classmethod', 'staticmethod') else []
        directive = 'method' if member else kind
        arguments = signature(thing, bound=bool(member) and kind != 'staticmethod')
    fence = ':' * colons
    lines = [f'{fence}{{py:{directive}}} {name}{arguments}', *options]
    if not member:
        lines.append(f':module: {thing.__module__}')
    lines += ['', prose(escaped(docstring(thing))), '', *_fields(thing, prose), '']
    if kind == 'class':
        lines += [entry(f'{full}.{m[0]}', prose, colons - 1, m) for m in _members(thing)]
    return '\n'.join([*lines, fence, ''])


@cache
def _lines(full):
    thing = found(full)
    thing = getattr(thing, 'fget', None) or getattr(thing, 'func', None) or getattr(thing, '__func__', thing)
    lines, start = inspect.getsourcelines(thing)
    return Path(inspect.getsourcefile(thing)).name, start, start + len(lines) - 1


def source_address(module: str, name: str, repository: str):
    "Where the object's source stands in the repository; None for what has no lines."
    try:
        file, start, end = _lines(f'{module}.{name}')
    except (AttributeError, TypeError, OSError):
        return None
    return f'{repository}/blob/main/salnas/{file}#L{start}-L{end}'


def contents(whole, modules, prose) -> str:
    "The list of every public name, by the sections of the sidebar; modules: source -> module."
    lines = []
    for section, sources in whole:
        rooms = [(s, modules[s]) for s in sources if s in modules]
        if rooms:
            lines += [f'## {section}', '']
        for source, module in rooms:
            room = found(module)
            lines += [f'### {module}', '', prose(f'`{module}`: {escaped(docstring(room))}'), '']
            for name in room.__all__:
                thing = vars(room).get(name)
                if getattr(thing, '__module__', '') == module and (inspect.isclass(thing) or inspect.isfunction(thing)):
                    first = ' '.join(docstring(thing).split('\n\n')[0].split())
                    lines.append(f'- {{py:obj}}`{name} <{module}.{name}>`: {prose(escaped(first))}')
            lines.append('')
    return '\n'.join(lines)
