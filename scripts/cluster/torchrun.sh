#!/usr/bin/env bash
# All GPUs of several machines, started by torchrun. Run it on each machine:
#   NODES=2 NODE=0 HEAD=machine-0 scripts/cluster/torchrun.sh model=cnn data.batch_size=1024
# data.batch_size counts samples across all devices of all machines.
set -eu
: "${NODES:?number of machines}" "${NODE:?this machine, from 0}" "${HEAD:?name of machine 0}"
gpus=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec "$root/.venv/bin/python" -m torch.distributed.run --nnodes "$NODES" --node-rank "$NODE" --nproc-per-node "$gpus" \
    --master-addr "$HEAD" --master-port "${PORT:-29500}" \
    -m mnist_lab train trainer=ddp trainer.num_nodes="$NODES" trainer.devices="$gpus" "$@"
