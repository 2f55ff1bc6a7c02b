#!/bin/bash
# sbatch configs/slurm/several_nodes.sh run_multilabel.py configs/jigsaw.yaml --output_dir /shared/out
# From this repository, in a folder that all nodes see, with the environment activated. Change the lines below to your cluster.
# Tried with Slurm 22.05 and two of its slurmd on one machine without GPUs, not on a cluster.
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1         # torchrun starts the processes of a node
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32          # of all processes of a node
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120         # two minutes before the end of the time: the run saves after its current step,
#SBATCH --requeue                   # and goes on from there when Slurm starts this job again
#SBATCH --open-mode=append
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))  # so that two jobs may share a node

stop() {
    scancel --signal=TERM "$SLURM_JOB_ID.0"  # srun itself would kill; torchrun gives its processes 30 seconds to save
    wait "$run" || scontrol requeue "$SLURM_JOB_ID"  # or the run was finished
    exit
}
trap stop TERM

srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" torchrun --nnodes "$SLURM_NNODES" \
    --nproc_per_node "${SLURM_GPUS_ON_NODE:-1}" --rdzv_backend c10d --rdzv_endpoint "$first:$port" --rdzv_id "$SLURM_JOB_ID" "$@" &
run=$!
wait "$run"
