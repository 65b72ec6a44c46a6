"""The construction pipeline: briefs or a seed in, proved environments out.

    draft.py                                        the values that flow from stage to stage
    author.py asking.py                             who writes their content, and how it is asked until it is sound
    decompose document integrate scale deploy       the five stages of Ye et al. 2025 (arXiv:2508.08791), Figure 2
    verify.py                                       gold calls, gates and scripted policies: the proof
    construct.py ledger.py pipeline.py              one environment, the books of a build, many environments
    authors/                                        procedural (an invented world) and llm (any model)

From Python: `construct` makes one environment of a `Brief`; each stage is a function from draft to draft.
"""
