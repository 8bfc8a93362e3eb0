"""GGUF files: models split into several files, and metadata that must be present.

Only the first file of a split model describes the model. transformers accepts any of them, fills in
its own defaults for missing metadata, and so builds a different, huge model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alphaedit_core.errors import InputError

#: How llama.cpp names the files of a split model.
_PART = re.compile(r"(?P<model>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


def parts_of(path: Path) -> list[Path]:
    """Return all files of a split model in order, or the one file of a whole model.

    Raises:
        InputError: if files are missing; names them.
    """
    match = _PART.fullmatch(path.name)
    if match is None or int(match["count"]) < 2:
        return [path]
    count = int(match["count"])
    parts = [path.with_name(f"{match['model']}-{n:05}-of-{count:05}.gguf") for n in range(1, count)]
    parts.append(path.with_name(f"{match['model']}-{count:05}-of-{count:05}.gguf"))
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f'"{path.name}" is one of {count} files of a model, and beside it '
            f"{', '.join(missing[:3])}{more} {'is' if len(missing) == 1 else 'are'} missing; put "
            "all of them into one folder"
        )
    return parts


def check_whole(parts: Sequence[Path]) -> None:
    """Check that GGUF files form one model, in order, and describe it.

    Raises:
        InputError: if they do not.
    """
    from gguf import GGUFReader

    tensors, expected = 0, 0
    for index, part in enumerate(parts):
        reader = GGUFReader(part)
        count, own_index = _field(reader, "split.count") or 1, _field(reader, "split.no") or 0
        if count != len(parts):
            raise InputError(
                f'"{part.name}" is file {own_index + 1} of {count} of a model; give the files '
                f"their original names, such as model-00001-of-{count:05}.gguf, in one folder, and "
                "name any of them"
                if count > 1
                else f'"{part.name}" has the name of a part, but is a whole model; rename it'
            )
        if own_index != index:
            raise InputError(
                f'"{part.name}" is file {own_index + 1} of its model according to its metadata; '
                "give it its original name"
            )
        if index == 0:
            _check_described(reader, part.name)
            expected = int(_field(reader, "split.tensors.count") or 0)
        tensors += len(reader.tensors)
    if expected and expected != tensors:
        raise InputError(
            f'"{parts[0].name}" and the files beside it hold {tensors} of {expected} tensors; '
            "they are not all of one model: download them again"
        )


def join(parts: Sequence[Path], to: Path) -> None:
    """Write the files of a model as one, with the metadata of the first and all tensors."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    readers = [GGUFReader(part) for part in parts]
    writer = GGUFWriter(to, _field(readers[0], "general.architecture"))
    for field in readers[0].fields.values():
        # The writer adds the version, the counts and the architecture itself.
        if field.name.startswith(("GGUF.", "split.")) or field.name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    for tensor in tensors:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.data)
    writer.close()


def _check_described(reader: Any, name: str) -> None:
    architecture = _field(reader, "general.architecture")
    required = [f"{architecture}.{key}" for key in ("block_count", "embedding_length")]
    missing = [key for key in required if _field(reader, key) is None]
    if not architecture or missing:
        keys = ", ".join(missing) if architecture else "general.architecture"
        raise InputError(
            f'"{name}" does not describe its model (it has no {keys}); give the GGUF file of a '
            "whole language model, or the first part of one"
        )


def _field(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()
