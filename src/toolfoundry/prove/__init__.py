"""The solvability prover: finds the calls that answer imported environments, and the edges between their goals.

    with Sandbox() as box:
        for spec in prove_all(specs, box):
            ...                              # spec.gold_calls, spec.goals[i].needs, spec.proof

See `docs/prover.md` for what counts as a proof.
"""

from toolfoundry.prove.prover import prove, prove_all
from toolfoundry.prove.summary import ProofSummary, fair, reason_against, summarise

__all__ = ["ProofSummary", "fair", "prove", "prove_all", "reason_against", "summarise"]
