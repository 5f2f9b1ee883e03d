#!/usr/bin/env bash
# A job that moves from real Flink to Millpond and back, and once more around, at ever another parallelism: its lines and
# its state at the end are those of a job that ran through, in either engine.
#   move.sh [VERSION...]   (2.3.0 1.20.5 1.15.4)
# The job is examples/moving.rs and java/Moving.java; its lines and final state depend on its input alone.
#   1 Flink, hashmap      2 Millpond: the program is killed, and started again with its newest checkpoint
#   3 Flink, hashmap      4 Millpond in two worker processes, one of which is killed
#   5 Flink, rocksdb      6 Millpond, to the end
# Besides, each engine is given a savepoint of the other while windows are open and timers are set, reads nothing, and
# writes it again: no entry may have changed. One state is of Kryo, which only Flink can read. The comparisons must see what is missing, doubled or another state.
set -uo pipefail
. "$(dirname "$0")/flink.sh"
[ $# -gt 0 ] || set -- 2.3.0 1.20.5 1.15.4
flink_need "$@"
[ -x "$BIN/examples/moving" ] || (cd "$ROOT" && cargo build --release --example moving) || exit 1
RECORDS=12000 RATE=1000
started=()
trap 'for one in "${started[@]}"; do kill -9 "$one" 2>/dev/null; done' EXIT

# program NAME SAVEPOINT|- ARGUMENTS...: the program, with its lines in NAME.lines.
program() {
  local name=$1 from=$2
  shift 2
  # What only Flink can read is carried on unread.
  [ "$from" = - ] || set -- -D execution.state-recovery.path="$from" \
    -D execution.state-recovery.ignore-unregistered-state=true "$@"
  exec "$BIN/examples/moving" --records $RECORDS --output "$name.lines" --savepoints "$name.part" -D rest.port=0 \
    -D pipeline.auto-watermark-interval=20ms -D execution.checkpointing.interval=50ms \
    -D execution.checkpointing.dir="$name.checkpoints" "$@"
}

# millpond NAME SAVEPOINT|- ARGUMENTS...: runs the job until it stops itself; its savepoint becomes NAME.
millpond() {
  local name=$1 tries=0 pid
  program "$@" > "$name.log" 2>&1 &
  pid=$!
  started+=("$pid")
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.05
    tries=$((tries + 1))
    if [ $tries -gt 12000 ]; then kill -9 "$pid"; fi
  done
  wait "$pid" && settle "$name" && return
  tail -5 "$name.log" >&2
  return 1
}

# refused NAME SAVEPOINT WORD: the program does not start from it, and says the word.
refused() {
  ! millpond "$1" "$2" --until 0 --stop-at 0 2> /dev/null && grep -qi "$3" "$1.log"
}

# settle NAME: moves the savepoint that was written, so that nothing in it may know where it was made.
settle() {
  mv "$1.part"/savepoint-* "$1" && rmdir "$1.part"
}

# newest NAME: the newest checkpoint.
newest() {
  local found
  found=$(ls -d "$1.checkpoints"/*/chk-*/_metadata 2>/dev/null | sort -V | tail -1)
  [ -n "$found" ] && dirname "$found"
}

# more_checkpoints NAME: waits for the third checkpoint from now on.
more_checkpoints() {
  local tries=0 first='' now
  while [ $tries -lt 6000 ]; do
    now=$(newest "$1")
    now=${now##*chk-}
    if [ -n "$now" ]; then
      [ -n "$first" ] || first=$now
      [ "$now" -ge $((first + 3)) ] && return
    fi
    sleep 0.05
    tries=$((tries + 1))
  done
  return 1
}

# killed NAME SAVEPOINT ARGUMENTS...: runs the program, and kills it between two checkpoints.
killed() {
  local name=$1 pid
  program "$@" > "$name.killed.log" 2>&1 &
  pid=$!
  started+=("$pid")
  more_checkpoints "$name" || return 1
  kill -9 "$pid"
  wait "$pid" 2>/dev/null
  [ $? = 137 ] && [ -n "$(newest "$name")" ]
}

# worker_killed NAME SAVEPOINT ARGUMENTS...: runs the program in two worker processes and kills one; once the job has
# recovered by itself and taken checkpoints again, stops it by REST.
worker_killed() {
  local name=$1 pid tries=0 address job request
  program "$@" -D cluster.processes=2 -D restart-strategy.type=fixed-delay -D restart-strategy.fixed-delay.delay=10ms > "$name.log" 2>&1 &
  pid=$!
  started+=("$pid")
  more_checkpoints "$name" || return 1
  address=$(grep -oE '127\.0\.0\.1:[0-9]+' "$name.log" | head -1)
  job=$(grep -oE 'JobID [0-9a-f]{32}' "$name.log" | head -1 | cut -d' ' -f2)
  kill -9 "$(ps -o pid= --ppid "$pid" | head -1)" || return 1
  # Once from the savepoint, and once more from a checkpoint.
  until curl -s "http://$address/jobs/$job/checkpoints" | grep -qE '"restored":2\b'; do
    sleep 0.05
    tries=$((tries + 1))
    [ $tries -lt 6000 ] || return 1
  done
  more_checkpoints "$name" || return 1
  request=$(curl -s -X POST -H 'Content-Type: application/json' -d "{\"targetDirectory\": \"$name.part\", \"drain\": false}" "http://$address/jobs/$job/stop")
  request=$(echo "$request" | grep -oE '[0-9a-f]{32}')
  until curl -s "http://$address/jobs/$job/savepoints/$request" | grep -q COMPLETED; do
    sleep 0.05
    tries=$((tries + 1))
    [ $tries -lt 6000 ] || return 1
  done
  wait "$pid" && settle "$name"
}

# lines NAME...: all lines that these runs have published, sorted.
lines() {
  local name
  for name in "$@"; do cat "$name".lines/part-* "$name".lines.* 2>/dev/null || true; done | sort
}

same() { [ -s "$1" ] && cmp "$1" "$2" > /dev/null; }
other() { [ -s "$1" ] && [ -e "$2" ] && ! cmp "$1" "$2" > /dev/null; }
# lines_same EXPECTED NAME..., lines_other EXPECTED NAME...
lines_same() { lines "${@:2}" > "$2.found" && same "$1" "$2.found"; }
lines_other() { lines "${@:2}" > "$2.found" && other "$1" "$2.found"; }

through=$FLINK_WORK/through
check "Millpond runs through" millpond "$through" - --stop-at $RECORDS -D parallelism.default=2

for version in "$@"; do
  flink_compile "$version" "$HERE/java" "$FLINK_WORK/classes-$version" || exit 1
  d=$FLINK_WORK/move-$version
  mkdir -p "$d"

  cat > "$d/tasks-1" <<T
moving-run - $RECORDS $RECORDS drain 1e9 2 hashmap $d/through $d/through.lines
moving-run - 3000 2000 stop $RATE 2 hashmap $d/1 $d/1.lines
moving-state $through 2 hashmap $d/expected.state
moving-state $d/through 2 rocksdb $d/through.state
moving-state $d/1 2 hashmap $d/1.state
moving-run - 300 200 native $RATE 2 hashmap $d/native $d/native.lines
T
  flink "$version" "$d/tasks-1"
  lines "$through" > "$d/expected.lines"
  check "Flink $version and Millpond write the same $(wc -l < "$d/expected.lines") lines" lines_same "$d/expected.lines" "$d/through"
  grep -v '^counts token ' "$d/through.state" > "$d/without-tokens.state"
  check "... and have the same $(wc -l < "$d/expected.state") entries of state" same "$d/expected.state" "$d/without-tokens.state"

  check "Millpond writes Flink's savepoint again, at parallelism 4" millpond "$d/1-again" "$d/1" --until 0 --stop-at 0 -D parallelism.default=4
  check "Millpond refuses a native savepoint with Kryo, and names it" refused "$d/native-again" "$d/native" Kryo
  check "Millpond goes on, and is killed" killed "$d/2" "$d/1" --rate $RATE --until 3200 -D parallelism.default=3
  check "... and goes on from its checkpoint, at another parallelism" millpond "$d/2" "$(newest "$d/2")" --rate $RATE --until 5000 --stop-at 4000 -D parallelism.default=1

  cat > "$d/tasks-2" <<T
moving-state $d/1-again 2 rocksdb $d/1-again.state
moving-state $d/2 2 hashmap $d/2.state
moving-run $d/2 0 0 stop $RATE 4 rocksdb $d/2-again $d/2-again.lines
moving-state $d/2-again 2 hashmap $d/2-again.state
moving-run $d/2 7000 6000 stop $RATE 3 hashmap $d/3 $d/3.lines
T
  flink "$version" "$d/tasks-2"
  check "no entry of $(wc -l < "$d/1.state") has changed on the way through Millpond" same "$d/1.state" "$d/1-again.state"
  check "no entry of $(wc -l < "$d/2.state") has changed on the way through Flink" same "$d/2.state" "$d/2-again.state"

  check "Millpond goes on in two processes, of which one is killed" worker_killed "$d/4" "$d/3" --rate $RATE --until 9000 -D parallelism.default=2
  echo "moving-run $d/4 11000 10000 stop $RATE 2 rocksdb $d/5 $d/5.lines" > "$d/tasks-3"
  flink "$version" "$d/tasks-3"
  check "Millpond goes on to the end" millpond "$d/6" "$d/5" --stop-at $RECORDS -D parallelism.default=4

  cat > "$d/tasks-4" <<T
moving-state $d/6 2 hashmap $d/6.state
moving-run $d/2 $RECORDS $RECORDS drain 1e9 1 hashmap $d/end $d/end.lines
moving-state $d/end 2 hashmap $d/end.state
T
  flink "$version" "$d/tasks-4"
  check "the lines of the job that moved twice around are those of one that ran through" lines_same "$d/expected.lines" "$d"/[1-6]
  check "... and so is its state" same "$d/through.state" "$d/6.state"
  check "the lines of the job that ended in Flink are those of one that ran through" lines_same "$d/expected.lines" "$d"/[12] "$d/end"
  check "... and so is its state" same "$d/through.state" "$d/end.state"

  for stage in 1 2 3 4 5 6; do
    check "... as it must, the comparison misses the lines of stage $stage" lines_other "$d/expected.lines" $(ls -d "$d"/[1-6] | grep -v "/$stage$")
    check "... and sees them twice" lines_other "$d/expected.lines" "$d"/[1-6] "$d/$stage"
  done
  check "... and sees that stage 3 was repeated by the job that ended in Flink" lines_other "$d/expected.lines" "$d"/[123] "$d/end"
  check "... and that the state in between is another" other "$d/through.state" "$d/2.state"
done
finish
