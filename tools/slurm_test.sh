#!/usr/bin/env bash
# tools/slurm_test.sh PARTITION JOB_NAME ROW WEIGHTS [what else 'prune eval' takes]
# The arguments are those of mmrazor's script of this name, with a row where it has a config.
set -euo pipefail
[ $# -ge 4 ] || { echo "expected PARTITION JOB_NAME ROW WEIGHTS, then what 'prune eval' takes" >&2; exit 2; }
partition=$1 job=$2 row=$3 weights=$4
shift 4
GPUS=${GPUS:-8} GPUS_PER_NODE=${GPUS_PER_NODE:-8} CPUS_PER_TASK=${CPUS_PER_TASK:-5}
read -ra more <<<"${SRUN_ARGS:-}"
exec srun -p "$partition" --job-name="$job" --gres="gpu:$GPUS_PER_NODE" --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="$CPUS_PER_TASK" --kill-on-bad-exit=1 "${more[@]}" \
    "${PYTHON:-python}" -m prune_lib eval "$row" --weights="$weights" --launcher=slurm "$@"
