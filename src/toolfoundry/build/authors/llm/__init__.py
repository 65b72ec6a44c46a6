"""The LLM author: any OpenAI-compatible model writes the content of the stages, from questions or topics."""

from toolfoundry.build.authors.llm.author import LLMAuthor, LLMConfig
from toolfoundry.build.authors.llm.batch import Wave
from toolfoundry.build.authors.llm.prompting import prompt_hashes

__all__ = ["LLMAuthor", "LLMConfig", "Wave", "prompt_hashes"]
