"""What the site makes while it is built: the reference of commands and modules, and the gallery.

All three are directives whose content is Markdown or HTML of our own making, so nothing generated lies in the
repository and nothing can be out of date.
"""

from __future__ import annotations

import importlib.resources
import inspect
import re
from types import ModuleType
from typing import Any

import typer.main
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from toolfoundry.cli import main as cli


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("commands", Commands)
    app.add_directive("api", Module)  # `module` is Sphinx's own
    app.add_directive("gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Commands(SphinxDirective):
    """Every command of the program with its arguments and options, from the program itself."""

    def run(self) -> list[nodes.Node]:
        text = "\n\n".join(_command(path, command) for path, command in _leaves((), typer.main.get_command(cli.app)))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _leaves(path: tuple[str, ...], command: Any) -> list[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [leaf for name, child in sorted(command.commands.items()) for leaf in _leaves((*path, name), child)]


def _command(path: tuple[str, ...], command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join(["toolfoundry", *path, *map(_usage, arguments), "[OPTIONS]" if options else ""]).strip()
    parts = [f"## {' '.join(path)}", f"```\n{usage}\n```", _plain(command.help or "")]
    if arguments:
        parts.append("\n".join(f"- `{_usage(p)}`: {_plain(p.help or '')}" for p in arguments))
    if options:
        rows = [f"| {_names(p, command)} | {_cell(_plain(p.help or ''))} | {_default(p)} |" for p in options]
        parts.append("\n".join(["| option | | default |", "|---|---|---|", *rows]))
    if command.epilog:
        about, *examples = re.split(r"Examples?: | · (?=toolfoundry )", _plain(command.epilog))
        parts += [about, "```sh\n" + "\n".join(map(str.strip, examples)) + "\n```" if examples else ""]
    return "\n\n".join(parts)


def _usage(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]").removesuffix("...")
    name += "..." if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _names(option: Any, command: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    shown = getattr(option, "display_type", None) or option.make_metavar  # typer 0.29 renamed it
    kind = option.metavar or shown(command.make_context("", [], resilient_parsing=True))
    return f"{names} `{_cell(kind)}`"


def _default(option: Any) -> str:
    value = option.default
    if callable(value) or value in (None, False, (), []) or "Default" in (option.help or ""):
        return ""
    return f"`{_cell(str(getattr(value, 'value', value)))}`" if value is not True else "on"


def _plain(text: str) -> str:
    """Help text without rich's markup, as Markdown that means the same."""
    text = re.sub(r"\[/?(?:bold|cyan|dim)\]", "", inspect.cleandoc(text)).replace("\\[", "[")
    return text.replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


class Module(SphinxDirective):
    """A module's docstring and its public names, each with its signature and docstring, which are Markdown.

    An option `only` names some of them.
    """

    required_arguments = 1
    option_spec = {"only": str.split}

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        names = self.options.get("only") or module.__all__
        parts = [f"## {module.__name__}", _docstring(module)]
        for name in names:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                parts.append(_member(name, value))
        return self.parse_text_to_nodes("\n\n".join(parts), allow_section_headings=True)


def _member(name: str, value: Any) -> str:
    parts = [f"### {name}", f"```python\n{_signature(name, value)}\n```", _docstring(value)]
    if inspect.isclass(value):
        for attribute, member in vars(value).items():
            inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if attribute.startswith("_") or not inspect.isfunction(inner) or not inner.__doc__:
                continue
            shown = f"{attribute}" if isinstance(member, property) else _signature(attribute, inner)
            parts.append(f"**`{' '.join(shown.split())}`**\n\n{_docstring(inner)}")
    return "\n\n".join(parts)


def _signature(name: str, value: Any) -> str:
    kind = "class " if inspect.isclass(value) else "async def " if inspect.iscoroutinefunction(value) else "def "
    kind = kind if inspect.isclass(value) or kind == "async def " else ""
    fields = getattr(value, "model_fields", None)
    if fields is not None:
        lines = [f"    {field}: {_annotation(value, field)}{_value(info)}" for field, info in fields.items()]
        return "\n".join([f"class {name}:", *lines])
    if inspect.isclass(value) and issubclass(value, tuple) and hasattr(value, "_fields"):
        hints = value.__annotations__
        return "\n".join([f"class {name}(NamedTuple):", *(f"    {field}: {hints[field]}" for field in value._fields)])
    if inspect.isclass(value) and issubclass(value, Exception):
        return f"class {name}({value.__bases__[0].__name__})"
    try:
        text = f"{name}{inspect.signature(value)}"
    except (TypeError, ValueError):
        text = name
    text = kind + text.replace("'", "")
    if len(text) <= 100:
        return text
    head, _, rest = text.partition("(")
    inside, _, tail = rest.rpartition(")")
    return f"{head}(\n    " + ",\n    ".join(_split(inside)) + f",\n){tail}"


def _split(arguments: str) -> list[str]:
    """At the commas that stand outside of brackets."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _annotation(record: Any, field: str) -> str:
    return next((a[field] for base in record.__mro__ if field in (a := inspect.get_annotations(base))), "Any")


def _value(info: Any) -> str:
    return "" if info.is_required() else f" = {info.get_default(call_default_factory=True)!r}"


def _docstring(value: Any) -> str:
    """The docstring as Markdown: drawings that are set off become blocks, and no word is a tag or a heading."""
    own = (
        value.__doc__ if isinstance(value, ModuleType) or not inspect.isclass(value) else value.__dict__.get("__doc__")
    )
    if not own or own.startswith(f"{getattr(value, '__name__', '')}("):  # what NamedTuple writes by itself
        return ""
    text = re.sub(r"(?m)^(\s*)(Args|Returns|Raises|Yields):$", r"\1**\2**\n", inspect.cleandoc(own))
    return re.sub(r"<(?=[A-Za-z/])", "&lt;", text) if "    " not in text else _outside_of_blocks(text)


def _outside_of_blocks(text: str) -> str:
    lines = [line if line.startswith("    ") else re.sub(r"<(?=[A-Za-z/])", "&lt;", line) for line in text.splitlines()]
    return "\n".join(lines)


class Gallery(SphinxDirective):
    """One environment of each scenario and profile, built now from seed 0 by the product and drawn by it."""

    def run(self) -> list[nodes.Node]:
        from toolfoundry.gallery import build_sections, render_one

        style = importlib.resources.files("toolfoundry").joinpath("gallery_style.css.jinja").read_text(encoding="utf-8")
        made: list[nodes.Node] = [nodes.raw("", f"<style>{style}</style>", format="html")]
        for section in build_sections():
            outer = nodes.section("", nodes.title(text=section.title), ids=[nodes.make_id(section.title)])
            outer += nodes.paragraph("", "", nodes.literal(text=section.about))
            for spec in section.specs:
                kind = (spec.scenario.kind or "").replace("_", " ")
                inner = nodes.section("", nodes.title(text=kind), ids=[nodes.make_id(f"{section.title} {kind}")])
                inner += nodes.raw("", render_one(spec), format="html")
                outer += inner
            made.append(outer)
        return made
