"""The glue between the notebooks in nbs/ and the documentation site: `python -m docs.build`, or `make docs`.

navigation: which pages there are (nbs/sidebar.yml); pages: a notebook as a page; objects: public names as API entries;
text: links and code names in prose; build: all of it; check: what must hold of a built site; quarto: nbdev's own flow.
"""
