"""parquet: a table with a column of documents, named `text` or `content`; needs pyarrow."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from budgetplan.calibrate.readers.jsonl import KEYS
from budgetplan.calibrate.readers.reader import MAGIC, BadData, readers
from budgetplan.core.errors import MissingPackage

NUMBER = b"PAR1"


@readers.add("parquet")
class Parquet:
    """Tables of Apache Parquet, as the Hugging Face hub stores them."""

    certainty = MAGIC
    raw = False

    def recognizes(self, path: Path, *, head: bytes) -> bool:
        """Whether the file begins as such a table does."""
        return head.startswith(NUMBER)

    def texts(self, path: Path) -> Iterator[bytes]:
        """Yield the document of each row; rows without one are none."""
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingPackage("pyarrow", needed_for=f"reading {path.name}", extra="data")
        import pyarrow as arrow
        import pyarrow.parquet as tables

        try:
            table = tables.ParquetFile(path)
            names = table.schema_arrow.names
            column = next((key for key in KEYS if key in names), None)
            if column is None:
                raise BadData(f"{path}: its columns are {', '.join(names[:8])}",
                              f"One must be named {', '.join(KEYS[:2])}.")  # fmt: skip
            for batch in table.iter_batches(columns=[column]):
                for text in batch.column(0).to_pylist():
                    if text is not None and not isinstance(text, (str, bytes)):
                        raise BadData(f"{path}: column {column} holds {batch.column(0).type}",
                                      "Documents are text.")  # fmt: skip
                    if text:
                        yield text.encode() if isinstance(text, str) else text
        except (arrow.ArrowException, OSError) as error:
            raise BadData(f"{path}: {str(error).splitlines()[0]}", "Copy it again.") from error
