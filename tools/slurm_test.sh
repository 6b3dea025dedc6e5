#!/bin/sh
# tools/slurm_test.sh PARTITION JOB_NAME ROW WEIGHTS [what else 'prune eval' takes]
# The arguments are those of mmrazor's script of this name, with a row where it has a config.
set -eu
[ $# -ge 4 ] || { echo "expected PARTITION JOB_NAME ROW WEIGHTS, then what 'prune eval' takes" >&2; exit 2; }
partition=$1 job=$2 row=$3 given=$4
shift 4
exec "$(dirname "$0")/slurm_prune.sh" "$partition" "$job" eval "$row" --weights="$given" "$@"
