"""A process that fetches a model slowly: `python -m tests.models.fetch_slowly FOLDER SECONDS`."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from slmops.models.references import fetch_into_cache

MODEL = "test:slow"


def main(source: Path, seconds: float) -> None:
    def fetch(folder: Path) -> tuple[str, str]:
        for index, path in enumerate(sorted(source.iterdir())):
            shutil.copyfile(path, folder / path.name)
            if index == 1:
                print("half", flush=True)
                time.sleep(seconds)
        return "test", "CC0-1.0"

    fetch_into_cache(MODEL, fetch)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
