"""The verl backend: training on several nodes with Ray (verl 0.9.1).

    export.py       writes rows, environments, configuration and launch scripts (`toolfoundry export verl`)
    dataset.py      verl's dataset, with prompts measured as the model will see them: with the tools of their row
    agent_loop.py   verl's agent loops: a whole episode, or one response to a stored prefix
    reward.py       verl's reward function: scores one response by executing its calls
    process.py      what each worker process holds: settings, environments, one sandbox

verl and TRL need different versions of transformers, so they live in different virtual environments. `export.py` needs
the extra `train` (for pyarrow) and no verl; the others run where verl does, and need nothing of the extra `train`.
"""
