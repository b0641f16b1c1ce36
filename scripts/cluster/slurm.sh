#!/usr/bin/env bash
# All GPUs of two machines of a SLURM cluster:
#   sbatch scripts/cluster/slurm.sh model=cnn data.batch_size=1024
# srun starts a process for each GPU, and Lightning finds its rank in SLURM's variables. The run's
# directory is the job's: 90 s before its time is up, or when it is preempted, the job saves, asks
# SLURM for another turn, and resumes there with the very next step.
#SBATCH --job-name=mnist_lab
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=00:30:00
#SBATCH --signal=USR1@90
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=outputs/slurm-%j.log
set -eu
# Since SLURM 22.05 srun does not take --cpus-per-task over from sbatch.
exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" .venv/bin/mnist-lab train trainer=ddp \
    trainer.num_nodes="$SLURM_NNODES" trainer.devices="$SLURM_NTASKS_PER_NODE" \
    hydra.run.dir="outputs/slurm/$SLURM_JOB_ID" "$@"
