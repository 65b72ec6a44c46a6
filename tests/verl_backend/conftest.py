"""These tests run where verl does: `make test-verl`. verl's own imports warn; ours must not."""

import importlib.util
import warnings

import pytest

from toolfoundry.demo import environments
from toolfoundry.train.verl.export import VerlRun, export_verl

if importlib.util.find_spec("verl") is not None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import verl.experimental.agent_loop
        import verl.trainer.ppo.v1.agent_loop_tq  # noqa: F401

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def specs():
    """The sixteen environments of the package; by id."""
    return {spec.id: spec for spec in environments()}


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory):
    """Chat format -> (folder, tokenizer)."""
    from verl_backend.scripted_server import save_model

    folders = {}
    for chat in ("hermes", "qwen3"):
        folder = tmp_path_factory.mktemp(chat)
        folders[chat] = (folder, save_model(folder, chat))
    return folders


@pytest.fixture
def exported(tmp_path, specs, model_folders):
    """Exports a run and composes verl's configuration of it as its own `main_ppo` does."""
    from hydra import compose, initialize_config_dir

    def export(chat="hermes", overrides=(), trajectories=(), **fields):
        folder = tmp_path / "run"
        run = VerlRun(model=str(model_folders[chat][0]), chat=chat, **fields)
        export_verl(list(specs.values()), folder, run, trajectories=trajectories)
        with initialize_config_dir(str(folder), version_base=None):
            return compose("config", overrides=[f"data.folder='{folder}'", *overrides])

    return export
