"Sphinx's settings. Names and addresses come from settings.ini and nbs/nbdev.yml, where nbdev and Quarto read them."

import sys
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import urlparse

from docutils import nodes
from sphinx.domains.std import StandardDomain

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root))

from docs.build import facts  # noqa: E402
from docs.objects import source_address  # noqa: E402

settings = ConfigParser(delimiters=['='])
settings.read(root / 'settings.ini', encoding='utf-8')
site = facts(root / 'nbs')

project, author = site['title'], settings['DEFAULT']['author']
release = version = settings['DEFAULT']['version']
copyright = settings['DEFAULT']['copyright']
extensions = [
    'myst_nb',
    'sphinx.ext.linkcode',
    'sphinx.ext.githubpages',
    'sphinx_copybutton',
    'sphinxext.opengraph',
    'notfound.extension',
    'sphinx-mathjax-offline',
]
language, highlight_language, smartquotes = 'en', 'text', False
templates_path, html_static_path, html_css_files = ['templates'], ['static'], ['site.css']
html_extra_path = [str(root / 'build/docs/extra')]

nb_execution_mode, nb_merge_streams, nb_render_markdown_format = 'off', True, 'myst'
nb_code_prompt_show = nb_code_prompt_hide = 'Source'
myst_enable_extensions = ['dollarmath', 'amsmath', 'colon_fence', 'fieldlist', 'attrs_block']
myst_heading_anchors = 3
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = toc_object_entries = False

html_theme, html_title, html_favicon = 'furo', project, str(root / 'nbs/images/favicon.svg')
html_baseurl = site['site-url'] + '/'
html_copy_source = html_show_sphinx = html_domain_indices = False
html_additional_pages = {'find': 'find.html'}
pygments_style, pygments_dark_style = 'friendly', 'github-dark'
html_theme_options = {
    'footer_icons': [{'name': 'GitHub', 'url': site['repo-url'], 'html': 'GitHub', 'class': ''}],
    'light_css_variables': {'color-brand-primary': '#b3400e', 'color-brand-content': '#a3390c'},
    'dark_css_variables': {'color-brand-primary': '#ff9d5c', 'color-brand-content': '#ffab73'},
}
# `make links` asks other sites; their anchors are often made by scripts, and the repository's own pages are newer there
linkcheck_anchors, linkcheck_timeout, linkcheck_ignore = False, 20, [site['repo-url'], html_baseurl]
notfound_urls_prefix = urlparse(site['site-url']).path + '/'
ogp_site_url, ogp_image = html_baseurl, html_baseurl + 'images/where-people-look.jpg'
ogp_image_alt = 'A photograph, the fixations of its viewers, and the saliency map that a network predicts'
ogp_social_cards = {'enable': False}


def linkcode_resolve(domain, info):
    return source_address(info['module'], info['fullname'], site['repo-url']) if info['module'] else None


def without_search(app):
    "Pagefind searches; and the lesson on search is a page called search, which Sphinx's own would overwrite."
    app.builder.search = False
    StandardDomain._virtual_doc_names.pop('search', None)  # else the sidebar calls the lesson "Search Page"


def colons(app, doctree):
    "Between a parameter and its comment; Sphinx writes two hyphens there."
    for text in list(doctree.findall(nodes.Text)):
        if text.astext() == ' -- ':
            text.parent.replace(text, nodes.Text(': '))


def setup(app):
    # it only says where MathJax lies, but does not declare that it can be read in parallel
    app.extensions['sphinx-mathjax-offline'].parallel_read_safe = True
    app.connect('builder-inited', without_search)
    app.connect('doctree-read', colons)
