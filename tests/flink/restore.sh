#!/usr/bin/env bash
# Savepoints both ways between Millpond and real Flink, content compared with plain arithmetic in Java.
#   restore.sh [VERSION...]   (2.3.0 1.20.5 1.15.4)
# 1. Millpond writes: every kind and type of state, and keyed_count with small (inline) and large (in files) state; and
#    checkpoints whose files are merged.
# 2. Each Flink restores all of it at parallelism 1, 2 and 3 with both state backends; continues one of Millpond's
#    savepoints; and writes savepoints of its own: canonical, compressed, native.
# 3. Millpond continues those at another parallelism, and writes again.
# 4. Each Flink restores what came of it.
set -uo pipefail
. "$(dirname "$0")/flink.sh"
[ $# -gt 0 ] || set -- 2.3.0 1.20.5 1.15.4
flink_need "$@"
[ -x "$BIN/examples/kinds" ] && [ -x "$BIN/examples/keyed_count" ] ||
  (cd "$ROOT" && cargo build --release --example kinds --example keyed_count) || exit 1
KEYS=40

# millpond DIR PROGRAM ARGUMENTS...: runs a job that ends with a savepoint, which becomes DIR.
millpond() {
  local into=$1 program=$2 written
  shift 2
  if ! timeout 600 "$BIN/examples/$program" "$@" --savepoint-at-end "$into.part" > "$into.log" 2>&1; then
    tail -5 "$into.log" >&2
    return 1
  fi
  written=$(echo "$into.part"/savepoint-*)
  # Moved, so that nothing in it may know where it was made.
  mv "$written" "$into" && rmdir "$into.part"
}

for p in 1 2 3; do
  check "Millpond writes kinds-$p" millpond "$FLINK_WORK/kinds-$p" kinds --records 1000 --keys $KEYS -D parallelism.default=$p
  for type in i64 string; do
    check "Millpond writes small-$type-$p" millpond "$FLINK_WORK/small-$type-$p" \
      keyed_count --key-type $type --keys 50 --records 777 -D parallelism.default=$p
    check "... small state inline" [ "$(ls "$FLINK_WORK/small-$type-$p")" = _metadata ]
    check "Millpond writes large-$type-$p" millpond "$FLINK_WORK/large-$type-$p" \
      keyed_count --key-type $type --keys 20000 --records 70001 -D parallelism.default=$p
    check "... large state in files" [ "$(ls "$FLINK_WORK/large-$type-$p" | wc -l)" -gt "$p" ]
  done
done

# merged SAVEPOINT TYPE DIR: a checkpoint of the savepoint's state in merged files becomes DIR. The job is killed before
# it makes a record: each of its two subtasks makes one in two seconds.
merged() {
  local pid found='' deadline=$((SECONDS + 60))
  "$BIN/examples/keyed_count" --key-type "$2" --records 1000000 --rate 1 -D parallelism.default=2 \
    -D execution.state-recovery.path="$1" -D execution.checkpointing.interval=100ms -D execution.checkpointing.dir="$3.job" \
    -D execution.checkpointing.data-inline-threshold=0b -D execution.checkpointing.file-merging.enabled=true > "$3.log" 2>&1 &
  pid=$!
  until [ -n "$found" ] || [ $SECONDS -ge $deadline ]; do
    found=$(ls -d "$3.job"/*/chk-*/_metadata 2>/dev/null | head -1)
    sleep 0.02
  done
  kill -9 $pid
  wait $pid 2>/dev/null
  # It stays where it is: the metadata has absolute paths. The newest one may have been replaced meanwhile.
  found=$(ls -d "$3.job"/*/chk-*/_metadata | tail -1)
  ln -s "$(dirname "$found")" "$3"
  # All state of two subtasks of two operators is in one file.
  [ "$(ls "$3" | wc -l)" = 2 ]
}
check "Millpond writes merged-i64" merged "$FLINK_WORK/small-i64-2" i64 "$FLINK_WORK/merged-i64"
check "Millpond writes merged-string" merged "$FLINK_WORK/large-string-2" string "$FLINK_WORK/merged-string"

check "Millpond writes kinds-processes with two worker processes" millpond "$FLINK_WORK/kinds-processes" \
  kinds --records 1000 --keys $KEYS -D parallelism.default=2 -D cluster.processes=2

for version in "$@"; do
  flink_compile "$version" "$HERE/java" "$FLINK_WORK/classes-$version" || exit 1
  tasks=$FLINK_WORK/tasks-$version
  flink_made=$FLINK_WORK/flink-$version
  {
    for p in 1 2 3; do for backend in hashmap rocksdb; do
      for from in 1 2 3; do
        echo "check-kinds $FLINK_WORK/kinds-$from 1000 $KEYS $p $backend"
        for type in i64:long string:string; do
          echo "check-counts $FLINK_WORK/small-${type%:*}-$from ${type#*:} 777 50 $p $backend"
          echo "check-counts $FLINK_WORK/large-${type%:*}-$from ${type#*:} 70001 20000 $p $backend"
        done
      done
    done; done
    case $version in
      1.1*) not="not " ;; # Parts of files are known since 1.20.
      *) not= ;;
    esac
    for backend in hashmap rocksdb; do
      echo "${not}check-counts $FLINK_WORK/merged-i64 long 777 50 3 $backend"
      echo "${not}check-counts $FLINK_WORK/merged-string string 70001 20000 1 $backend"
    done
    echo "check-kinds $FLINK_WORK/kinds-processes 1000 $KEYS 3 hashmap"
    echo "not check-kinds $FLINK_WORK/kinds-2 1001 $KEYS 2 hashmap"
    echo "not check-counts $FLINK_WORK/small-i64-2 long 776 50 2 hashmap"
    echo "write-kinds $FLINK_WORK/kinds-2 1300 $KEYS 3 hashmap CANONICAL $flink_made-continued"
    echo "write-kinds - 700 $KEYS 2 hashmap CANONICAL $flink_made-hashmap"
    echo "write-kinds - 700 $KEYS 1 rocksdb CANONICAL $flink_made-rocksdb"
    echo "write-kinds - 700 $KEYS 2 hashmap COMPRESSED $flink_made-compressed"
    echo "write-kinds - 700 $KEYS 2 hashmap NATIVE $flink_made-native"
  } > "$tasks"
  flink "$version" "$tasks"
  : > "$tasks-again"
  for case in continued:1 hashmap:3 hashmap:1 rocksdb:2 compressed:3 native:1; do
    name=${case%:*} p=${case#*:}
    check "Millpond continues $name of Flink $version at parallelism $p" millpond "$flink_made-$name-again-$p" \
      kinds --records 1600 --keys $KEYS -D parallelism.default="$p" -D execution.state-recovery.path="$flink_made-$name"
    for backend in hashmap rocksdb; do
      echo "check-kinds $flink_made-$name-again-$p 1600 $KEYS 2 $backend" >> "$tasks-again"
    done
  done
  flink "$version" "$tasks-again"
done
finish
