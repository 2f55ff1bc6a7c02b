"""Predict a file of any number of rows with a saved model, a part at a time. The memory that it takes is that of one part.

    python tools/predict_large.py run_multilabel.py --model_name_or_path out --test_file millions.csv --output_dir predicted

Reads .csv, .tsv, .jsonl and .parquet, also .gz, and writes predictions.csv in the order of the file, no scores. Stopped and
started again, it goes on behind the last whole part. All other options are those of the script.
"""

import argparse
import codecs
import csv
import gzip
import importlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))
from utils.arguments import UserError  # noqa: E402
from utils.command_line import one_line_errors  # noqa: E402
from utils.files.rows import whole_file  # noqa: E402

logger = logging.getLogger("utils.parts")

QUIET = ("--log_level=error", "--disable_tqdm")  # one part tells what all of them would
ABOUT_PARTS = ("utils.results.predictions", "utils.results.report")  # their lines: scores and files of one part only
NOT_HERE = ("train_file", "validation_file", "dataset_name", "num_folds", "search_trials", "export", "sample_submission", "text")
NOT_HERE += ("check_data", "smoke_test", "push_to_hub", "do_train", "do_eval", "max_predict_samples", "pseudo_labels")


def read_parts(path: Path, raw: BinaryIO, rows: int, header: bool) -> Iterator[bytes]:
    """Yield the content of files, each with `rows` rows of the file `path`, which is open as `raw`, below its `header`.

    Lines are not taken apart. Where quotation marks are unbalanced, several rows count as one.
    """
    ending = Path(path.name.removesuffix(".gz")).suffix
    if ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(raw).iter_batches(rows):
            buffer = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_batches([batch]), buffer)
            yield buffer.getvalue().to_pybytes()
        return
    if ending not in (".csv", ".tsv", ".jsonl"):
        raise UserError(f"--test_file {path}: expected a .csv, .tsv, .jsonl or .parquet file, also .gz")
    records = _records(gzip.open(raw) if path.suffix == ".gz" else raw, quoted=ending != ".jsonl")
    above = b""
    if ending != ".jsonl":
        first = next(records, b"")
        if first.removeprefix(codecs.BOM_UTF8).startswith(b"sep="):  # for Excel
            above, first = first, next(records, b"")
        if header:
            above += first
        else:
            records = chain([first], records)
    while part := list(islice(records, rows)):
        yield above + b"".join(part)


def _records(lines: BinaryIO, quoted: bool) -> Iterator[bytes]:
    """Yield the lines that are not empty. Lines of one `quoted` cell are one: a row has an even number of quotation marks."""
    record = b""
    for line in lines:
        record += line
        if record.strip() and not (quoted and record.count(b'"') % 2):
            yield record
            record = b""
    if record.strip():
        yield record


def predict(script: str, options: list[str], path: Path, folder: Path, rows: int) -> int:
    """Predict the rows of `path` with a script and its `options`, write them to `folder`, and return how many they are."""
    main, named = importlib.import_module(Path(script).stem).main, {option.lstrip("-").split("=")[0] for option in options}
    if wrong := [f"--{name}" for name in NOT_HERE if name in named] or [each for each in options[:1] if each[0] != "-"]:
        raise UserError(f"tools/predict_large.py predicts the rows of --test_file, and does nothing else: leave out {wrong[0]}")
    parts, began, new, count, first = folder / "parts", time.perf_counter(), 0, 0, 0.0
    about_file = [str(path), path.stat().st_size, path.stat().st_mtime_ns]
    _go_on(parts, {"script": script, "options": options, "rows": rows, "file": about_file})
    part = parts / f"part{Path(path.name.removesuffix('.gz')).suffix}"
    with path.open("rb") as raw:
        for number, content in enumerate(read_parts(path, raw, rows, "no_header" not in named)):
            done = parts / f"{number:06}.csv"
            finished = done.is_file()
            if not finished:
                if count and not new:
                    logger.info("%s rows are predicted already: going on behind them", f"{count:,}")
                part.write_bytes(content)
                own = [f"--test_file={part}", f"--output_dir={parts / 'run'}", "--no_report", "--overwrite_output_dir"]
                try:
                    main([*options, *own, *(QUIET if new else ())])
                except UserError as error:
                    if str(part) not in str(error):
                        raise
                    where = f"in the rows after the first {count:,}" if count else "in the first rows"
                    raise UserError(f"{path}, {where}: {error}") from error
                os.replace(parts / "run" / "predictions.csv", done)
            with done.open("rb") as file:
                own_rows = sum(1 for _ in _records(file, quoted=True)) - 1
            count, new = count + own_rows, new + own_rows * (not finished)
            seconds, share = time.perf_counter() - began, raw.tell() / path.stat().st_size
            first = share if new == 0 else first  # what an earlier run has predicted takes no time
            left = seconds * (1 - share) / (share - first) if share > first else 0.0
            speed = f"; {new / seconds:,.0f} a second" + f", about {tqdm.format_interval(left)} left" * (share < 1) if new else ""
            if new or share == 1:
                logger.info("%s rows predicted, %.0f %% of the file%s", f"{count:,}", 100 * share, speed)
    if not count:
        raise UserError(f"--test_file {path} has no rows")
    _join(sorted(parts.glob("[0-9]*.csv")), folder / "predictions.csv")
    shutil.rmtree(parts)
    logger.info("wrote %s (%s rows)", folder / "predictions.csv", f"{count:,}")
    return count


def _go_on(parts: Path, what: dict) -> None:
    """Make the folder of the parts. Raises a `UserError` if it has those of another command or file."""
    noted, begun = parts / "command.json", any(parts.glob("[0-9]*.csv"))
    if begun and json.loads(noted.read_text(encoding="utf-8")) != what:
        raise UserError(f"{parts} holds parts of another file or of other options: remove it, or name another --output_dir")
    parts.mkdir(parents=True, exist_ok=True)
    with whole_file(noted) as file:
        json.dump(what, file)


def _join(paths: list[Path], target: Path) -> None:
    """Write the predictions of all parts as one file. Where rows have numbers for ids, they are counted on."""
    headers = []
    for path in paths:
        with path.open(newline="", encoding="utf-8") as part:
            headers.append(next(csv.reader(part)))
    names = max(headers, key=len)  # a part may have fewer candidates a row than others
    for path, own in zip(paths, headers, strict=True):
        if not set(own) <= set(names) or own[0] != names[0]:
            raise UserError(f"{path} has other columns than the other parts: {', '.join(own)}; see --id_column_name")
    with whole_file(target) as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        count = 0
        for path in paths:
            with path.open(newline="", encoding="utf-8") as part:
                for row in csv.DictReader(part):
                    writer.writerow(row | {"row": count} if names[0] == "row" else row)
                    count += 1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", help="the script that trained the model, such as run_multilabel.py")
    parser.add_argument("--test_file", type=Path, required=True, help="the rows to predict")
    parser.add_argument("--output_dir", type=Path, required=True, help="where predictions.csv goes")
    parser.add_argument("--rows_at_once", type=int, default=20_000, help="in a part [20,000]")
    args, options = parser.parse_known_args(argv)
    if args.rows_at_once < 1:
        parser.error(f"--rows_at_once {args.rows_at_once}: expected at least 1")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("tools/predict_large.py is one process: start it with python, on a part of the rows for each")
    if not Path(__file__).parents[1].joinpath(args.script).is_file() or Path(args.script).name == "run_mlm.py":
        raise UserError(f"{args.script}: expected the script that trained the model, such as run_multilabel.py")
    if (args.output_dir / "args.yaml").is_file():
        raise UserError(f"--output_dir {args.output_dir} holds a run: name a folder of its own")
    if not args.test_file.is_file():
        raise UserError(f"--test_file {args.test_file}: there is no such file")
    try:
        for name in ABOUT_PARTS:
            logging.getLogger(name).setLevel(logging.WARNING)
        return predict(args.script, options, args.test_file, args.output_dir, args.rows_at_once)
    except KeyboardInterrupt:
        logger.info("the same command goes on behind the last finished part")
        raise
    finally:
        for name in ABOUT_PARTS:
            logging.getLogger(name).setLevel(logging.NOTSET)


if __name__ == "__main__":
    with one_line_errors():
        main()
