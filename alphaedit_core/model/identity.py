"""Identity of a model: everything that affects the numbers computed with it.

Cached statistics, contexts and target searches are stored under the identity of their model. The
weights are not enough: the same weights give other numbers with another tokenizer, another
``rope_theta`` or TF32 arithmetic.

The device, the number of threads and the library versions are not part of the identity, because
they only affect the last bits.
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

#: Configuration fields without effect on any number, besides those that begin with "_".
_VOLATILE = {
    "architectures", "dtype", "id2label", "label2id", "name_or_path", "output_attentions",
    "output_hidden_states", "problem_type", "return_dict", "torch_dtype", "transformers_version",
    "use_cache",
}  # fmt: skip

#: Texts whose tokens distinguish tokenizers with the same vocabulary.
_PROBES = (
    "The Eiffel Tower is located in the city of Paris.",
    "  two spaces,\ttab\nand line",
    "3.14159 - 2,718 = 1e-9; x_1 != C++",
    "naïve ÉCOLE ﬁne Straße",
    "東京は日本の首都です。 Москва 🦊",
)

#: Relative tolerance for computed buffers, whose last bits may depend on the machine.
_LAST_BITS = 1e-5


@dataclass(frozen=True)
class Identity:
    """Everything that affects the numbers computed with a model, each part as a comparable string.

    Attributes:
        fingerprint: digest of the weights.
        dtype: dtype of the forward pass.
        buffers: JSON; a digest of every buffer, and two sums of each buffer computed at load time.
        tokenizer: digest of the vocabulary, the special tokens and the tokens of a few texts.
        serialization: digest of the serialized tokenizer.
        configuration: JSON; the model class and all configuration fields that affect numbers.
        places: JSON; paths of the blocks, down-projections, norm and head.
        precision: precision of float32 products, and the autocast dtype if autocast is on.
        attention: the attention implementation.
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
        """Return a short digest of all parts."""
        return blake2b(json.dumps(astuple(self)).encode(), digest_size=8).hexdigest()

    def to_dict(self) -> dict[str, str]:
        """Return the parts by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, parts: Mapping[str, Any], where: str) -> Identity:
        """Build an identity from the result of :meth:`to_dict`.

        Args:
            parts: the parts by name.
            where: name of the file, for error messages.

        Raises:
            CorruptFileError: if a part is missing or not a string.
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
                f'{where}: "{bad[0]}" of its model is missing or invalid; use a backup copy'
            )
        return cls(**{name: parts[name] for name in names})

    def differences(self, other: Identity) -> dict[str, str]:
        """Return the differences to another identity, by part.

        A difference reads like ``"rope_theta 10000.0, here 500000.0"``, with this identity's value
        first.
        """
        differing: dict[str, str] = {}
        if self.configuration != other.configuration:
            changed, added = _differing_fields(self.configuration, other.configuration)
            differing |= {"configuration": ", ".join(changed)} if changed else {}
            differing |= {"fields": ", ".join(added)} if added else {}
        if bad := _differing_buffers(self.buffers, other.buffers):
            differing["buffers"] = f"{bad[0]}{f' and {len(bad) - 1} more' if bad[1:] else ''}"
        for name in ("fingerprint", "dtype", "tokenizer", "serialization", "places", "precision",
                     "attention"):  # fmt: skip
            own, others = getattr(self, name), getattr(other, name)
            if own != others:
                differing[name] = f"{own}, here {others}"
        return differing


def describe(differences: Mapping[str, str]) -> str:
    """Format differences for people, in one line."""
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
    """An owner of a model that can temporarily restore the unedited weights."""

    def at_state(self, number: int) -> AbstractContextManager[None]:
        """Return a context in which the model has the weights after ``number`` edits."""
        ...


def identity(model: EditableModel) -> Identity:
    """Return the identity of a model with unedited weights (``EditableModel.fingerprint``)."""
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
    """Enter a context with the unedited model for exclusive use, and yield its identity.

    This reads all weights, which takes 0.3 s for 135 million parameters. A cheaper check would miss
    some writes through ``.data``, which change nothing but the entries.

    Raises:
        SessionError: if another thread uses the model, or the weights were changed by hand since a
            session took the model.
    """
    with ExitStack() as stack:
        stack.enter_context(model.exclusive())
        if isinstance(model.owner, _Session):
            stack.enter_context(model.owner.at_state(0))
        model.check_weights()
        yield identity(model)


def precision(device: torch.device) -> str:
    """Return the precision of float32 products on a device: ``ieee``, ``tf32`` or ``bf16``.

    The autocast dtype is appended if autocast is on.
    """
    general = getattr(torch.backends, "fp32_precision", "none")
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    matmul = getattr(getattr(backend, "matmul", None), "fp32_precision", None)
    if matmul is None:  # before PyTorch 2.9
        names = {"highest": "ieee", "high": "tf32", "medium": "bf16"}
        matmul = names[torch.get_float32_matmul_precision()]
    elif matmul == "none":
        matmul = "ieee" if general == "none" else general
    if torch.is_autocast_enabled(device.type):
        dtype = str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
        matmul += f", autocast {dtype}"
    return str(matmul)


def _buffers(model: torch.nn.Module) -> str:
    """Return the buffers as JSON: kind and digest, and two sums of each that is not stored."""
    stored = set(model.state_dict())
    buffers = {}
    for name, buffer in model.named_buffers():
        sums: list[float] = []
        if name not in stored and buffer.is_floating_point():
            values = buffer.detach().double().flatten()
            weights = torch.linspace(1, 2, len(values), dtype=torch.float64, device=values.device)
            sums = [float(values.sum()), float(values @ weights)]
            sums = sums if all(map(math.isfinite, sums)) else []
        kind = f"{buffer.dtype} {list(buffer.shape)} {tensor_digest(buffer)}"
        buffers[name] = [kind.removeprefix("torch."), *sums]
    return json.dumps(buffers, sort_keys=True)


def _differing_buffers(own: str, other: str) -> list[str]:
    """Return the names of the buffers that differ by more than their last bits."""
    ours, theirs = json.loads(own), json.loads(other)

    def same(a: Any, b: Any) -> bool:
        if a == b or not (isinstance(a, list) and isinstance(b, list) and len(a) == len(b) > 1):
            return bool(a == b)
        return all(
            isinstance(x, float) and isinstance(y, float) and math.isclose(x, y, rel_tol=_LAST_BITS)
            for x, y in zip(a[1:], b[1:], strict=True)
        )

    return sorted(n for n in ours.keys() | theirs.keys() if not same(ours.get(n), theirs.get(n)))


def _tokenizer_digests(tokenizer: Any) -> tuple[str, str]:
    """Return the digests of the tokenizer's behavior and of its serialization."""
    # The padding token has no effect: rows are padded and masked without the tokenizer.
    pad = getattr(tokenizer, "pad_token_id", None)
    special = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "unk")]
    probe_ids = [
        tokenizer(text, add_special_tokens=added)["input_ids"]
        for text in _PROBES
        for added in (True, False)
    ]
    behavior = [
        sorted(tokenizer.get_vocab().items()),
        special,
        [t for t in sorted(tokenizer.all_special_ids) if t in special or t != pad],
        probe_ids,
    ]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    serialized = "" if backend is None else backend.to_str()
    # Truncation and padding come first; they are left over from the last call.
    _, _, serialized = serialized.partition('"added_tokens"')
    return _digest(json.dumps(behavior)), _digest(serialized)


def _configuration(model: Any) -> str:
    config = model.config.to_dict()
    config = {n: v for n, v in config.items() if n not in _VOLATILE and not n.startswith("_")}
    return json.dumps({"class": type(model).__name__} | config, sort_keys=True, default=str)


def _differing_fields(own: str, other: str) -> tuple[list[str], list[str]]:
    """Return the fields with different values, and the fields that only one of two has."""
    ours, theirs = json.loads(own), json.loads(other)
    changed = [
        f"{name} {json.dumps(ours[name])}, here {json.dumps(theirs[name])}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    return changed, sorted(ours.keys() ^ theirs.keys())


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
