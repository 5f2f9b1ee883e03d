#!/usr/bin/env bash
# Files of RocksDB that `millpond state` wrote, restored by real Flink's backend `rocksdb`, all content compared.
#   rocksdb.sh [VERSION...]   (2.3.0 1.20.5 1.15.4)
# Golden snapshots of the heap are converted to files of RocksDB; those that Flink's RocksDB wrote are written again at another
# parallelism, and as canonical savepoints. The older releases have FRocksDB 6.20.3, the newer 8.10.0; files are also made for the
# releases that did not write the snapshot. And a job that Flink has stopped with a native savepoint of RocksDB is continued by Millpond at
# other parallelisms, whose savepoint becomes files of RocksDB for Flink again. The command is built with the feature rocksdb, in the profile of the tests, so that
# RocksDB is compiled once. Ends with a table: who restored what, and how many of them with equal content.
set -uo pipefail
. "$(dirname "$0")/flink.sh"
[ $# -gt 0 ] || set -- 2.3.0 1.20.5 1.15.4
flink_need "$@"
(cd "$ROOT" && cargo build --features rocksdb --bin millpond --example kinds) || exit 1
MILLPOND=${CARGO_TARGET_DIR:-$ROOT/target}/debug/millpond
KINDS=${CARGO_TARGET_DIR:-$ROOT/target}/debug/examples/kinds
KEYS=40
NEW=$FLINK_WORK/rocksdb
mkdir -p "$NEW/tasks"

# of_heap FROM VERSION...: snapshots of the heap become files of RocksDB.
of_heap() {
  local from=$1 sidecar old name to version
  shift
  for sidecar in "$ROOT/crates/snapshot/tests/golden/$from"/*-hashmap-canonical.json; do
    old=${sidecar%.json} name=$(basename "${sidecar%.json}")
    to=$NEW/$from-$name
    case $name in files-opstate-* | opstate-* | newsource-*) continue ;; esac
    made "$to" convert "$old" "$to" --format native-rocksdb --for-flink "$from" &&
      task "$from" native-of-heap "$to" "$sidecar" rocksdb 2 3
    made "$to-1" convert "$old" "$to-1" --format native-rocksdb --for-flink "$from" --parallelism 1 &&
      task "$from" native-of-heap-at-1 "$to-1" "$sidecar" rocksdb 2
    case $name in count-* | kinds-* | timers-* | window-* | ttl-*) ;; *) continue ;; esac
    for version in "$@"; do
      [ "$version" != "$from" ] || continue
      made "$to-$version" convert "$old" "$to-$version" --format native-rocksdb --for-flink "$version" &&
        task "$version" "native-of-$from" "$to-$version" "$sidecar" rocksdb 3
    done
  done
}

# of_rocksdb FROM VERSION...: files of Flink's RocksDB are written again.
of_rocksdb() {
  local from=$1 golden=$ROOT/crates/state-rocksdb/tests/golden/$1 sidecar old name to map version
  shift
  for sidecar in "$golden"/*.json; do
    old=${sidecar%.json} name=$(basename "${sidecar%.json}") map=()
    to=$NEW/$from-$name
    if [[ $name = checkpoint-* ]]; then
      old=$golden/$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["metadata_dir"])' "$sidecar")
      map=(--map "file:///mnt=$golden")
    fi
    made "$to-copied" convert "$old" "$to-copied" --for-flink "$from" "${map[@]}" &&
      task "$from" copied "$to-copied" "$sidecar" rocksdb 2
    made "$to-3" convert "$old" "$to-3" --for-flink "$from" --parallelism 3 "${map[@]}" &&
      task "$from" native-again "$to-3" "$sidecar" rocksdb 2
    made "$to-canonical" convert "$old" "$to-canonical" --format canonical --for-flink "$from" "${map[@]}" &&
      task "$from" canonical-of-native "$to-canonical" "$sidecar" hashmap 3 &&
      task "$from" canonical-of-native "$to-canonical" "$sidecar" rocksdb 2
    made "$to-heap" convert "$old" "$to-heap" --format native-heap --for-flink "$from" "${map[@]}" &&
      task "$from" heap-of-native "$to-heap" "$sidecar" hashmap 2
    for version in "$@"; do
      [ "$version" != "$from" ] || continue
      made "$to-$version" convert "$old" "$to-$version" --format native-rocksdb --parallelism 3 --for-flink "$version" "${map[@]}" &&
        task "$version" "native-again-of-$from" "$to-$version" "$sidecar" rocksdb 2
    done
  done
}

for from in "$@"; do
  of_heap "$from" "$@"
  of_rocksdb "$from" "$@"
done

# millpond DIRECTORY ARGUMENTS...: runs the job of kinds.rs, which ends with a savepoint that becomes DIRECTORY.
millpond() {
  local into=$1
  shift
  if ! timeout 300 "$KINDS" --keys $KEYS "$@" --savepoint-at-end "$into.part" > "$into.log" 2>&1; then
    tail -5 "$into.log" >&2
    return 1
  fi
  mv "$into.part"/savepoint-* "$into" && rmdir "$into.part"
}

# incremental INTO ARGUMENTS...: an incremental checkpoint of the job of kinds.rs becomes INTO.
incremental() {
  local into=$1 path
  shift
  timeout 300 "$KINDS" --keys $KEYS "$@" --savepoint-at-end - --format checkpoint -D state.backend.type=rocksdb \
    -D execution.checkpointing.incremental=true -D execution.checkpointing.interval=200ms -D execution.checkpointing.dir="$into.job" \
    -D execution.checkpointing.data-inline-threshold=0b > "$into.log" 2>&1
  path=$(sed -n 's/.*Checkpoint completed. Path: file://p' "$into.log")
  # It stays where it is: the metadata has absolute paths.
  [ -f "$path/_metadata" ] && [ -n "$(ls "$path/../shared")" ] && ln -s "$path" "$into"
}

# continued VERSION: a job of Flink, continued by Millpond, and checked by Flink.
continued() {
  local version=$1 from=$NEW/job-$1 p into
  echo "write-kinds - 700 $KEYS 2 rocksdb NATIVE $from" > "$NEW/job-$version.tasks"
  flink "$version" "$NEW/job-$version.tasks"
  # A job of Millpond on RocksDB: its native savepoint is what its store has, after incremental checkpoints.
  into=$from-own
  check "Millpond stops a job on RocksDB with a native savepoint" \
    millpond "$into" --format native --records 1600 -D parallelism.default=2 -D state.backend.type=rocksdb \
    -D execution.checkpointing.incremental=true -D execution.checkpointing.interval=100ms -D execution.checkpointing.dir="$into.checkpoints"
  echo "check-kinds $into 1600 $KEYS 2 rocksdb" >> "$from-again.tasks"
  echo "check-kinds $into 1600 $KEYS 3 rocksdb" >> "$from-again.tasks"
  into=$from-incremental
  check "Millpond takes incremental checkpoints of a job on RocksDB" incremental "$into" --records 1600 -D parallelism.default=2
  echo "check-kinds $into 1600 $KEYS 2 rocksdb" >> "$from-again.tasks"
  echo "check-kinds $into 1600 $KEYS 3 rocksdb" >> "$from-again.tasks"
  # And one that goes on from the files of Flink's store, on RocksDB, and whose files are Flink's again.
  for p in 1 2 3; do
    into=$from-on-rocksdb-at-$p
    check "Millpond continues a native savepoint of RocksDB of Flink $version on RocksDB at parallelism $p" \
      millpond "$into" --format native --records 1600 -D parallelism.default=$p -D state.backend.type=rocksdb \
      -D execution.state-recovery.path="$from"
    echo "check-kinds $into 1600 $KEYS 2 rocksdb" >> "$from-again.tasks"
  done
  for p in 1 2 3; do
    into=$from-at-$p
    check "Millpond continues a native savepoint of RocksDB of Flink $version at parallelism $p" \
      millpond "$into" --records 1600 -D parallelism.default=$p -D execution.state-recovery.path="$from"
    made "$into-native" convert "$into" "$into-native" --format native-rocksdb --for-flink "$version"
    echo "check-kinds $into 1600 $KEYS 2 rocksdb" >> "$from-again.tasks"
    echo "check-kinds $into-native 1600 $KEYS 2 rocksdb" >> "$from-again.tasks"
  done
  flink "$version" "$from-again.tasks"
}

table=""
for version in "$@"; do
  flink_compile "$version" "$HERE/java" "$FLINK_WORK/classes-$version" || exit 1
  mkdir -p "$FLINK_WORK/tmp"
  continued "$version"
  for tasks in "$NEW/tasks/$version-"*; do
    what=${tasks#"$NEW/tasks/$version-"} out=$NEW/$version-${tasks##*/}
    flink_java "$version" -Xmx900m -XX:TieredStopAtLevel=1 -cp "$FLINK_WORK/classes-$version:$(flink_classpath "$version")" \
      Peer "$tasks" "$FLINK_WORK/tmp" > "$out.out" 2> "$out.err"
    grep '^FAIL' "$out.out" | sed "s|$FLINK_WORK/||g"
    equal=$(grep -c '^ok' "$out.out") all=$(wc -l < "$tasks")
    table+=$(printf '%-8s %-28s %4d of %4d restored and equal' "$version" "$what" "$equal" "$all")$'\n'
    [ "$equal" = "$all" ] || failures=$((failures + 1))
  done
done
echo "$table"
finish
