"""One worker as Ray runs it: our loops and the sandbox work in a process that Ray started."""

from pathlib import Path

import pytest

pytest.importorskip("verl", reason="verl runs in its own virtual environment: make test-verl")

import ray
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.utils.dataset.rl_dataset import collate_fn, get_dataset_class

from verl_backend.scripted_server import ScriptedServer, played


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning:ray", "ignore::ResourceWarning", "ignore::DeprecationWarning:ray")
def test_worker_in_ray(exported, model_folders, specs, sandbox, monkeypatch):
    """Eight gold episodes in an actor of a local Ray: each has the score of the core."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray leaves a token in the home folder
    tokenizer = model_folders["hermes"][1]
    config = exported(mode="episode")
    row = get_dataset_class(config.data)(config.data.train_files, tokenizer, config.data)[0]
    script = [
        turn.completion.message for turn in played("gold", specs[row["extra_info"]["environment"]], sandbox).turns
    ]
    tests = str(Path(__file__).parents[1])
    ray.init(address="local", num_cpus=1, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": tests}})
    try:
        worker = ray.remote(AgentLoopWorker).remote(config, ScriptedServer(tokenizer, script))
        batch = DataProto.from_single_dict(collate_fn([row] * 8))
        out = ray.get(worker.generate_sequences.remote(batch), timeout=180)
    finally:
        ray.shutdown()
    assert out.batch["rm_scores"].sum(dim=1).tolist() == [1.0] * 8
