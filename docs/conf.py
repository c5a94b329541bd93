"""Configuration of the documentation.

The build needs no network: fonts are the reader's own, MathJax lies in _static.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

project = "refprune"
author = "The refprune developers"
copyright = "2026, The refprune developers"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "contract_pages",
    "definition_pages",
    "map_page",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_static", "_templates"]
default_role = "code"
nitpicky = False

autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False

mathjax_path = "mathjax/tex-svg.js"

sphinx_gallery_conf = {
    "examples_dirs": "../tutorials",
    "gallery_dirs": "tutorials",
    "filename_pattern": r".*\.py$",
    "ignore_pattern": r"fashion_mnist\.py$",  # it trains a network; its figures are stored
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1000,
    "write_computation_times": False,
    "remove_config_comments": True,
}

html_theme = "furo"
html_title = "refprune"
html_static_path = ["_static"]
html_css_files = ["refprune.css"]
html_copy_source = False
html_show_sourcelink = False
