"""What a model is besides its name: everything that numbers computed with it depend on.

Statistics, contexts and searches are kept for later under what they were made from. The weights
alone do not say that: the same weights read other tokens under another tokenizer, turn them by
other angles under another ``rope_theta``, and round differently under TF32.

What only the last bits depend on is left out: the device, the number of threads, the versions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import torch

from alphaedit_core.errors import CorruptFileError
from alphaedit_core.storage.tensor_files import tensor_digest

from .editable_model import EditableModel

#: Fields of a configuration that no number depends on, besides those that begin with "_".
_VOLATILE = {
    "architectures", "dtype", "id2label", "label2id", "name_or_path", "output_attentions",
    "output_hidden_states", "problem_type", "return_dict", "torch_dtype", "transformers_version",
    "use_cache",
}  # fmt: skip

#: Texts whose tokens tell tokenizers apart that have one vocabulary.
_PROBES = (
    "The Eiffel Tower is located in the city of Paris.",
    "  two spaces,\ttab\nand line",
    "3.14159 - 2,718 = 1e-9; x_1 != C++",
    "naïve ÉCOLE ﬁne Straße",
    "東京は日本の首都です。 Москва 🦊",
)

#: Buffers that are computed from the configuration may differ in their last bits by machine.
_LAST_BITS = 1e-5


@dataclass(frozen=True)
class Identity:
    """What numbers computed with a model depend on, each part as a text that can be compared.

    Attributes:
        fingerprint: digest of the weights.
        dtype: dtype of the forward pass.
        buffers: JSON; digest of every buffer, and two sums of one that is computed at load.
        tokenizer: digest of the vocabulary, the special tokens and how a few texts are read.
        serialization: digest of the tokenizer as it is written to a file.
        configuration: JSON; class and configuration, without what no number depends on.
        places: JSON; where blocks, down-projections, norm and head are.
        precision: of float32 products, and autocast where it is on.
        attention: the implementation of attention.
    """

    fingerprint: str = ""
    dtype: str = ""
    buffers: str = "{}"
    tokenizer: str = ""
    serialization: str = ""
    configuration: str = "{}"
    places: str = ""
    precision: str = ""
    attention: str = ""

    def key(self) -> str:
        """A short digest of all parts."""
        return blake2b(json.dumps(astuple(self)).encode(), digest_size=8).hexdigest()

    def to_dict(self) -> dict[str, str]:
        """The parts by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, parts: Mapping[str, Any], where: str) -> Identity:
        """From what :meth:`to_dict` gave; ``where`` names the file.

        Raises:
            CorruptFileError: if a part is missing or is no text.
        """
        names = [each.name for each in fields(cls)]
        bad = [name for name in names if not isinstance(parts.get(name), str)]
        for name in ("buffers", "configuration"):
            try:
                if name not in bad and not isinstance(json.loads(parts[name]), dict):
                    bad.append(name)
            except (ValueError, RecursionError):
                bad.append(name)
        if bad:
            raise CorruptFileError(
                f'{where}: does not say the "{bad[0]}" of its model; take a copy'
            )
        return cls(**{name: parts[name] for name in names})

    def differences(self, other: Identity) -> dict[str, str]:
        """What differs in another, by part: ``"rope_theta 10000.0, here 500000.0"``."""
        found: dict[str, str] = {}
        if self.configuration != other.configuration:
            changed, added = _fields_apart(self.configuration, other.configuration)
            found |= {"configuration": ", ".join(changed)} if changed else {}
            found |= {"fields": ", ".join(added)} if added else {}
        if bad := _buffers_apart(self.buffers, other.buffers):
            found["buffers"] = f"{bad[0]}{f' and {len(bad) - 1} more' if bad[1:] else ''}"
        for name in ("fingerprint", "dtype", "tokenizer", "serialization", "places", "precision",
                     "attention"):  # fmt: skip
            one, two = getattr(self, name), getattr(other, name)
            if one != two:
                found[name] = f"{one}, here {two}"
        return found


def describe(differences: Mapping[str, str]) -> str:
    """Differences as a person reads them, in one line."""
    words = {
        "fingerprint": "weights",
        "fields": "fields of the configuration that only one has:",
        "serialization": "tokenizer as a file",
        "places": "module paths",
        "precision": "precision of float32 products",
        "buffers": "buffers:",
        "configuration": "configuration:",
    }
    return "; ".join(f"{words.get(name, name)} {what}" for name, what in differences.items())


@runtime_checkable
class _Session(Protocol):
    """What holds a model and can show its unedited weights for a while."""

    def at_state(self, number: int) -> AbstractContextManager[None]:
        """While this is open, the model has the weights after so many edits."""
        ...


def identity(model: EditableModel) -> Identity:
    """What a model is, with its unedited weights (see ``EditableModel.fingerprint``)."""
    inner, config = model.model, model.model.config
    tokenizer, serialization = _tokenizer_digests(model.tokenizer)
    return Identity(
        model.fingerprint,
        str(model.dtype).removeprefix("torch."),
        _buffers(inner),
        tokenizer,
        serialization,
        _configuration(inner),
        json.dumps(asdict(model.architecture.places)),
        precision(model.device),
        str(getattr(config, "_attn_implementation", None)),
    )


@contextmanager
def unedited(model: EditableModel) -> Iterator[Identity]:
    """While this is open, the model is unedited and nobody else's; gives what it is.

    Every weight is read for it: 0.3 s for 135 million, which no shorter look can stand for, since a
    write through ``.data`` leaves no trace but the numbers.

    Raises:
        SessionError: if another thread uses the model, or its weights were changed by hand since a
            session took it.
    """
    with ExitStack() as stack:
        stack.enter_context(model.exclusive())
        if isinstance(model.owner, _Session):
            stack.enter_context(model.owner.at_state(0))
        model.check_weights()
        yield identity(model)


def precision(device: torch.device) -> str:
    """How float32 products are formed on a device: ``ieee``, ``tf32`` or ``bf16``, and autocast."""
    general = getattr(torch.backends, "fp32_precision", "none")
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    found = getattr(getattr(backend, "matmul", None), "fp32_precision", None)
    if found is None:  # before PyTorch 2.9
        lower = {"highest": "ieee", "high": "tf32", "medium": "bf16"}
        found = lower[torch.get_float32_matmul_precision()]
    elif found == "none":
        found = "ieee" if general == "none" else general
    if torch.is_autocast_enabled(device.type):
        kind = str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
        found += f", autocast {kind}"
    return str(found)


def _buffers(model: torch.nn.Module) -> str:
    stored = set(model.state_dict())
    found = {}
    for name, buffer in model.named_buffers():
        sums: list[float] = []
        if name not in stored and buffer.is_floating_point():
            values = buffer.detach().double().flatten()
            weights = torch.linspace(1, 2, len(values), dtype=torch.float64, device=values.device)
            sums = [float(values.sum()), float(values @ weights)]
            sums = sums if all(map(math.isfinite, sums)) else []
        kind = f"{buffer.dtype} {list(buffer.shape)} {tensor_digest(buffer)}"
        found[name] = [kind.removeprefix("torch."), *sums]
    return json.dumps(found, sort_keys=True)


def _buffers_apart(one: str, two: str) -> list[str]:
    """Names of the buffers that differ by more than their last bits."""
    ours, theirs = json.loads(one), json.loads(two)

    def same(a: Any, b: Any) -> bool:
        if a == b or not (isinstance(a, list) and isinstance(b, list) and len(a) == len(b) > 1):
            return bool(a == b)
        return all(
            isinstance(x, float) and isinstance(y, float) and math.isclose(x, y, rel_tol=_LAST_BITS)
            for x, y in zip(a[1:], b[1:], strict=True)
        )

    return sorted(n for n in ours.keys() | theirs.keys() if not same(ours.get(n), theirs.get(n)))


def _tokenizer_digests(tokenizer: Any) -> tuple[str, str]:
    """Of what it does and of how it is written."""
    # What pads is no part of it: rows are padded, and the padding masked, without the tokenizer.
    pad = getattr(tokenizer, "pad_token_id", None)
    special = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "unk")]
    reads = [
        tokenizer(text, add_special_tokens=added)["input_ids"]
        for text in _PROBES
        for added in (True, False)
    ]
    does = [
        sorted(tokenizer.get_vocab().items()),
        special,
        [t for t in sorted(tokenizer.all_special_ids) if t in special or t != pad],
        reads,
    ]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    written = "" if backend is None else backend.to_str()
    # Truncation and padding stand first; they are those of the last call, and no one's choice.
    _, _, written = written.partition('"added_tokens"')
    return _digest(json.dumps(does)), _digest(written)


def _configuration(model: Any) -> str:
    config = model.config.to_dict()
    config = {n: v for n, v in config.items() if n not in _VOLATILE and not n.startswith("_")}
    return json.dumps({"class": type(model).__name__} | config, sort_keys=True, default=str)


def _fields_apart(one: str, two: str) -> tuple[list[str], list[str]]:
    """Fields with other values, and fields that only one of two configurations has."""
    ours, theirs = json.loads(one), json.loads(two)
    changed = [
        f"{name} {json.dumps(ours[name])}, here {json.dumps(theirs[name])}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    return changed, sorted(ours.keys() ^ theirs.keys())


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
