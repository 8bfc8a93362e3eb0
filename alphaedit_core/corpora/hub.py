"""Running text streamed from a Hugging Face data set."""

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
    """The text field of a data set, in order; only the rows that are read are downloaded.

    Args:
        dataset: name on the Hub, or a local folder with data files.
        config: configuration; None for the only one.
        split: the split to read.
        field: name of the text column.
        revision: commit or tag of the data set; None for the latest, which is looked up once.
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
        """The name that :func:`.open_text` understands."""
        return f"hf:{self.dataset}" + (f":{self.config}" if self.config else "")

    def checksum(self) -> str:
        """Return a digest of data set, configuration, split, field and commit; reads no text.

        Raises:
            FetchError: if the commit is not known yet and the Hub cannot be reached.
        """
        parts = [self.dataset, self.config, self.split, self.field, self._resolved_commit()]
        if self._is_local:  # the path of a folder does not determine its text
            parts[0] = None
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def documents(self) -> Iterator[str]:
        """Yield the texts that are not blank.

        Raises:
            FetchError: if the data set cannot be loaded.
            InputError: if the package ``datasets`` is not installed, or the field does not exist or
                is not text.
        """
        rows = iter(self._open())
        while True:
            try:
                row: dict[str, Any] = next(rows)
            except StopIteration:
                return
            except Exception as error:  # any error of the network or the file format
                raise self._failed(error) from error
            text = row.get(self.field)
            if not isinstance(text, str):
                raise InputError(
                    f'text {self.name}: field "{self.field}" has no text; '
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
        """Return the commit to read, or a hash of the files of a local folder."""
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
            raise self._failed(ValueError("the Hub returned no commit"))
        return str(info.sha)

    def _local_hash(self) -> str:
        folder = Path(self.dataset)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        entries = [[path.relative_to(folder).as_posix(), sha256_of_file(path)] for path in files]
        return hashlib.sha256(json.dumps(entries).encode()).hexdigest()

    def _failed(self, error: Exception) -> FetchError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return FetchError(
            f"text {self.name}: cannot be loaded ({reason[:300]}); check its name and the network, "
            f'or use "wikipedia-sample"'
        )

    def __repr__(self) -> str:
        return f"HuggingFaceText({self.dataset!r}, {self.config!r}, {self.split!r})"
