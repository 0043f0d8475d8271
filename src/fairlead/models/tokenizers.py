"""Tokenizers and chat templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from fairlead.errors import ModelError
from fairlead.models.quiet import quiet
from fairlead.models.sources import UNREADABLE, Source, hub_faults, locate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN = "plain"
PLAIN_TEMPLATE = """\
{%- if tools %}{{ 'Tools:' }}{% for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}{{ '\\n\\n' }}{% endif %}
{%- for message in messages %}
{{- (message.role | capitalize) + ':\\n' + message.content }}
{%- for call in message.tool_calls or [] %}{{ '\\nCall: ' + (call | tojson) }}{% endfor %}
{{- eos_token if message.role == 'assistant' else '' }}{{ '\\n\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"""
"""Roles as words on lines of their own, a blank line between turns, the end token after each assistant turn."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "spiece.model",
    "tekken.json",
)


def load_tokenizer(path: str, chat_template: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model path, with a chat template and a padding token; needs no weights.

    `chat_template` replaces the tokenizer's own: a file with a Jinja template, or `plain`. Raises ModelError when there
    is no tokenizer, no template or a template that does not work, MachineError when the hub cannot be reached.
    """
    return tokenizer_of(locate(path), chat_template)


def has_own_template(path: str, *, adapter: str | None = None) -> bool:
    """Whether the tokenizer of a model path brings a chat template, as that of a model tuned on dialogues does."""
    return bool(_read(locate(path, adapter=adapter)).chat_template)


def tokenizer_of(source: Source, chat_template: str | None = None) -> PreTrainedTokenizerBase:
    """As `load_tokenizer`, for a path that has been located; an adapter's own tokenizer goes before its base's."""
    tokenizer = _read(source)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"The tokenizer of {source.base} has no end token, so a reply could never end. Set eos_token in its "
            f"tokenizer_config.json."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if chat_template is not None:
        tokenizer.chat_template = _template(tokenizer, chat_template)
        _try(tokenizer, chat_template)
    if not tokenizer.chat_template:
        raise ModelError(
            f"The tokenizer of {source.base} has no chat template, so turns cannot be put into text. Set "
            f"`model.chat_template: plain` for simple text turns, or give a file with a Jinja template."
        )
    return tokenizer


def _read(source: Source) -> Any:
    from transformers import AutoTokenizer

    arguments = source.arguments
    if source.adapter is not None and _has_tokenizer(source.adapter):
        arguments = {"pretrained_model_name_or_path": str(source.adapter)}
    elif source.kind == "folder" and not _has_tokenizer(Path(source.base)):
        raise ModelError(
            f"The folder {source.base} holds no tokenizer ({', '.join(TOKENIZER_FILES[:3])}, …). Copy the tokenizer's "
            f"files of the original model into it."
        )
    try:
        with hub_faults(source.base), quiet():
            return AutoTokenizer.from_pretrained(**arguments, trust_remote_code=False)
    except UNREADABLE as error:
        if source.kind == "gguf":
            raise ModelError(f"{source.base} is damaged or cut short: {_first_line(error)} Copy it again.") from error
        raise ModelError(
            f"The tokenizer of {source.base} cannot be loaded: {_first_line(error)} Copy its files again; tokenizers "
            f"that bring their own code are not run."
        ) from error


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def _template(tokenizer: Any, chat_template: str) -> str:
    if chat_template == PLAIN:
        ids = tokenizer("a").input_ids
        starts = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
        return ("{{- bos_token }}" if starts else "") + PLAIN_TEMPLATE
    try:
        return Path(chat_template).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"model.chat_template: {chat_template} cannot be read ({_first_line(error)}). Give a file with a Jinja "
            f"template, or the word plain."
        ) from error


def _try(tokenizer: Any, name: str) -> None:
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except (TemplateError, TypeError, ValueError) as error:
        raise ModelError(f"The chat template {name} does not work: {_first_line(error)}") from error
    if "question" not in text or "answer" not in text:
        raise ModelError(f"The chat template {name} leaves out what the turns say: it renders as {text!r}.")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    line = lines[0].strip() if lines else type(error).__name__
    return line if line.endswith((".", "!", "?")) else line + "."
