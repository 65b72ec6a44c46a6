"""A policy of under a million parameters for the `tiny` profile: tokenizer, model, demonstrations, warm start."""
