# pyright: basic, reportMissingImports=false
"""Shards to the nodes of a Ray cluster, with Ray Data, and what came of them in order.

A task does one shard on one core, and writes it into the folder that all nodes see; what travels through Ray is its
place in the run and whether it is done. A task whose node dies is done again elsewhere, by Ray; a shard that is in the
folder is not. What goes wrong on a node stops the run with the node's name; Ray itself reports nothing to anybody.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from toolfoundry import __version__
from toolfoundry.cluster.shards import Finished, Row, Shard, ShardFolder
from toolfoundry.cluster.work import DoShard, Work
from toolfoundry.errors import (
    EndpointError,
    FoundryError,
    InputError,
    MissingExtra,
    OutputError,
    SandboxError,
    SandboxUnavailable,
)

__all__ = ["connected", "do_shards"]

ATTEMPTS = 6  # at a shard; Ray Data itself tries without end, also what takes all memory each time
_KINDS = {kind.__name__: kind for kind in (SandboxUnavailable, SandboxError, InputError, EndpointError, OutputError)}


@contextlib.contextmanager
def connected(address: str) -> Generator[int]:
    """A connection to a cluster; yields its number of cores.

    address: of the head ("HOST:6379"), "auto" (the cluster that this machine belongs to), or "local" (Ray on this
    machine alone, started here and ended with the work). A connection that is there already is used, and stays.

    Raises InputError where there is no cluster, MissingExtra without Ray.
    """
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    os.environ.update(quiet)  # before the import; of the machine's own environment, since Ray starts processes in it
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtra("ray", "--ray") from None
    begun = not ray.is_initialized()
    if begun:
        address = _known(address)
        _require_open(address)
        try:
            ray.init(
                address=address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level="error",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"--ray {address}: found no cluster there ({said})") from None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Ray prints there when a node dies; results are ours to print
            yield int(ray.cluster_resources().get("CPU", 0))
    finally:
        if begun:
            ray.shutdown()


def _known(address: str) -> str:
    """What "auto" stands for, in the order in which Ray looks; "auto" where only Ray can find it."""
    if address != "auto":
        return address
    if found := os.environ.get("RAY_ADDRESS"):
        return found
    noted = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"  # by the last `ray start`; may be long gone
    return noted.read_text().strip() or address if noted.exists() else address


def _require_open(address: str) -> None:
    """Raises InputError where nobody listens at HOST:PORT, which Ray itself would take minutes to say."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(f"--ray {address}: found no cluster there ({error.strerror or error})") from None


def do_shards(
    work: Work,
    folder: ShardFolder,
    shards: Iterable[Shard],
    *,
    again: Callable[[Finished], bool] | None = None,
    on_done: Callable[[int], None] | None = None,
) -> Iterator[Finished]:
    """The shards in their order, each as soon as it and those before it are done.

    Args:
        again: which of the shards that are there already are to be done again, with what is good in them kept.
        on_done: called with the number of items of each shard that was done now or before.
    Raises:
        FoundryError: what went wrong on a node, with the node's name.
    """
    order = list(shards)
    there = {shard for shard in order if folder.finished(shard)}
    redo = {shard for shard in there if again is not None and again(folder.read(shard))}
    ready = there - redo
    missing = [shard for shard in order if shard not in ready]
    if on_done is not None:
        on_done(sum(shard.size for shard in ready))
    with contextlib.closing(_on_nodes(work, folder, missing, redo)) as coming:
        for shard in order:
            while shard not in ready:
                done = next(coming, None)
                if done is None:
                    raise FoundryError(f"{folder.path}: items from {shard.first} were not done; go on with --resume")
                ready.add(done)
                if on_done is not None:
                    on_done(done.size)
            yield folder.read(shard)


def _on_nodes(work: Work, folder: ShardFolder, shards: list[Shard], redo: set[Shard]) -> Generator[Shard]:
    """Each shard when it is done, in no order."""
    if not shards:
        return
    import ray
    import ray.data
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.execution_options.preserve_order = False
    items = [{"first": shard.first, "size": shard.size, "replace": shard in redo} for shard in shards]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _do,
        fn_kwargs={"work": work, "folder": folder},
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
    )
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for done in batch.to_pylist():
                if done["error"]:
                    raise _KINDS.get(done["kind"], FoundryError)(f"node {done['node']}: {done['error']}")
                yield Shard(done["first"], done["size"])
    except RayError as error:
        cause = str(error).strip().splitlines()[-1]
        raise FoundryError(f"Ray gave a shard up ({cause}); go on with --resume") from None


# --- on a node -------------------------------------------------------------------------------------------------------


class _Opened(NamedTuple):
    """What this process keeps from shard to shard."""

    work: Work
    content: str
    stack: contextlib.ExitStack
    do: DoShard


_opened: _Opened | None = None


def _do(batch: Any, work: Work, folder: ShardFolder) -> Any:
    """Does the shards of a batch; a failure is a value, so that it is reported as it is and not tried again."""
    import pyarrow

    node = _node()
    found = []
    for row in batch.to_pylist():
        shard = Shard(row["first"], row["size"])
        kind = error = ""
        try:
            _do_one(shard, work, folder, node, replace=row["replace"])
        except Exception as problem:
            kind = next((known.__name__ for known in type(problem).__mro__ if known.__name__ in _KINDS), "")
            error = str(problem) if isinstance(problem, FoundryError) else f"{type(problem).__name__}: {problem}"
        found.append({"first": shard.first, "size": shard.size, "node": node, "kind": kind, "error": error})
        if error:
            break
    return pyarrow.Table.from_pylist(found)


def _do_one(shard: Shard, work: Work, folder: ShardFolder, node: str, *, replace: bool) -> None:
    if not replace and folder.finished(shard):
        return
    folder.require()
    if (before := folder.attempt(shard)) >= ATTEMPTS:
        raise FoundryError(f"the process that did items from {shard.first} died {before} times; is memory short?")
    known: dict[int, Row] = {row.place: row for row in folder.read(shard).rows} if replace else {}
    rows, seconds = _open(work, folder)(shard, known)
    folder.write(Finished(shard, rows, seconds, node), replace=replace)


def _open(work: Work, folder: ShardFolder) -> DoShard:
    global _opened
    if folder.version != __version__:
        raise InputError(f"found ToolFoundry {__version__}, expected {folder.version} as where the command was typed")
    if _opened is None or (_opened.work, _opened.content) != (work, folder.content):
        if _opened is not None:
            _opened.stack.close()
        stack = contextlib.ExitStack()
        _opened = _Opened(work, folder.content, stack, stack.enter_context(work.open()))
    return _opened.do


def _node() -> str:
    """How this node is called in errors and manifests: host, address, and the beginning of its id in Ray's own logs."""
    import ray
    import ray.util

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()}, {ray.get_runtime_context().get_node_id()[:8]})"
