"""Live servers: the tools of an environment over MCP, whole episodes over OpenEnv.

Each module needs its own framework (extras `mcp` and `openenv`, which want different majors of the MCP SDK and so
different virtual environments), and nothing in the core imports them.
"""
