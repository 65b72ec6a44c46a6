"""The rollouts in inspect_ai: its evaluation of our task (tools in our sandbox), its client, its log."""

from __future__ import annotations

import tempfile

import inspect_ai
from inspect_ai import eval as run_eval
from inspect_ai.model import get_model
from playing import Clock, options

from toolfoundry.evaluate.inspect_tasks import solve


def main() -> None:
    chosen = options()
    model = get_model("openai-api/loopback/scripted", base_url=chosen.url, api_key="none")
    task = solve(str(chosen.envs))
    with tempfile.TemporaryDirectory() as folder:
        run_eval(task, model=model, limit=1, log_dir=folder, display="none")  # imports what is imported late
        begin = Clock()
        [log] = run_eval(
            task,
            model=model,
            epochs=chosen.samples,
            max_samples=chosen.concurrency,
            max_connections=chosen.concurrency,
            log_dir=folder,
            display="none",
            fail_on_error=True,
        )
        assert log.status == "success", log.error
        found = [sample.scores["solve_scores"].value for sample in log.samples]
        begin.report(inspect_ai.__version__, [(value["solve_f1"] + value["answer"]) / 2 for value in found])


if __name__ == "__main__":
    main()
