"""Messages to text and text to messages, for each chat format.

    text = FORMATS["qwen3"].render(messages, tools, generation=True, thinking=False)     what the model reads
    message = FORMATS["qwen3"].parse(completion)                                         what it wrote, as a record
    explain(message.faults[0])                                                           what to tell it about that

`render` equals the vendor's own chat template byte for byte; `parse` never raises, and gives every malformed call a
place and every other mistake a `Fault`. Which input has which outcome: `docs/chat-formats.md`.

Not covered: token ids (a tokenizer's matter), images and audio, and escaping. A format writes message contents as
they are, so a tool result that spells `<|im_end|>` ends the turn for a tokenizer that reads control tokens in text.
"""

from toolfoundry.chat.formats import FORMATS, ChatFormat, chat_format, keeps_prefix
from toolfoundry.chat.markup import explain, well_formed

__all__ = ["FORMATS", "ChatFormat", "chat_format", "explain", "keeps_prefix", "well_formed"]
