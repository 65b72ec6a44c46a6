"""ToolFoundry: environments for tool-using language models, a verifiable reward, and training on it."""

__version__ = "0.1.0"
