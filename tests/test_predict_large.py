"""tools/predict_large.py: the predictions of one run, a part at a time, also after it was killed."""

import csv
import gzip
import json
import re
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, make_choice_rows, make_rows, write_csv, write_jsonl

import run_multilabel
import run_multiple_choice
from tools import predict_large
from utils.arguments import UserError

SHORT = ["--max_steps=4", "--per_device_train_batch_size=8", "--no_report"]


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    train = write_jsonl(folder / "train.jsonl", make_rows(40))
    run_multilabel.main([f"--model_name_or_path={tiny_model}", f"--train_file={train}", f"--output_dir={folder / 'out'}", *SHORT])
    return str(folder / "out")


def text_of(row: dict) -> str:
    return f'{row["text"]}, "so"\nand on'  # quoted, over two lines


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".jsonl", ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("ids", [True, False])
def test_parts_give_what_one_run_gives(model, tmp_path, ending, ids):
    rows = [{"id": row["id"]} | {"text": text_of(row)} if ids else {"text": text_of(row)} for row in make_rows(25, 3)]
    plain = tmp_path / f"test{ending.removesuffix('.gz')}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), plain)
    elif ".jsonl" in ending:
        plain.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with plain.open("w", newline="") as file:
            csv.writer(file, delimiter="," if ".csv" in ending else "\t").writerows([rows[0], *(row.values() for row in rows)])
    path = tmp_path / f"test{ending}"
    if ending.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    options = [f"--model_name_or_path={model}", f"--test_file={path}", "--threshold=0.4"]
    run_multilabel.main([*options, f"--output_dir={tmp_path / 'one'}"])
    count = predict_large.main(["run_multilabel.py", *options, f"--output_dir={tmp_path / 'parts'}", "--rows_at_once=7"])
    assert count == 25 and [each.name for each in (tmp_path / "parts").iterdir()] == ["predictions.csv"]
    assert (tmp_path / "parts" / "predictions.csv").read_bytes() == (tmp_path / "one" / "predictions.csv").read_bytes()


@pytest.mark.parametrize("above", ["sep=;\n", "\ufeffsep=;\n", "", None])
def test_a_header_is_that_of_every_part_and_a_first_row_only_once(model, tmp_path, above):
    rows = [f'"{row["text"]}; so 5"" and on"' for row in make_rows(15, 3)]
    header, own = (["id;text"], []) if above is not None else ([], ["--no_header", "--column_names=id,text"])
    path = tmp_path / "test.csv"
    path.write_text((above or "") + "\n".join([*header, *(f"r{number};{row}" for number, row in enumerate(rows))]))
    options = [f"--model_name_or_path={model}", f"--test_file={path}", *own]
    run_multilabel.main([*options, f"--output_dir={tmp_path / 'one'}"])
    predict_large.main(["run_multilabel.py", *options, f"--output_dir={tmp_path / 'parts'}", "--rows_at_once=4"])
    assert (tmp_path / "parts" / "predictions.csv").read_bytes() == (tmp_path / "one" / "predictions.csv").read_bytes()


def test_candidates_too(tiny_model, tmp_path):
    files = [write_jsonl(tmp_path / f"{count}.jsonl", make_choice_rows(count)) for count in (40, 12)]
    run_multiple_choice.main(
        [f"--model_name_or_path={tiny_model}", f"--train_file={files[0]}", f"--output_dir={tmp_path / 'm'}", *SHORT]
    )
    options = [f"--model_name_or_path={tmp_path / 'm'}", f"--test_file={files[1]}"]
    run_multiple_choice.main([*options, f"--output_dir={tmp_path / 'one'}"])
    predict_large.main(["run_multiple_choice.py", *options, f"--output_dir={tmp_path / 'parts'}", "--rows_at_once=5"])
    assert (tmp_path / "parts" / "predictions.csv").read_text() == (tmp_path / "one" / "predictions.csv").read_text()


@pytest.mark.slow
def test_a_killed_run_goes_on_behind_the_last_part(model, tmp_path):
    path, out = write_jsonl(tmp_path / "test.jsonl", make_rows(60, 3)), tmp_path / "out"
    options = ["run_multilabel.py", f"--model_name_or_path={model}", f"--test_file={path}", "--rows_at_once=10"]
    command = [sys.executable, "tools/predict_large.py", *options, f"--output_dir={out}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (out / "parts" / "000001.csv").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "predictions.csv").exists()
    before = (out / "parts" / "000000.csv").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"parts of another file or of other options"):
        predict_large.main([*options, f"--output_dir={out}", "--threshold=0.3"])
    assert (out / "parts" / "000000.csv").stat().st_mtime_ns == before
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    assert "60 rows predicted, 100 % of the file" in told and "0 rows are predicted already: going on behind them" in told
    assert "Test scores" not in told and f"wrote {out / 'predictions.csv'} (60 rows)" in told
    predict_large.main([*options, f"--output_dir={tmp_path / 'whole'}"])
    assert (out / "predictions.csv").read_text() == (tmp_path / "whole" / "predictions.csv").read_text()


def test_what_is_wrong_is_said_in_a_line(model, tmp_path):
    options = ["run_multilabel.py", f"--model_name_or_path={model}", f"--output_dir={tmp_path / 'out'}", "--rows_at_once=2"]
    broken = write_csv(
        tmp_path / "test.csv", ["id", "text"], [["a", "late"], ["b", "broken"], ["c", "late", "more"], ["d", "it"]]
    )
    with pytest.raises(UserError, match=r"test.csv, in the rows after the first 2: .*found 3 fields"):
        predict_large.main([*options, f"--test_file={broken}"])
    with pytest.raises(UserError, match=r"test.csv, in the first rows: .*found 3 fields"):
        predict_large.main([*options[:-1], "--rows_at_once=20", f"--test_file={broken}", f"--output_dir={tmp_path / 'first'}"])
    common = [*options[1:], f"--test_file={broken}"]
    with pytest.raises(UserError, match=r"^unknown option --foo"):  # nothing of parts that the user has not made
        predict_large.main(["run_multilabel.py", *common[:1], "--foo=1", f"--output_dir={tmp_path / 'foo'}", common[-1]])
    for script in ("run_mlm.py", "run_nix.py"):
        with pytest.raises(UserError, match=r"expected the script that trained the model"):
            predict_large.main([script, *common])
    with pytest.raises(UserError, match=r"holds a run: name a folder of its own"):
        predict_large.main(["run_multilabel.py", common[0], f"--output_dir={model}", common[-1]])
    for other in (["--train_file=a.csv"], ["--export", "onnx"], ["args.yaml"]):
        with pytest.raises(UserError, match=rf"does nothing else: leave out {other[0].split('=')[0]}"):
            predict_large.main(["run_multilabel.py", *other, *options[1:], f"--test_file={broken}"])
    for name, told in (("no.csv", "there is no such file"), ("test.xlsx", "expected a .csv"), ("empty.csv", "has no rows")):
        if name != "no.csv":
            (tmp_path / name).write_text("")
        with pytest.raises(UserError, match=told):
            predict_large.main([*options[:2], f"--output_dir={tmp_path / name[:2]}", f"--test_file={tmp_path / name}"])


def test_each_part_says_how_far_it_is(model, tmp_path, caplog):
    path = write_csv(tmp_path / "test.csv", ["text"], [[f"{row['text']:200}"] for row in make_rows(20)])
    options = [f"--model_name_or_path={model}", f"--test_file={path}", f"--output_dir={tmp_path / 'parts'}", "--rows_at_once=5"]
    with caplog.at_level("INFO", "utils.parts"):
        predict_large.main(["run_multilabel.py", *options])
    told = [record.message for record in caplog.records if "of the file" in record.message]
    assert [re.match(r"\d+ rows predicted, \d+ %", each)[0] for each in told] == [
        "5 rows predicted, 25 %", "10 rows predicted, 50 %", "15 rows predicted, 75 %", "20 rows predicted, 100 %",
    ]  # fmt: skip
    assert all(re.search(r"; \d+ a second, about \d\d:\d\d left$", each) for each in told[:-1])
    assert re.search(r"100 % of the file; \d+ a second$", told[-1])
