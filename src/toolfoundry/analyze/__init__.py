"""Analysis: what training changed, in the parameters and in the behaviour."""
