#!/usr/bin/env bash
# All GPUs of two machines of a SLURM cluster:
#   sbatch scripts/cluster/slurm.sh model=cnn data.batch_size=1024
# srun starts a process for each GPU, and Lightning finds its rank in SLURM's variables.
#SBATCH --job-name=mnist_lab
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=00:30:00
#SBATCH --output=outputs/slurm-%j.log
set -eu
# Since SLURM 22.05 srun does not take --cpus-per-task over from sbatch.
exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" .venv/bin/mnist-lab train trainer=ddp \
    trainer.num_nodes="$SLURM_NNODES" trainer.devices="$SLURM_NTASKS_PER_NODE" "$@"
