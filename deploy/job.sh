#!/usr/bin/env bash
# Runs a job that is a cluster of its own from its newest intact snapshot, for supervisors that start
# containers or services anew: Kubernetes, systemd.
#
#   job.sh DIRECTORY [OPTIONS OF millpond run]... PROGRAM [ARGUMENTS]...
#
# DIRECTORY has to be there. Below it are the job's checkpoints and savepoints, and the file `finished` once
# it is FINISHED or CANCELED: then it is not run again. Without any snapshot the job starts without state.
#
# Ends with 0 when the job is or was FINISHED or CANCELED, with 3 when its newest snapshot is damaged (an
# older one may write output twice, so that somebody has to decide), with the job's exit code otherwise.
set -u
millpond=${MILLPOND:-millpond}
directory=$1
shift
[ -d "$directory" ] || { echo "job.sh: \"$directory\" is no directory; is the volume there?" >&2; exit 1; }
if [ -e "$directory/finished" ]; then
    echo "job.sh: the job has ended; without \"$directory/finished\" it would run again" >&2
    exit 0
fi
kept=("$directory/checkpoints" "$directory/savepoints")
mkdir -p "${kept[@]}" || exit 1
from=()
found=$("$millpond" latest "${kept[@]}")
case $? in
    0) from=(-s "$found") ;;
    3) exit 3 ;;
    # None, or not readable at present: of the second there is no JSON. Nothing starts on a guess.
    *) [ -n "$("$millpond" latest --json "${kept[@]}" 2>/dev/null)" ] || exit 1 ;;
esac
# Here, whatever config.yaml says about clusters: this process is to end with the job.
"$millpond" run -Dexecution.target=local -Dexecution.checkpointing.dir="${kept[0]}" \
    -Dexecution.checkpointing.savepoint-dir="${kept[1]}" ${from[@]+"${from[@]}"} "$@" &
job=$!
# A signal ends the job as a crash would; it goes on from here at the next start.
trap 'kill -TERM "$job" 2>/dev/null' TERM INT
while
    wait "$job"
    code=$?
    kill -0 "$job" 2>/dev/null
do :; done
[ "$code" -ne 0 ] || : >"$directory/finished" || exit 1
exit "$code"
