"""Building, checking, playing and scoring on a Ray cluster: the functions of the local commands, over shards.

    shards.py      the folder of shards: Parquet, each finished exactly once
    work.py        what is done with one shard: build, audit, play, score
    on_ray.py      shards to the nodes with Ray Data, and what came of them in order
    commands.py    the four commands, from options to results

What needs the whole set in view (near-duplicates, benchmarks, the report) is done where the command was typed, with the
shards in order, by the code that does it locally: the results are the same bytes. Tool code runs in the sandbox of the
node. Not covered: the LLM author (it waits for an endpoint, not for cores), and checkpoints sampled on the nodes (serve
the model, and play with `--policy openai`).
"""
