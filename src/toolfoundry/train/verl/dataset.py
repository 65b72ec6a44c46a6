"""verl's dataset, with each prompt measured as the model will see it.

verl measures prompts with one list of tools for all rows. Here every row has tools of its own, in full, which are
most of a prompt's length; rows that are too long are left out and counted, never cut.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

from verl.utils.dataset.rl_dataset import RLHFDataset

from toolfoundry.environment import opening
from toolfoundry.errors import InputError
from toolfoundry.samples import Prefix
from toolfoundry.store import load_record
from toolfoundry.train.verl.process import Environments, dialect_of, settings_of

__all__ = ["EnvironmentDataset"]


class EnvironmentDataset(RLHFDataset):
    """Rows that `toolfoundry export verl` wrote."""

    def maybe_filter_out_long_prompts(self, dataframe: Any = None) -> Any:
        """The rows whose prompt has at most `data.max_prompt_length` tokens. Raises InputError where none has."""
        if not self.filter_overlong_prompts or not len(dataframe):
            return dataframe
        settings = settings_of(self.config.get("toolfoundry"))
        environments = Environments.at(settings.environments)
        dialect = dialect_of(self.tokenizer, settings, environments[dataframe[0]["extra_info"]["environment"]])

        def tokens(row: dict[str, Any]) -> int:
            messages, tools = opening(environments[row["extra_info"]["environment"]])
            if row["reward_model"]["ground_truth"]:
                messages = load_record(Prefix, row["reward_model"]["ground_truth"].encode()).messages
            return len(dialect.prompt(messages, tools).ids)

        kept = [index for index, row in enumerate(dataframe) if tokens(row) <= self.max_prompt_length]
        if not kept:
            found = f"none of {len(dataframe)} prompts with at most {self.max_prompt_length} tokens"
            raise InputError(f"data.max_prompt_length: found {found}, expected a limit that some fit")
        if left_out := len(dataframe) - len(kept):
            print(f"left out {left_out} of {len(dataframe)} rows: more than {self.max_prompt_length} prompt tokens")
        return dataframe.select(kept)
