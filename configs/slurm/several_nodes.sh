#!/bin/bash
# sbatch configs/slurm/several_nodes.sh run_multilabel.py configs/jigsaw.yaml --output_dir /shared/out
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1         # torchrun starts the processes of a node
#SBATCH --gpus-per-node=8
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120         # two minutes before the end of the time: the run saves after its current step,
#SBATCH --requeue                   # and goes on from there when Slurm starts this job again
#SBATCH --open-mode=append
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

stop() {
    kill -TERM "$run"  # srun passes it on
    wait "$run"
    scontrol requeue "$SLURM_JOB_ID"
    exit
}
trap stop TERM

srun --kill-on-bad-exit=1 torchrun --nnodes "$SLURM_NNODES" --nproc_per_node "${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv_backend c10d --rdzv_endpoint "$first:29500" --rdzv_id "$SLURM_JOB_ID" "$@" &
run=$!
wait "$run"
