#!/usr/bin/env bash
# Real Flink and Millpond side by side: the same job, the same keys, one after the other on an idle machine.
#   bench.sh [PART...]    (i64 string savepoint)
#     i64, string   heap state: records per CPU-second of the process that works, checkpoints every second
#     rocksdb       the same with long keys and RocksDB, incremental checkpoints
#     zipf          as rocksdb, keys by Zipf's law with the exponent 1
#     savepoint     canonical savepoint: seconds; restore at parallelism 1: seconds to the first record
#     native        native savepoint of RocksDB: the same, restored at parallelism 2
#     start         a job on a running cluster: ms from the REST request to its first record
#     recovery      kill -9 of one of two worker processes: ms to the first record, and to that of every subtask; alone, as
#                   Flink's task managers have one slot each then, and there are spare ones
#   KEYS (1000000)  SP_KEYS (10000000)  CELL_S (15, measured seconds of a cell)  WARM_S (8)  SP_REPS (3)
#   STARTS (10)   KILLS (3)
#   ZIPF_KEYS (10000000)  MEMORY_MB (512, RocksDB's memory: all that Flink manages; of Millpond the caches and RocksDB)
#   FLINK_HEAP_MB (5120, heap of Flink's task manager)   FLINK_VERSION (2.3.0)   NO_BUILD (set: as it was built)
# Prints a table; every figure as JSON lines in $FLINK_WORK/bench.jsonl. Flink's task manager is one process with two
# slots, as Millpond's is one process with two workers. Disk: snapshots go under $FLINK_WORK.
set -uo pipefail
FLINK_KEEP=1
. "$(dirname "$0")/flink.sh"
version=${FLINK_VERSION:-2.3.0}
flink_need "$version"
features=()
case " $* " in *" rocksdb "* | *" zipf "* | *" native "*) features=(--features rocksdb) ;; esac
[ -n "${NO_BUILD:-}" ] || (cd "$ROOT" && cargo build --release -p millpond-bench "${features[@]}") || exit 1
classes=$FLINK_WORK/classes-bench
flink_compile "$version" "$HERE/bench" "$classes" || exit 1
jar=$FLINK_WORK/bench.jar
python3 - "$classes" "$jar" <<'P'
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[2], 'w') as jar:
    for name in os.listdir(sys.argv[1]): jar.write(os.path.join(sys.argv[1], name), name)
P
mkdir -p "$FLINK_WORK/conf" "$FLINK_WORK/tmp" "$FLINK_WORK/web"
export FLINK_CONF_DIR=$FLINK_WORK/conf FLINK_WORK
read -r rest rpc < <(python3 -c '
import socket
s = [socket.socket() for _ in range(2)]
for x in s: x.bind(("127.0.0.1", 0))
print(*(x.getsockname()[1] for x in s))')
heap=${FLINK_HEAP_MB:-5120}
slots=2 task_managers=1
case " $* " in
  " recovery ") slots=1 task_managers=$((2 + ${KILLS:-3})) heap=${FLINK_HEAP_MB:-1024} ;;
  *" recovery "*) echo "bench.sh: recovery wants other task managers than the other parts; give it alone" >&2; exit 2 ;;
esac
cat > "$FLINK_CONF_DIR/config.yaml" <<Y
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: $rpc
jobmanager.bind-host: 127.0.0.1
jobmanager.memory.heap.size: 512m
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: $rest
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: $slots
taskmanager.cpu.cores: 2.0
taskmanager.memory.framework.heap.size: 64m
taskmanager.memory.task.heap.size: $((heap - 64))m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.off-heap.size: 128m
taskmanager.memory.network.min: 128m
taskmanager.memory.network.max: 128m
taskmanager.memory.managed.size: ${MEMORY_MB:-512}m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 256m
taskmanager.memory.jvm-overhead.max: 256m
io.tmp.dirs: $FLINK_WORK/tmp
web.tmpdir: $FLINK_WORK/web
Y
classpath=$(flink_classpath "$version")
started=()
trap 'for one in "${started[@]}"; do kill "$one" 2>/dev/null; done; wait' EXIT
FLINK_EXEC=exec FLINK_LOG=$FLINK_WORK/jobmanager.log flink_java "$version" -Xmx512m -cp "$classpath" \
  org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint --configDir "$FLINK_CONF_DIR" > "$FLINK_WORK/jobmanager.out" 2>&1 < /dev/null &
started+=($!)
for ((i = 0; i < task_managers; i++)); do
  FLINK_EXEC=exec FLINK_LOG=$FLINK_WORK/taskmanager-$i.log flink_java "$version" -XX:+UseG1GC -Xmx"${heap}m" -Xms64m \
    -XX:MaxDirectMemorySize=384m -XX:MaxMetaspaceSize=256m -cp "$classpath" \
    org.apache.flink.runtime.taskexecutor.TaskManagerRunner --configDir "$FLINK_CONF_DIR" -D taskmanager.resource-id=tm-$i \
    > "$FLINK_WORK/taskmanager-$i.out" 2>&1 < /dev/null &
  started+=($!)
  disown # so that nothing is said of those that are to be killed
done
python3 "$HERE/bench/compare.py" --rest "$rest" --task-managers "${started[*]:1}" --jar "$jar" --work "$FLINK_WORK" \
  --millpond "$BIN/millpond-bench" "${@:-all}"
