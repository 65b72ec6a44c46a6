"""Environments over a user's own tools: Python functions, an OpenAPI file, or the tool list of an MCP server.

    reading ─► functions ─► evidence ─► compose ─► author         functions: run first, then asked about
            └► specifications ─────────────────► with_model       a specification: a model writes the rest

Both ends are authors like the others (`toolfoundry.build.author`). `toolfoundry build --tools FILE` is the command.
"""
