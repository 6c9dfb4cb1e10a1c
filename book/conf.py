"""Sphinx settings of the site; `make book` builds with them. Sources: this folder and notebooks/.

Nothing is executed: pages show the outputs that are stored in the notebooks. Libraries for the
browser come from book/_static/vendor, which `tests/tools/book.py` fills from npm; without that
folder the pages load them from a CDN.
"""

import sys
from pathlib import Path

import sphinx

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
sys.path[:0] = [str(BOOK / "_ext"), str(ROOT / "tests" / "tools")]

import book_project  # noqa: E402

project = "Latent diffusion models"
author = "The ldm-course contributors"
copyright = "the ldm-course contributors; code MIT, text and figures CC BY 4.0"  # noqa: A001
extensions = [
    "myst_nb",
    "sphinx_external_toc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinxcontrib.bibtex",
    "sphinxcontrib.mermaid",
    "sphinx_copybutton",
    "sphinx_design",
    "plain_docstrings",
    "site_files",
    "notebook_links",
]
VENDORED = (BOOK / "_static" / "vendor" / "complete.txt").is_file() and not tags.has("cdn")  # noqa: F821

# Pages: what the table of contents lists, and is there.
external_toc_path = str(book_project.existing_toc())
external_toc_exclude_missing = True
exclude_patterns = [
    "**/node_modules",
    "book/_build",
    ".*",
    "**/.*",
    "**/site-packages",
    "tests",
    "shared",
]

# Markdown and notebooks.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
myst_heading_slug_func = "docutils.nodes.make_id"  # the same as the ids in the page
myst_dmath_double_inline = True
suppress_warnings = ["mystnb.unknown_mime_type"]
if not book_project.complete():  # links to notebooks that are still to come
    suppress_warnings.append("myst.xref_missing")
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

# The library, from its docstrings.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
nitpicky = True
# Annotations name other packages' types, and type aliases; only our own references must resolve.
nitpick_ignore_regex = [(r"py:.*", r"(?!ldmlib\.).*"), (r"py:.*", r"ldmlib\.[\w.]+\.[A-Z]\w*")]

# Libraries for the browser.
myst_update_mathjax = False
mathjax4_config = {
    "tex": {"tags": "none"},
    "options": {"processHtmlClass": "math", "ignoreHtmlClass": "tex2jax_ignore|document"},
}
mermaid_version = book_project.package_version("mermaid")
mermaid_fullscreen = False
mermaid_height = "auto"
if VENDORED:
    mathjax_path = "vendor/mathjax/tex-chtml.js"
    mathjax4_config["output"] = {"fontPath": "[mathjax]/%%FONT%%-font"}
    mermaid_use_local = "vendor/mermaid/mermaid.esm.min.mjs"
    nb_ipywidgets_js = {"vendor/html-manager/embed.js": {}}
else:
    version = book_project.package_version("mathjax")
    mathjax_path = f"https://cdn.jsdelivr.net/npm/mathjax@{version}/tex-chtml.js"
if sphinx.version_info < (9,):  # the newest for Python 3.10; it knows the setting by another name
    mathjax3_config = mathjax4_config

# `make book-links`. Code shows addresses that are no links; our own may not be there before a push.
linkcheck_timeout, linkcheck_retries, linkcheck_workers = 20, 2, 4
linkcheck_anchors = False
linkcheck_ignore = [r"http://127\.0\.0\.1.*", book_project.repository_url() + ".*"]

# The look.
html_theme = "sphinx_book_theme"
html_context = {"default_mode": "auto"}
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css", "quiz.css"]
html_js_files = [("site.js", {"priority": 100})]  # before MathJax is set up
html_favicon = "_static/favicon.svg"
html_last_updated_fmt = None
html_show_sourcelink = True
html_theme_options = {
    "repository_url": book_project.repository_url(),
    "repository_branch": "main",
    "path_to_docs": "",
    "use_repository_button": True,
    "use_source_button": True,
    "use_issues_button": True,
    "use_download_button": True,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "max_navbar_depth": 1,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
