"""What configs/accelerate and configs/slurm start: weights that are divided, several machines, a job whose time is over."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, launch, make_rows, write_jsonl
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, pipeline

import run_multilabel
from utils.arguments import UserError
from utils.training.trainer import FineTuningTrainer

BIN = Path(sys.executable).parent
COUNTS = {"train": 64, "validation": 24, "test": 20}
# accelerate divides weights on accelerators only. torch does on a CPU, too: say that it is one.
ON_A_CPU = """
from accelerate.state import PartialState
from accelerate.utils import DistributedType
init = PartialState.__init__
def of_an_accelerator(self, *args, **kwargs):
    init(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
PartialState.__init__ = of_an_accelerator
import run_multilabel
from utils.runtime import run
run(run_multilabel.main)
"""


@pytest.fixture
def base(tmp_path, tiny_model) -> list[str]:
    files = {name: write_jsonl(tmp_path / f"{name}.jsonl", make_rows(count, count)) for name, count in COUNTS.items()}
    options = [f"--model_name_or_path={tiny_model}", "--use_cpu", "--num_train_epochs=3", "--optim=sgd", "--fp16=False"]
    options += ["--linear_probe=False"]  # which FSDP and DeepSpeed do not do
    options += ["--learning_rate=0.05", "--tune_cpu=False"]  # which lets the embeddings of unseen words decay, as FSDP does
    return [*options, *(f"--{name}_file={path}" for name, path in files.items()), "--no_report"]


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def scores(folder: Path) -> dict[str, float]:
    found = json.loads((folder / "all_results.json").read_text())
    return {name: value for name, value in found.items() if not name.endswith(("_second", "runtime", "padding_share", "_flos"))}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fsdp2", "zero2", "zero3"])
def test_a_divided_model_gives_the_weights_of_one_process_and_goes_on_after_a_checkpoint(base, tmp_path, engine):
    if engine != "fsdp2":
        pytest.importorskip("deepspeed")
    (tmp_path / "on_a_cpu.py").write_text(ON_A_CPU)
    program = str(tmp_path / "on_a_cpu.py") if engine == "fsdp2" else "run_multilabel.py"
    config = ["--config_file", str(ROOT / "configs" / "accelerate" / f"{engine}.yaml"), "--num_processes", "2"]
    command = ["accelerate", "launch", *config, "--main_process_port", free_port(), program]
    variables = {"PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu"}
    run_multilabel.main([*base, f"--output_dir={tmp_path / 'one'}", "--per_device_train_batch_size=16"])
    both = [*command, *base, "--per_device_train_batch_size=4", "--gradient_accumulation_steps=2"]
    launch(*both, f"--output_dir={tmp_path / 'two'}", **variables)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and all((one[name] - two[name]).abs().max() < 1e-5 for name in one)
    assert scores(tmp_path / "two") == pytest.approx(scores(tmp_path / "one"), abs=1e-5)
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "two").config.thresholds
    assert pipeline("text-classification", model=str(tmp_path / "two"), top_k=None)("the parcel is late")

    both += ["--optim=adamw_torch", "--keep_checkpoints", "--save_total_limit=9"]  # torch has no state of SGD to load
    launch(*both, f"--output_dir={tmp_path / 'whole'}", **variables)
    checkpoint = tmp_path / "whole" / "checkpoint-8"
    launch(*both, f"--resume_from_checkpoint={checkpoint}", f"--output_dir={tmp_path / 'on'}", **variables)
    whole, on = (load_file(tmp_path / name / "checkpoint-12" / "model.safetensors") for name in ("whole", "on"))
    assert all(whole[name].equal(on[name]) for name in whole)

    alone = [f"--model_name_or_path={tmp_path / 'two'}", f"--test_file={tmp_path / 'test.jsonl'}", "--use_cpu"]
    launch(*command, *alone, f"--output_dir={tmp_path / 'predicted'}", **variables)
    assert (tmp_path / "predicted" / "predictions.csv").read_text() == (tmp_path / "two" / "predictions.csv").read_text()


def test_the_head_learns_no_faster_where_the_optimizer_is_asked_for_twice(base, tmp_path, monkeypatch):
    rates = []

    def asked_twice(trainer: FineTuningTrainer, *args, **kwargs) -> None:  # as Trainer does with DeepSpeed
        trainer.create_optimizer()
        trainer.create_optimizer()
        rates.extend(sorted({group["lr"] for group in trainer.optimizer.param_groups}))
        raise UserError("seen")

    monkeypatch.setattr(FineTuningTrainer, "fit", asked_twice)
    with pytest.raises(UserError, match="seen"):
        run_multilabel.main([*base, f"--output_dir={tmp_path / 'out'}"])
    assert rates == pytest.approx([0.05, 0.5])


@pytest.mark.parametrize(
    ("option", "told"),
    [("--max_tokens_per_batch=64", "cuts batches"), ("--calibrate=temperature", "changes whole"), ("--use_peft", "merges whole")],
)
def test_what_needs_the_whole_model_is_refused_where_it_is_divided(base, tmp_path, monkeypatch, option, told):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match=f"{option.split('=')[0]} {told}"):
        run_multilabel.main([*base, option, f"--output_dir={tmp_path / 'no'}"])


@pytest.mark.slow
def test_several_machines_from_their_config_give_what_one_process_gives(base, tmp_path):
    config = ROOT / "configs" / "accelerate" / "several_machines.yaml"
    run_multilabel.main([*base, f"--output_dir={tmp_path / 'one'}", "--per_device_train_batch_size=16"])
    port, machines = free_port(), []
    for rank in ("0", "1"):
        command = [BIN / "accelerate", "launch", "--config_file", config, "--machine_rank", rank, "--num_processes", "2"]
        command += ["--main_process_ip", "127.0.0.1", "--main_process_port", port, "run_multilabel.py", *base]
        command += ["--per_device_train_batch_size=8", f"--output_dir={tmp_path / 'two'}"]
        machines.append(subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=subprocess.PIPE, text=True))
    told = [machine.communicate(timeout=300)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    assert scores(tmp_path / "two") == pytest.approx(scores(tmp_path / "one"), abs=1e-6)


def test_every_config_is_one_of_accelerate():
    from accelerate.commands.config.config_args import load_config_from_file

    for path in (ROOT / "configs" / "accelerate").glob("*.yaml"):
        load_config_from_file(str(path))  # raises a ValueError for a key that it does not know
        text = path.read_text(encoding="utf-8")
        assert f"--config_file configs/accelerate/{path.name}" in text
        assert yaml.safe_load(text)["mixed_precision"] == "no"  # or the scripts would not choose


SLURM = {
    "scontrol": 'case $1 in show) echo 127.0.0.1;; requeue) echo "$2" > requeued;; esac',
    "srun": 'shift 2; "$@" & echo $! > step; trap "kill -KILL $!" TERM; wait $!',  # so it does on a signal
    "scancel": '[ "$*" = "--signal=TERM 7.0" ] && kill -TERM "$(cat step)"',
}


@pytest.mark.slow
def test_a_slurm_job_whose_time_is_over_is_queued_again_and_goes_on(base, tmp_path):
    for name, body in SLURM.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a", "SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "2"}
    variables |= {"PATH": f"{tmp_path}:{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    options = [*base, f"--output_dir={tmp_path / 'out'}", "--num_train_epochs=60", "--eval_strategy=no", "--save_strategy=no"]
    command = ["bash", str(ROOT / "configs" / "slurm" / "several_nodes.sh"), str(ROOT / "run_multilabel.py"), *options]
    job = subprocess.Popen(command, cwd=tmp_path, env=os.environ | variables, stderr=subprocess.PIPE, text=True)
    told = ""
    while "step 50/" not in told:
        line = job.stderr.readline()
        assert line, told
        told += line
    job.send_signal(signal.SIGTERM)
    told += job.communicate(timeout=120)[1]
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    assert (tmp_path / "requeued").read_text() == "7\n", told
    again = subprocess.run(
        command, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert again.returncode == 0, again.stderr[-3000:]
    assert checkpoint.name in again.stderr and (tmp_path / "out" / "model.safetensors").is_file()
