"""Training on verifiable feedback: SFT, GRPO, REINFORCE++ and REINFORCE++-baseline.

Samples, advantages and scores are the core's (`toolfoundry.samples`, `.advantages`, `.scoring`); here are the
backends that turn them into gradients. Everything in this package needs the extra `train`.
"""
