"""Evaluation: benchmarks, the runner that plays them, and tables with honest errors.

benchmark = own.load(path)                                      items and how each is played and scored
async for attempt in run_benchmark(benchmark, player, sandbox)  one record for each try, kept in a file
result = summarise_attempts(benchmark.about, attempts, "fixed") means, standard errors, what was unscored
"""
