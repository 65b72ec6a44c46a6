"""Plays given messages through verl's agent-loop worker: its rows, batch and score, with a script for its server."""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from toolfoundry.store import read
from toolfoundry.types import EnvSpec, Message


def play(spec_file: Path, spec_id: str, completions: Sequence[Message]) -> float:
    """The reward that verl's worker stores with the sample of this episode."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        import verl.trainer.ppo.v1.agent_loop_tq as worker_module
        from verl.utils.dataset.rl_dataset import get_dataset_class

        from verl_backend.scripted_server import ScriptedServer, save_model

        tokenizer = save_model(Path(folder) / "model", "hermes")
        config = _configuration(list(read(spec_file, EnvSpec)), Path(folder))
        rows = [
            row
            for files in (config.data.train_files, config.data.val_files)
            for row in get_dataset_class(config.data)(files, tokenizer, config.data)
        ]
        row = next(row for row in rows if row["extra_info"]["environment"] == spec_id)
        queue = _Queue()
        with mock.patch.object(worker_module, "tq", queue):
            worker_class = worker_module.AgentLoopWorkerTQ.__ray_metadata__.modified_class
            server = ScriptedServer(tokenizer, list(completions))
            asyncio.run(_run(worker_class, config, server, row))
    [sample] = queue.samples
    return sample["rm_scores"].sum().item()


async def _run(worker_class: Any, config: Any, server: Any, row: dict[str, Any]) -> None:
    worker = worker_class(config, server)
    info = {"step": 1, "sample_index": 0, "rollout_n": 0, "validate": False}
    sampling = {"temperature": 1.0, "top_p": 1.0, "logprobs": False}
    await worker._run_prompt({**row, "uid": "u", "global_steps": 1}, sampling, info)


def _configuration(specs: list[EnvSpec], folder: Path) -> Any:
    """What our export writes, as verl's own start-up composes it."""
    from hydra import compose, initialize_config_dir

    from toolfoundry.train.verl.export import VerlRun, export_verl

    export_verl(specs, folder / "run", VerlRun(model=str(folder / "model"), chat="hermes", mode="episode"))
    with initialize_config_dir(str(folder / "run"), version_base=None):
        overrides = [f"data.folder='{folder / 'run'}'", "actor_rollout_ref.rollout.n=1"]
        return compose("config", overrides=overrides)


class _Queue:
    """In place of TransferQueue, which hands samples from process to process: what the worker stores."""

    def __init__(self) -> None:
        self.samples: list[dict[str, Any]] = []

    def init(self, *_: Any) -> None:
        """There is nothing to start."""

    async def async_kv_put(self, **_: Any) -> None:
        """Says how far a prompt is; nobody asks."""

    async def async_kv_batch_put(self, *, keys: list[str], fields: Any, **_: Any) -> None:
        for index in range(len(keys)):
            self.samples.append({name: fields[name][index] for name in fields.keys()})  # noqa: SIM118 (a TensorDict)
