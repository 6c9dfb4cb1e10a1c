"""The parts of the site's pages that are made from data: equations, timings, repository.

Each such part of a page stands between `<!-- made from NAME -->` and `<!-- end -->`; `make book`
writes it anew, and tests/book/test_book.py holds it fresh.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import yaml

from book_project import BOOK, ROOT, source_of

EQUATIONS = BOOK / "equations.yml"
TIMINGS = ROOT / "notebooks" / "timings.json"
BENCH = ROOT / "tests" / "bench" / "results.json"
FIRST_MODULES = (
    "latent.model",
    "diffusion.process",
    "diffusion.schedule",
    "diffusion.samplers",
    "diffusion.guidance",
    "networks.unet",
    "networks.layers",
    "networks.autoencoder",
)
NO_LIBRARY = ("check", "teach")  # for the class, not for programs
SPACE = re.compile(r"\s+|\\[,;:! ]|\\q?quad")
PART = re.compile(r"(<!-- made from (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def equations() -> list[dict]:
    """The numbered equations, in the course's order."""
    return yaml.safe_load(EQUATIONS.read_text(encoding="utf-8"))


def plain_tex(tex: str) -> str:
    """A formula without its spaces and without the full stop that ends a sentence."""
    return SPACE.sub("", tex).rstrip(".,;")


def equation_numbers() -> dict[str, int]:
    """The number of each equation, by every way in which it is written, as `plain_tex` has it."""
    return {
        plain_tex(tex): number
        for number, item in reversed([*enumerate(equations(), 1)])
        for tex in (item["tex"], *item.get("written_as", ()))
    }


def code_file(item: dict) -> tuple[str, str]:
    """Where an equation's code is, from the top folder, and its name there."""
    module, _, name = item["code"].partition(".")
    if module == "notebook":
        return f"notebooks/py/{item['notebook']}.py", name
    path = "ldmlib"
    while not (ROOT / f"{path}.py").is_file():
        path = f"{path}/{module}"
        module, _, name = name.partition(".")
    return f"{path}.py", f"{module}.{name}".rstrip(".")


def notebook_link(name: str) -> str:
    """A Markdown link to a notebook, or its bare name while it is still to come."""
    if source_of(f"notebooks/{name}") is None:
        return f"{name[:2]} (in preparation)"
    return f"[{name[:2]}](../notebooks/{name}.ipynb)"


def equation_table() -> str:
    """One row an equation: where it is derived, its code, its test."""
    rows = ["| | equation | notebook | code | test |", "|---|---|---|---|---|"]
    for number, item in enumerate(equations(), 1):
        test = item["test"].partition("::")[2].removeprefix("test_").replace("_", " ")
        rows.append(
            f"| {number} | [{item['name']}](#equation-{number}) "
            f"| {notebook_link(item['notebook'])} | `{item['code']}` | {test} |"
        )
    return "\n".join(rows)


def equation_details() -> str:
    """Each equation with the code that computes it and the test that holds it."""
    return "\n\n".join(equation_detail(*pair) for pair in enumerate(equations(), 1))


def equation_detail(number: int, item: dict) -> str:
    """One equation, its source, and two folded listings."""
    path, name = code_file(item)
    file, _, test = item["test"].partition("::")
    owner = path.removesuffix(".py").replace("/", ".").removeprefix("notebooks.py.")
    source = f" Source: {{cite:t}}`{item['source']}`." if "source" in item else ""
    return f"""(equation-{number})=
### {number}. {item["name"]}

$$
{item["tex"].strip()}
$$

Derived in notebook {notebook_link(item["notebook"])}.{source}

:::{{dropdown}} Code: {owner}.{name}

```{{literalinclude}} ../{path}
:language: python
:pyobject: {name}
```
:::

:::{{dropdown}} Test: {file}, {test}

```{{literalinclude}} ../tests/{file}
:language: python
:pyobject: {test}
```
:::"""


def timing_table() -> str:
    """Minutes and memory of every notebook, as `make notebooks` measured them."""
    rows = ["| notebook | time | memory |", "|---|---:|---:|"]
    timings = json.loads(TIMINGS.read_text(encoding="utf-8"))
    for name, run in sorted(timings.items()):
        if source_of(f"notebooks/{name}") is None:
            continue
        minutes, seconds = divmod(run["seconds"], 60)
        gigabytes = math.ceil(run["peak_memory_mb"] / 102.4) / 10
        title = name[3:].replace("_", " ")
        rows.append(
            f"| [{name[:2]} {title}](../notebooks/{name}.ipynb) | {minutes}:{seconds:02d} min "
            f"| {gigabytes:.1f} GB |"
        )
    whole = sum(run["seconds"] for run in timings.values())
    rows.append(f"| together | {whole // 60}:{whole % 60:02d} min | |")
    return "\n".join(rows)


def bench(section: str) -> list[dict]:
    """A section of what `make bench` measured, empty if it was not run."""
    return json.loads(BENCH.read_text(encoding="utf-8")).get(section, [])


def race_table() -> str:
    """The race against the peers: the same data, seconds and evaluator for all."""
    first = bench("race")[0]
    rows = [
        f"Each trained for {first['seconds']:.0f} s on {first['cores']} core(s) of a CPU; scores "
        f"at n = {first['n']:,}, where real digits have FID {first['floor']:.1f}.",
        "",
        "| contender | steps | FID | KID | pictures a second | parameters | peak memory "
        "| FID 50 reached |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in bench("race"):
        rows.append(
            f"| {row['contender']} | {row['steps']:,} | {row['fid']:.1f} | {row['kid']:.3f} "
            f"| {row['images_per_s']:.1f} | {row['parameters'] / 1e6:.2f} M "
            f"| {row['peak_memory_mb'] / 1024:.1f} GB | {row['fid_50']} |"
        )
    return "\n".join(rows)


def recipe_table() -> str:
    """The recipe's targets: the notebook's training from scratch, and the bundled weights."""
    rows = [
        "| model | first stage | denoiser | 10,000 pictures | FID | floor | ratio | recall (real) "
        "| label seen |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in bench("recipe"):
        first, second = row.get("first_stage_s"), row.get("second_stage_s")
        times = [f"{seconds:.0f} s" if seconds else "" for seconds in (first, second)]
        rows.append(
            f"| {row['model']} | {times[0]} | {times[1]} | {row['sampling_10000_s']:.0f} s "
            f"| {row['fid']:.2f} | {row['floor']:.2f} | {row['ratio']:.2f} "
            f"| {row['recall']:.3f} ({row['floor_recall']:.3f}) | {row['agreement']:.1%} |"
        )
    return "\n".join(rows)


def growth_table() -> str:
    """Seconds a training step against the size of the pictures."""
    rows = [
        "| pictures | pixels: s a step | latents: s a step | pixels / latents |",
        "|---|---:|---:|---:|",
    ]
    for row in bench("growth"):
        rows.append(
            f"| {row['size']} x {row['size']} | {row['pixels_s_per_step']:.3f} "
            f"| {row['latents_s_per_step']:.3f} | {row['ratio']:.1f} |"
        )
    return "\n".join(rows)


def module_list() -> str:
    """Every module of the library, in the order of `FIRST_MODULES` and then of the alphabet."""
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "ldmlib").rglob("*.py")]
    rooms = [path for path in paths if path.name[0] != "_" and path.parts[1] not in NO_LIBRARY]
    names = {".".join(path.parts) for path in rooms}
    first = [f"ldmlib.{name}" for name in FIRST_MODULES]
    parts = []
    for name in [*first, *sorted(names - set(first))]:
        parts.append(f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```")
    return "\n\n".join(parts)


MAKERS = {
    "modules": module_list,
    "equations": equation_table,
    "equations-in-full": equation_details,
    "timings": timing_table,
    "race": race_table,
    "recipe": recipe_table,
    "growth": growth_table,
}


def renewed(page: Path) -> str:
    """The text of a page with its made parts written anew."""
    text = page.read_text(encoding="utf-8")
    return PART.sub(lambda part: f"{part[1]}\n{MAKERS[part[2]]()}\n\n{part[3]}", text)


def made_pages() -> list[Path]:
    """The pages that hold a made part."""
    return [page for page in sorted(BOOK.glob("*.md")) if PART.search(page.read_text("utf-8"))]


def write_all() -> int:
    """Write every made part anew; returns 0, an exit status."""
    for page in made_pages():
        text = renewed(page)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: written anew from data")
    return 0
