#!/usr/bin/env bash
# Runs a job, and starts it again from its newest intact snapshot when it ends FAILED or is killed.
#
#   restart.sh DIRS [OPTIONS OF millpond run]... PROGRAM [ARGUMENTS]...
#
# DIRS: directories of its checkpoints and savepoints, with colons between them, such as what
# execution.checkpointing.dir and execution.checkpointing.savepoint-dir name. MILLPOND names the command
# if it is not in the search path, MAX_RESTARTS how often the job is started again (10), PAUSE the
# seconds before each (1).
#
# Ends with 0 when the job has FINISHED or was CANCELED, with the job's exit code when it was started
# again too often, and with 3 when its newest snapshot is damaged: an older one may write output twice,
# so that somebody has to decide.
set -u
millpond=${MILLPOND:-millpond}
IFS=: read -r -a directories <<<"$1"
shift
from=()
for ((restarts = 0; ; restarts++)); do
    "$millpond" run ${from[@]+"${from[@]}"} "$@"
    code=$?
    [ "$code" -ne 0 ] || exit 0
    if [ "$restarts" -ge "${MAX_RESTARTS:-10}" ]; then
        echo "restart.sh: given up after $restarts restarts" >&2
        exit "$code"
    fi
    there=()
    for directory in "${directories[@]}"; do
        [ ! -d "$directory" ] || there+=("$directory")
    done
    newest=$("$millpond" latest ${there[@]+"${there[@]}"})
    case $? in
        0) from=(-s "$newest") ;;
        # Nothing yet, or not readable at present. Never start without state what has had some.
        1 | 2) [ ${#from[@]} -eq 0 ] || echo "restart.sh: trying ${from[1]} again" >&2 ;;
        *) exit 3 ;;
    esac
    echo "restart.sh: the job ended with $code, starting it again ${from[*]-}" >&2
    sleep "${PAUSE:-1}"
done
