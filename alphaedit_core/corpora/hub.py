"""Running text streamed from a Hugging Face data set; nothing is downloaded beyond what is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alphaedit_core.errors import FetchError, InputError
from alphaedit_core.messages import not_installed
from alphaedit_core.storage.files import sha256_of_file

DEFAULT_DATASET = "wikimedia/wikipedia"


class HuggingFaceText:
    """One text field of a data set, in the data set's order.

    Args:
        dataset: its name on the hub, or a local folder with data files.
        config: its configuration, None for the only one.
        split: its split.
        field: the column that holds the text.
        revision: a commit or tag of the data set; None for the newest, which is then looked up
            once and kept to.
    """

    def __init__(
        self,
        dataset: str = DEFAULT_DATASET,
        config: str | None = "20231101.en",
        split: str = "train",
        field: str = "text",
        revision: str | None = None,
    ) -> None:
        self.dataset = dataset
        self.config = config
        self.split = split
        self.field = field
        self.revision = revision
        self._commit: str | None = None

    @property
    def name(self) -> str:
        """The name that :func:`open_text` understands."""
        return f"hf:{self.dataset}" + (f":{self.config}" if self.config else "")

    def checksum(self) -> str:
        """Of data set, configuration, split, field and the exact commit; no text is read for it.

        Raises:
            FetchError: if the commit has to be looked up and the hub cannot be reached.
        """
        parts = [self.dataset, self.config, self.split, self.field, self._resolved_commit()]
        if self._is_local:  # where the folder lies says nothing about the text in it
            parts[0] = None
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def documents(self) -> Iterator[str]:
        """The texts that are not blank.

        Raises:
            FetchError: if the data set cannot be had.
            InputError: if the package ``datasets`` is not installed, or the field does not exist or
                does not hold text.
        """
        rows = iter(self._open())
        while True:
            try:
                row: dict[str, Any] = next(rows)
            except StopIteration:
                return
            except Exception as error:  # whatever the network or the file format brings
                raise self._failed(error) from error
            text = row.get(self.field)
            if not isinstance(text, str):
                raise InputError(
                    f'text {self.name}: field "{self.field}" holds no text; '
                    f"its fields are {', '.join(row)}"
                )
            if text.strip():
                yield text

    def _open(self) -> Any:
        try:
            import datasets
        except ImportError:
            raise InputError(not_installed(f"text {self.name}", "datasets", "datasets")) from None
        revision = None if self._is_local else self._resolved_commit()
        try:
            return datasets.load_dataset(
                self.dataset, self.config, split=self.split, revision=revision, streaming=True
            )
        except Exception as error:
            raise self._failed(error) from error

    @property
    def _is_local(self) -> bool:
        return Path(self.dataset).is_dir()

    def _resolved_commit(self) -> str:
        """The commit that is read; for a local folder a hash of its files."""
        if self._commit is None:
            self._commit = self._local_hash() if self._is_local else self._commit_on_the_hub()
        return self._commit

    def _commit_on_the_hub(self) -> str:
        from huggingface_hub import HfApi

        try:
            info = HfApi().dataset_info(self.dataset, revision=self.revision, timeout=30)
        except Exception as error:
            raise self._failed(error) from error
        if info.sha is None:
            raise self._failed(ValueError("the hub names no commit"))
        return str(info.sha)

    def _local_hash(self) -> str:
        folder = Path(self.dataset)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        listed = [[path.relative_to(folder).as_posix(), sha256_of_file(path)] for path in files]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    def _failed(self, error: Exception) -> FetchError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return FetchError(
            f"text {self.name}: cannot be had ({reason[:300]}); check its name and the network, "
            f'or use "wikipedia-sample"'
        )

    def __repr__(self) -> str:
        return f"HuggingFaceText({self.dataset!r}, {self.config!r}, {self.split!r})"
