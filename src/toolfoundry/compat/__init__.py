"""Drop-in replacements for functions of other people's code: one module an origin."""
