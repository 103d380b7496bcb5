"""Settings of Sphinx; `make docs` builds the manual into build/docs."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for from_code

project = "regimes"
copyright = "the regimes contributors, MIT licence"
version = release = installed_version("regimes")

extensions = ["myst_parser", "numpydoc", "from_code", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
templates_path = ["_templates"]
default_role = "py:obj"
nitpicky = True
# Types of other libraries in signatures. Their indexes are on the network, which a build does not use.
nitpick_ignore_regex = [
    (
        "py:class",
        r"(argparse|backtrader|bt|collections|datetime|dt|np|numpy|pandas|pathlib|pd|pydantic|torch|typing)\..*",
    ),
]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_inherit_docstrings = False  # of Backtrader and pydantic
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "regimes"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "logo": {"text": "regimes"},
}
