#!/bin/sh
# tools/slurm_prune.sh PARTITION JOB_NAME COMMAND …: 'prune COMMAND …' as the tasks of one srun, one for each GPU.
# GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS of the environment mean what they mean to mmrazor's scripts.
set -eu
partition=$1 job=$2
shift 2
# SRUN_ARGS is several words
# shellcheck disable=SC2086
exec srun -p "$partition" --job-name="$job" --gres="gpu:${GPUS_PER_NODE:-8}" --ntasks="${GPUS:-8}" \
    --ntasks-per-node="${GPUS_PER_NODE:-8}" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} "${PYTHON:-python}" -m prune_lib "$@" --launcher=slurm
