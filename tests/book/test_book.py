"""The site's sources keep their promises: nothing here builds the site."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

import book
import book_frames
import book_project
import book_tables
from book_project import BOOK, ROOT

sys.path.append(str(BOOK / "_ext"))
plain_docstrings = pytest.importorskip("plain_docstrings", reason="the book extra is missing")
notebook_links = pytest.importorskip("notebook_links", reason="the book extra is missing")

ARXIV = re.compile(r"(?<![\d.])((?:0[7-9]|1\d|2[0-6])(?:0[1-9]|1[0-2])\.\d{4,5})(?![\d.])")
NAMED_IN = ("ldmlib/**/*.py", "notebooks/py/*.py", "book/*.md", "book/*.yml", "tests/*.py")
WITHOUT_MYST = {"book/api"}  # made from docstrings by Sphinx
equations = pytest.mark.parametrize(
    "item", book_tables.equations(), ids=lambda item: item["name"].replace(" ", "-")
)


def own_files(*patterns: str) -> list[Path]:
    """The project's files of these patterns."""
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


# --------------------------------------------------------------------------- contents
def test_every_page_of_its_own_is_in_the_table_of_contents() -> None:
    listed = set(book_project.toc_pages(book_project.read_toc()))
    assert {f"book/{path.stem}" for path in BOOK.glob("*.md")} <= listed
    assert {f"notebooks/{path.stem}" for path in ROOT.glob("notebooks/*.ipynb")} <= listed


def test_every_listed_page_is_there_or_has_a_twin_in_the_making() -> None:
    toc = book_project.toc_pages(book_project.read_toc())
    missing = set(toc) - set(book_project.pages())
    assert all(page.startswith("notebooks/") for page in missing)
    assert len(book_project.pages()) >= 24


def test_jupyter_book_2_has_the_same_pages() -> None:
    project = yaml.safe_load((BOOK / "myst.yml").read_text(encoding="utf-8"))["project"]
    entries = [one for part in project["toc"] for one in part.get("children", [part])]
    pages = [(BOOK / one["file"]).resolve().relative_to(ROOT) for one in entries]
    listed = [page.with_suffix("").as_posix() for page in pages]
    toc = book_project.toc_pages(book_project.read_toc())
    assert listed == [page for page in toc if page not in WITHOUT_MYST]


def test_parts_made_from_data_are_fresh() -> None:
    made = {page.stem for page in book_tables.made_pages()}
    assert made == {"api", "benchmark", "equation_to_code", "timings"}
    stale = [
        page.name
        for page in book_tables.made_pages()
        if book_tables.renewed(page) != page.read_text(encoding="utf-8")
    ]
    assert not stale, "run `make book`"


# --------------------------------------------------------------------------- equation to code
@equations
def test_the_equations_notebook_is_listed(item: dict) -> None:
    assert f"notebooks/{item['notebook']}" in book_project.toc_pages(book_project.read_toc())


@equations
def test_the_equations_code_exists(item: dict) -> None:
    file, name = book_tables.code_file(item)
    if item["code"].startswith("notebook."):
        text = (ROOT / file).read_text(encoding="utf-8")
        defined = [n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
        assert defined.count(name) == 1
        return
    module = file.removesuffix(".py").replace("/", ".")
    thing = importlib.import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    assert thing.__doc__ and thing.__module__ == module


@equations
def test_the_equations_test_exists(item: dict) -> None:
    file, _, name = item["test"].partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", own_files("notebooks/py/0[0-7]_*.py"), ids=lambda p: p.stem)
def test_every_displayed_formula_is_in_the_list(path: Path) -> None:
    """From any formula of Part I to its code and its test."""
    lines = path.read_text(encoding="utf-8").splitlines()
    prose = "\n".join(line[2:] for line in lines if line.startswith("#"))
    known = book_tables.equation_numbers()
    formulas = re.findall(r"\$\$(.+?)\$\$", prose, re.DOTALL)
    assert not [tex for tex in formulas if book_tables.plain_tex(tex) not in known]


@equations
def test_the_equations_notebook_shows_it(item: dict) -> None:
    """Equations of 01 and 02 are written there as the table writes them."""
    if item["notebook"][:2] in ("01", "02"):
        twin = ROOT / "notebooks" / "py" / f"{item['notebook']}.py"
        text = book_tables.plain_tex(twin.read_text(encoding="utf-8"))
        assert book_tables.plain_tex(item["tex"]) in text


# --------------------------------------------------------------------------- papers
def bibliography() -> dict[str, dict[str, str]]:
    """The entries of references.bib: key -> fields."""
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{(\w+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    return {key: dict(re.findall(r"(\w+) = \{(.*)\}", body)) for key, body in entries}


def test_every_paper_named_anywhere_is_in_the_bibliography() -> None:
    known = {fields.get("eprint") for fields in bibliography().values()}
    named = {
        (number, path.relative_to(ROOT).as_posix())
        for path in own_files(*NAMED_IN)
        for number in ARXIV.findall(path.read_text(encoding="utf-8"))
    }
    assert len(named) > 50
    assert not {pair for pair in named if pair[0] not in known}


def test_every_entry_can_be_found_and_stands_once() -> None:
    entries = bibliography()
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    assert len(entries) == text.count("\n@")
    numbers = [fields["eprint"] for fields in entries.values() if "eprint" in fields]
    assert len(numbers) == len(set(numbers))
    for key, fields in entries.items():
        assert {"author", "title", "year"} <= set(fields), key
        assert {"eprint", "doi", "url", "booktitle"} & set(fields), key


def test_cited_keys_exist() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in BOOK.glob("*.md"))
    cited = {key for keys in re.findall(r"\{cite:\w\}`([^`]+)`", pages) for key in keys.split(",")}
    assert cited and cited <= set(bibliography())


# --------------------------------------------------------------------------- one repository
def test_the_repository_is_spelled_alike_everywhere() -> None:
    name = book_project.repository()
    course = name.split("/")[1]
    spelled = re.compile(rf"github\.com/([\w.-]+/{re.escape(course)})")
    for path in book.files_with(f"/{course}"):
        found = {one.removesuffix(".git") for one in spelled.findall(path.read_text("utf-8"))}
        assert found <= {name}, path


def test_repo_changes_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = book_project.repository()
    project = tmp_path / "pyproject.toml"
    project.write_text(f'[project.urls]\nRepository = "https://github.com/{old}"\n')
    (tmp_path / "notebooks").mkdir()
    notebook = tmp_path / "notebooks" / "00.ipynb"
    notebook.write_text(json.dumps({"source": f"git+https://github.com/{old}"}))
    for module in (book, book_project):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    assert book.repo("ada/diffusion") == 0
    assert book_project.repository() == "ada/diffusion"
    assert json.loads(notebook.read_text()) == {"source": "git+https://github.com/ada/diffusion"}
    assert book.repo("no slash") == 1


# --------------------------------------------------------------------------- what is installed
def test_the_lock_file_names_versions_and_no_host() -> None:
    lock = json.loads((BOOK / "package-lock.json").read_text(encoding="utf-8"))
    asked = json.loads((BOOK / "package.json").read_text(encoding="utf-8"))
    packages = {path: package for path, package in lock["packages"].items() if path}
    assert all("resolved" not in package for package in packages.values())
    assert all("integrity" in package for package in packages.values())
    for name, version in (asked["dependencies"] | asked["devDependencies"]).items():
        assert packages[f"node_modules/{name}"]["version"] == version


def test_without_npm_the_build_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(book, "VENDOR", tmp_path / "vendor")
    monkeypatch.setattr(book, "MODULES", tmp_path / "node_modules")
    monkeypatch.setattr(book.shutil, "which", lambda name: None)
    monkeypatch.setattr(book, "sphinx", lambda: 0)
    monkeypatch.setattr(book, "EXPORT", ["-c", "pass"])
    monkeypatch.setattr(book_frames, "make", lambda: None)
    monkeypatch.setattr(book_tables, "write_all", lambda: 0)
    assert book.build() == 0
    said = capfd.readouterr().out
    assert "npm is missing" in said and "from a CDN" in said


def test_the_server_is_for_this_machine_only(tmp_path: Path) -> None:
    with book.server(folder=tmp_path) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_serving_without_a_site_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(book, "HTML", tmp_path)
    assert book.serve(0) == 1
    assert "make book" in capsys.readouterr().out


# --------------------------------------------------------------------------- docstrings
@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        ("Draws `x` from q(x | y) * 2.", r"Draws ``x`` from q(x \| y) \* 2."),
        ("A name_ and x_t.", r"A name\_ and x_t."),
        ("Text:\n\n    x = 1\n\nMore.", "Text:\n\n\n::\n\n        x = 1\n\nMore."),
        ("Args:\n    x: a * b.", "Args:\n    x: a \\* b."),
        ("| a | b |\n|---|---|", "\n::\n\n    | a | b |\n    |---|---|"),
    ],
    ids=["signs", "names", "block", "section", "table"],
)
def test_docstrings_become_restructuredtext(docstring: str, shown: str) -> None:
    assert "\n".join(plain_docstrings.convert(docstring.split("\n"))) == shown


# --------------------------------------------------------------------------- links, figures
@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("Scores fool a score.", "score"),
        ("A score.", "score"),
        ("Score it.", "score"),
        ("The LDM, a latent diffusion model.", "LDM"),
        ("A latent diffusion model.", "latent diffusion model"),
        ("The Latent Diffusion Model.", "latent diffusion model"),
        ("By Bayes’ rule.", "Bayes' rule"),
        ("underscore, ldm, score-like", None),
    ],
)
def test_the_first_use_of_a_term_is_found(text: str, used: str | None) -> None:
    terms = {"score": "a", "LDM": "b", "latent": "c", "latent diffusion model": "b"}
    terms["Bayes' rule"] = "d"
    found = notebook_links.first_use(text, terms)
    assert used is None if found is None else found == (found[0], terms[used])
    assert found is None or found[0][0].lower().replace("’", "'") == used.lower()


def test_a_figures_words_are_its_names_in_the_code_and_what_the_text_tells() -> None:
    code = """
ax.plot(x, label="by draws")
ax.set(title=f"after {n} steps", xlabel="draws $n$", ylim=(0, 1))
ax.set_ylabel("error")
show({"real": a, "forged": b})
"""
    words = notebook_links.figure_words(code, "Both fall.", "Errors")
    for name in ("by draws", "after … steps", "draws n", "error", "real", "forged"):
        assert name in words
    assert words.startswith("Figure: ") and words.endswith(" Both fall.")
    silent = notebook_links.figure_words("%matplotlib inline", "", "Errors")
    assert silent == "Figure in the section “Errors”."


# --------------------------------------------------------------------------- sliders
def test_frames_are_what_the_widget_shows_at_each_setting() -> None:
    ipywidgets = pytest.importorskip("ipywidgets")
    slider = ipywidgets.FloatSlider(value=0.5, min=0.0, max=1.0, step=0.25, description="t")
    choice = ipywidgets.Dropdown(options=["a", "b"], value="b", description="name")
    picture = ipywidgets.Image(value=b"")

    def redraw(_change: object) -> None:
        picture.value = f"{choice.value}{slider.value}".encode()

    slider.observe(redraw, names="value")
    choice.observe(redraw, names="value")
    box = ipywidgets.VBox([choice, ipywidgets.HBox([slider]), picture])
    controls, pictures = book_frames.sweep(box, {"name": 2, "t": 3})
    assert pictures == [b"a0.0", b"a0.5", b"a1.0", b"b0.0", b"b0.5", b"b1.0"]
    assert controls == [
        {"label": "name", "values": ["a", "b"], "start": 1},
        {"label": "t", "values": ["0.00", "0.50", "1.00"], "start": 1},
    ]
    with pytest.raises(LookupError, match="no control"):
        book_frames.sweep(box, {"other": 2})


# --------------------------------------------------------------------------- workflows
def workflows() -> dict[str, dict]:
    """The workflows by name; YAML reads the key `on` as true."""
    paths = own_files(".github/workflows/*.yml")
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}


def test_workflows_cover_tests_links_and_site() -> None:
    found = workflows()
    assert set(found) == {"tests", "links", "site"}
    assert "schedule" in found["tests"][True] and "schedule" in found["links"][True]
    assert found["tests"]["jobs"]["tests"]["strategy"]["matrix"]["python"] == [
        "3.10",
        "3.11",
        "3.12",
        "3.13",
    ]
    assert found["site"]["jobs"]["deploy"]["needs"] == "build"


def test_workflows_call_verbs_that_exist_and_may_only_read() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name, workflow in workflows().items():
        assert workflow["permissions"] == {"contents": "read"}, name
        for job in workflow["jobs"].values():
            for command in (step["run"] for step in job["steps"] if "run" in step):
                verb = command.removeprefix("make ")
                assert f"\n{verb}:" in makefile or (ROOT / command).is_file(), command
