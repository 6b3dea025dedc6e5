#!/usr/bin/env bash
# tools/slurm_train.sh PARTITION JOB_NAME ROW WORK_DIR [what else 'prune run' takes]
# The arguments are those of mmrazor's script of this name, with a row where it has a config.
set -euo pipefail
[ $# -ge 4 ] || { echo "expected PARTITION JOB_NAME ROW WORK_DIR, then what 'prune run' takes" >&2; exit 2; }
partition=$1 job=$2 row=$3 work_dir=$4
shift 4
GPUS=${GPUS:-8} GPUS_PER_NODE=${GPUS_PER_NODE:-8} CPUS_PER_TASK=${CPUS_PER_TASK:-5}
read -ra more <<<"${SRUN_ARGS:-}"
exec srun -p "$partition" --job-name="$job" --gres="gpu:$GPUS_PER_NODE" --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="$CPUS_PER_TASK" --kill-on-bad-exit=1 "${more[@]}" \
    "${PYTHON:-python}" -m prune_lib run "$row" --work-dir="$work_dir" --launcher=slurm "$@"
