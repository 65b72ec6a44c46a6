"""Samples as rows of other people's files: JSONL and Parquet that `datasets.load_dataset` reads as they are.

    prefix_row          a prefix: messages, tools, what is unsolved there
    ftrl_row            the same as the FTRL release's sampler writes it and its trainer reads it
    conversation_row    a whole trajectory as messages
    sample_row          a `Sample`: token ids, mask, turns, log-probabilities, rewards

Rows have no header line, and the same columns throughout a file. Messages have OpenAI's form, with every key in each of
them (None where it does not apply) and arguments as JSON text; what differs in shape from row to row (tool schemas) is
JSON text as a whole. A file appears under its name when it is complete.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import orjson

from toolfoundry.answers import spelling
from toolfoundry.chat.markup import dump, write_call
from toolfoundry.errors import InputError, MissingExtra, OutputError
from toolfoundry.formats.ftrl import to_row, unsolved_set
from toolfoundry.reward import trajectory_value
from toolfoundry.samples import Prefix, Sample, conversation
from toolfoundry.types import EnvSpec, Message, Trajectory

__all__ = ["Row", "RowWriter", "as_chat", "conversation_row", "ftrl_row", "prefix_row", "row_writer", "sample_row"]

Row: TypeAlias = dict[str, Any]

_ROW_GROUP = 500  # rows of Parquet that are held in memory


def as_chat(message: Message) -> Row:
    """A message in OpenAI's form. A call that could not be read has no place there: it stands in the text again."""
    unread = [write_call(call) for call in message.tool_calls if not call.name]
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
        if call.name
    ]
    return {
        "role": message.role,
        "content": "\n".join([*([message.content] if message.content else []), *unread]),
        "reasoning_content": message.thinking or None,
        "tool_calls": calls or None,
        "tool_call_id": message.call_id,
    }


def prefix_row(prefix: Prefix, spec: EnvSpec, ids: Sequence[int] | None = None) -> Row:
    """A prefix; with `prompt_ids` where they are given.

    `toolfoundry.scoring` scores a response to it, with the environment of that `spec_id`.
    """
    row: Row = {
        "key": prefix.key,
        "spec_id": spec.id,
        "scenario": spec.scenario.kind,
        "prompt": [as_chat(message) for message in prefix.messages],
        "tools": _tools(spec),
        "unsolved": list(prefix.unsolved),
        "credited": list(prefix.credited),
        "solve_rate": prefix.solve_rate,
        "answer": spelling(spec.scenario.answer) if spec.scenario.answer else None,
        "stateful": spec.state is not None,
    }
    return row if ids is None else {**row, "prompt_ids": list(ids)}


def ftrl_row(prefix: Prefix, spec: EnvSpec) -> Row:
    """A prefix in the release's own columns; take it from `prefixes(trajectory, "ftrl")`, by whose rule it is solved.

    `split` is "train", since the release's reward knows no other. Tool messages keep our words for errors, since those
    are what the policy saw; thinking stands in the content, as the release leaves it there.

    Raises InputError for an environment that the format cannot hold.
    """
    row: Row = orjson.loads(to_row(spec))
    unsolved = unsolved_set(goal for goal in spec.goals if goal.id in prefix.unsolved)
    row |= {
        "messages": [_released(message) for message in prefix.messages],
        "unsolved_set": dump({tool: unsolved.get(tool, []) for tool in unsolved_set(spec.goals)}),
        "solve_rate": prefix.solve_rate,
        "split": "train",
    }
    row.pop("gt_tool_call", None)
    return row


def conversation_row(trajectory: Trajectory, spec: EnvSpec) -> Row | None:
    """A trajectory as messages, up to what the policy said last; None where it said nothing. Unscored: score None."""
    if not trajectory.turns:
        return None
    messages = [*conversation(trajectory, len(trajectory.turns) - 1), trajectory.turns[-1].completion.message]
    return {
        "key": trajectory.key,
        "spec_id": spec.id,
        "scenario": spec.scenario.kind,
        "messages": [as_chat(message) for message in messages],
        "tools": _tools(spec),
        "score": trajectory_value(trajectory),
    }


def sample_row(sample: Sample) -> Row:
    """A sample as it is; a demonstration has no log-probabilities, rewards or score."""
    return sample.model_dump(mode="json", exclude={"advantages"})


def _tools(spec: EnvSpec) -> str:
    return dump([tool.signature.as_function() for tool in spec.tools])


def _released(message: Message) -> Row:
    row = as_chat(message)
    thinking = row.pop("reasoning_content")
    return row if thinking is None else {**row, "content": f"<think>\n{thinking}\n</think>\n\n{row['content']}"}


# --- files ----------------------------------------------------------------------------------------------------------


class RowWriter(Protocol):
    """Takes the rows of one file."""

    def write(self, row: Row) -> None: ...


@contextmanager
def row_writer(path: Path) -> Generator[RowWriter]:
    """Writes rows to a `.jsonl` or `.parquet` file, which is there when the block ends, and not if it fails.

    Raises InputError for another ending, MissingExtra where Parquet cannot be written, OutputError where nothing can.
    """
    writers: dict[str, type[_Lines | _Table]] = {".jsonl": _Lines, ".parquet": _Table}
    if path.suffix not in writers:
        raise InputError(f"{path}: found the ending {path.suffix!r}, expected .jsonl or .parquet")
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = writers[path.suffix](unfinished)
        try:
            yield writer
        finally:
            writer.close()
        if not unfinished.exists():
            raise InputError(f"{path}: there is no row to write")
        unfinished.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


class _Lines:
    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, row: Row) -> None:
        self._file.write(orjson.dumps(row) + b"\n")

    def close(self) -> None:
        self._file.close()


class _Table:
    """Rows gathered into row groups. The types come from the names: a column is of one type in every file."""

    def __init__(self, path: Path) -> None:
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise MissingExtra("train", "writing Parquet") from None
        self._path = path
        self._rows: list[Row] = []
        self._file: Any = None  # opened at the first row, which says the columns

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROW_GROUP:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        if self._file is None:
            schema = self._arrow.schema({name: self._type(name) for name in self._rows[0]})
            self._file = self._parquet.ParquetWriter(self._path, schema)
        self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._file.schema))
        self._rows = []

    def _type(self, name: str) -> Any:
        arrow = self._arrow
        text, many = arrow.string(), arrow.list_
        if name in ("prompt", "messages"):
            call = {"id": text, "type": text, "function": arrow.struct({"name": text, "arguments": text})}
            message = {"role": text, "content": text, "reasoning_content": text}
            message |= {"tool_calls": many(arrow.struct(call)), "tool_call_id": text}
            if name == "messages" and "codes" in self._rows[0]:
                del message["reasoning_content"]
            return many(arrow.struct(message))
        types = {
            "unsolved": many(text),
            "credited": many(text),
            "solve_rate": arrow.float64(),
            "score": arrow.float64(),
            "stateful": arrow.bool_(),
            "prompt_ids": many(arrow.int32()),
            "token_ids": many(arrow.int32()),
            "turns": many(arrow.int32()),
            "mask": many(arrow.bool_()),
            "logprobs": many(arrow.float64()),
            "turn_rewards": many(arrow.float64()),
        }
        return types.get(name, text)
