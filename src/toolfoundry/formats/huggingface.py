"""A set as a folder that Hugging Face's `datasets` loads and its hub shows: Parquet, and a card that describes it.

    FOLDER/environments/SPLIT.parquet       a row for each environment
    FOLDER/conversations/SPLIT.parquet      a row for each conversation: gold, or recorded
    FOLDER/README.md                        the card: columns, origin, statistics, quality, licence

    load_dataset(FOLDER), load_dataset(FOLDER, "conversations")

Messages have OpenAI's form with the same keys in each; what differs in shape from row to row is JSON text. The column
`environment` is the whole record, so that nothing is lost: `EnvSpec.model_validate_json` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pydantic import JsonValue

from toolfoundry import __version__
from toolfoundry.answers import spelling
from toolfoundry.chat.markup import dump as to_text
from toolfoundry.check.report import QualityReport
from toolfoundry.environment import opening
from toolfoundry.errors import InputError
from toolfoundry.export_samples import Row, as_chat, conversation_row, row_writer
from toolfoundry.stats.compare import compare_sets, sections
from toolfoundry.store import dump, replace_file
from toolfoundry.types import EnvSpec, Trajectory
from toolfoundry.untrusted import visible

__all__ = ["Card", "environment_row", "export_huggingface"]

_ENVIRONMENTS = {
    "id": "hash of the content",
    "scenario": "single_hop, parallel_single_hop, multi_hop or parallel_multi_hop; null where it is not known",
    "question": "the task's question",
    "answer": "its final answer as text; null where there is none to compare with",
    "prompt": "the opening messages",
    "tools": "the tools' schemas in OpenAI's form (JSON text)",
    "goals": "the tool calls' answers that are to be had, with their types and what they need (JSON text)",
    "stateful": "whether the tools have a state that calls may change",
    "environment": "the whole record, with the tools' sources and the gold calls (JSON text)",
}
_CONVERSATIONS = {
    "key": "environment, who played, and which repetition it is",
    "spec_id": "the environment's id",
    "scenario": "as above",
    "messages": "the conversation, calls with their arguments as JSON text",
    "tools": "as above",
    "score": "½ Solve-F1 + ½ (final answer right); null: not scored",
}


class Card(NamedTuple):
    """What a card says beyond the rows.

    license: an identifier of the hub ("apache-2.0", "cc-by-4.0"; "unknown" where nobody said). made_by: the author
    and the profile of the build, and seed: its seed, where they are known. report: of `toolfoundry check`, where it
    was run.
    """

    title: str
    license: str = "unknown"
    made_by: str | None = None
    seed: JsonValue = None
    report: QualityReport | None = None


def environment_row(spec: EnvSpec) -> Row:
    """One environment as a row."""
    answer = spec.scenario.answer
    return {
        "id": spec.id,
        "scenario": spec.scenario.kind,
        "question": spec.scenario.question,
        "answer": None if answer is None else spelling(answer),
        "prompt": [as_chat(message) for message in opening(spec).messages],
        "tools": to_text([tool.signature.as_function() for tool in spec.tools]),
        "goals": to_text([goal.model_dump(mode="json") for goal in spec.goals]),
        "stateful": spec.state is not None,
        "environment": dump(spec).decode(),
    }


def export_huggingface(
    specs: Sequence[EnvSpec],
    folder: Path,
    card: Card,
    *,
    conversations: Iterable[tuple[EnvSpec, Trajectory]] = (),
    split: str = "train",
) -> dict[str, int]:
    """Writes the folder and gives the number of rows of each part; a part without rows is not written.

    Raises InputError for a bad name of a split, and where there is no environment; MissingExtra without pyarrow.
    """
    if not re.fullmatch(r"\w+(\.\w+)*", split):
        raise InputError(f"split: found {split!r}, expected letters, digits and _")
    if not specs:
        raise InputError("there is no environment to export")
    counts = {"environments": 0, "conversations": 0}
    with row_writer(folder / "environments" / f"{split}.parquet") as writer:
        for spec in specs:
            writer.write(environment_row(spec))
            counts["environments"] += 1
    rows = (row for spec, trajectory in conversations if (row := conversation_row(trajectory, spec)) is not None)
    if (first := next(rows, None)) is not None:
        with row_writer(folder / "conversations" / f"{split}.parquet") as writer:
            for row in (first, *rows):
                writer.write(row)
                counts["conversations"] += 1
    else:
        (folder / "conversations" / f"{split}.parquet").unlink(missing_ok=True)  # of an export before this one
    text = _header(card, counts, split) + _text(card, specs, counts, split)
    replace_file(folder / "README.md", text.encode())
    return counts


def _header(card: Card, counts: Mapping[str, int], split: str) -> str:
    """What the hub and `load_dataset` read. JSON is YAML, so nothing in it can be taken for something else."""
    parts = [name for name in counts if counts[name]]
    fields: dict[str, Any] = {
        "pretty_name": visible(card.title),
        "license": card.license,
        "language": ["en"],
        "task_categories": ["text-generation"],
        "tags": ["tool-use", "function-calling", "reinforcement-learning", "toolfoundry"],
        "size_categories": [_size(counts["environments"])],
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": split, "path": f"{name}/{split}.parquet"}],
                **({"default": True} if name == "environments" else {}),
            }
            for name in parts
        ],
    }
    lines = [f"{name}: {orjson.dumps(value).decode()}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---", "", ""])


def _size(count: int) -> str:
    """The hub's word for how many rows there are."""
    steps = [(1_000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M"), (10_000_000, "10M")]
    low = "n"
    for most, word in steps:
        if count < most:
            return f"{low}<{word}" if low == "n" else f"{low}<n<{word}"
        low = word
    return "n>10M"


def _text(card: Card, specs: Sequence[EnvSpec], counts: Mapping[str, int], split: str) -> str:
    count = counts["environments"]
    parts = [
        f"# {_plain(card.title)}",
        f"{count:,} environments for tool-using language models: a question, tools that run locally, and the typed "
        "answers that calls to them must give, so that every turn has a verifiable reward. Written by "
        f"ToolFoundry {__version__}, after FTRL (arXiv:2508.08791).",
        "```python\n"
        "from datasets import load_dataset\n"
        "from toolfoundry.types import EnvSpec\n\n"
        f'rows = load_dataset("THIS FOLDER", split="{split}")\n'
        'spec = EnvSpec.model_validate_json(rows[0]["environment"])\n'
        "```",
        "Tool sources are programs that a model may have written: run them in a sandbox, as ToolFoundry does.",
        "## Columns",
        _table(("`environments`", ""), [(f"`{name}`", said) for name, said in _ENVIRONMENTS.items()]),
    ]
    if counts["conversations"]:
        parts.append(_table(("`conversations`", ""), [(f"`{name}`", said) for name, said in _CONVERSATIONS.items()]))
    parts += ["## Origin", _origin(card, specs), "## Statistics", _statistics(card.title, specs), "## Quality"]
    parts.append("Not checked." if card.report is None else _quality(card.report))
    return "\n\n".join(parts) + "\n"


def _origin(card: Card, specs: Sequence[EnvSpec]) -> str:
    sources = sorted({spec.provenance.source for spec in specs})
    rows = [("source", ", ".join(_plain(source) for source in sources))]
    if card.made_by is not None:
        rows.append(("made by", _plain(card.made_by)))
    rows.append(("seed", "not known" if card.seed is None else _plain(str(card.seed))))
    rows.append(("licence", _plain(card.license)))
    return _table(("", ""), rows)


def _statistics(title: str, specs: Sequence[EnvSpec]) -> str:
    """Sizes, the mean of each quantity with its span, parameters by type, and how many things are distinct."""
    rows: list[tuple[str, str]] = []
    for section in sections(compare_sets({title: specs})):
        if section.rows[0].label == "all":  # a mean, and then the same for each scenario
            rows.append((f"{section.title}, {section.note}", section.rows[0].cells[0]))
        else:
            rows += [(f"{section.title}: {row.label}", row.cells[0]) for row in section.rows]
    return _table(("", ""), rows)


def _quality(report: QualityReport) -> str:
    probes = sum(report.probes.values())
    told = f"`toolfoundry check` {report.version}: {len(report.gates)} gates, {probes:,} probing calls, "
    told += f"{report.defects:,} defects in {report.faulty:,} environments."
    hits = [
        (gate.gate.title, gate.gate.severity, f"{gate.hits:,} of {gate.applied:,}")
        for gate in report.gates
        if gate.hits
    ]
    parts = [told]
    if hits:
        parts.append(_table(("what was found", "", ""), hits))
    if report.panel:
        played = [
            (summary.policy, "–" if (score := summary.overall.metrics["score"].mean) is None else f"{score:.3f}")
            for summary in report.panel
        ]
        parts.append(_table(("scripted policy", "mean score"), played))
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text of somebody else's in Markdown: what could be markup is escaped."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", visible(text, 300))
