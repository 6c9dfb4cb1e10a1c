"""The README keeps its promises: minutes are those measured, links and verbs exist."""

import json
import math
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_minutes_are_those_measured():
    timings = json.loads((ROOT / "notebooks" / "timings.json").read_text(encoding="utf-8"))
    rows = dict(re.findall(r"\(notebooks/(\w+)\.ipynb\).*\| (\d+) \|$", README, re.MULTILINE))
    measured = {name: str(math.ceil(run["seconds"] / 60)) for name, run in timings.items()}
    assert rows == measured


def test_every_notebook_has_a_row():
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert names == set(re.findall(r"\(notebooks/(\w+)\.ipynb\)", README))


def test_local_links_and_pictures_exist():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_verbs_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"`?make ([a-z-]+)", README))
    assert verbs and not [verb for verb in verbs if f"\n{verb}:" not in makefile]
