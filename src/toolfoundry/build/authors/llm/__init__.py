"""The LLM author: any OpenAI-compatible model writes the content of the stages, from questions or topics."""

from toolfoundry.build.authors.llm.author import LLMAuthor, LLMConfig, pool_of
from toolfoundry.build.authors.llm.batch import Wave
from toolfoundry.build.authors.llm.prompting import prompt_hashes

__all__ = ["LLMAuthor", "LLMConfig", "Wave", "pool_of", "prompt_hashes"]
