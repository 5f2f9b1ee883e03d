#!/usr/bin/env bash
# Coverage-guided fuzzing of everything that reads bytes from outside: builds fuzz/, runs each target for a while.
#   tests/fuzz.sh [TARGET...] [--seconds N]    (all targets, 60 seconds each)
#   tests/fuzz.sh TARGET --replay FILE         runs one input, with a backtrace
# Tells, for each target, its seed, executions, edges of code reached, and inputs kept; on failure the file with the input.
# Needs a C++ compiler (libFuzzer is built), no nightly Rust. What was learnt stays below the target directory and is
# where the next run begins; the first one begins with the snapshots that Flink wrote (crates/snapshot/tests/golden).
# Environment: MILLPOND_FUZZ_SEED begins the same way again, as far as what was learnt is the same.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
targets=() seconds=60 replay=
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    --replay) replay=$(realpath "${2:?--replay needs a file}"); shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "$0: unknown option \"$1\"; expected --seconds or --replay" >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
known=$(cd "$root/fuzz/targets" && ls -- *.rs | sed 's/\.rs$//')
[ ${#targets[@]} -gt 0 ] || mapfile -t targets <<< "$known"
for target in "${targets[@]}"; do
  grep -qx "$target" <<< "$known" || { echo "$0: no target \"$target\"; there are: ${known//$'\n'/ }" >&2; exit 2; }
done
command -v c++ >/dev/null || { echo "$0: no C++ compiler here, which libFuzzer needs; install g++" >&2; exit 2; }

here=${CARGO_TARGET_DIR:-$root/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz sets; all of it is stable but for the sanitizers, which find nothing in code without `unsafe`.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
(cd "$root/fuzz" && CARGO_TARGET_DIR=$here RUSTFLAGS=$flags cargo build --release --target "$host" \
  $(printf -- '--bin %s ' "${targets[@]}"))
bin=$here/$host/release
export RUST_BACKTRACE=1

if [ -n "$replay" ]; then
  exec "$bin/${targets[0]}" "$replay"
fi

failures=0
for target in "${targets[@]}"; do
  corpus=$here/corpus/$target found=$here/found/$target log=$here/$target.log
  mkdir -p "$corpus" "$found"
  rm -rf "$here/seeds/$target"
  MILLPOND_FUZZ_SEEDS=$here/seeds/$target "$bin/$target" > "$log" 2>&1 || { cat "$log"; exit 1; }
  seed=${MILLPOND_FUZZ_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
  seed=$((seed % 4294967295 + 1))
  result=0
  "$bin/$target" -seed="$seed" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1500 -reload=0 -print_final_stats=1 \
    -artifact_prefix="$found/" "$corpus" "$here/seeds/$target" > "$log" 2>&1 || result=$?
  number() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
  edges=$(grep -oE 'cov: [0-9]+' "$log" | tail -1)
  printf '%-16s seed %10s  %10s executions  %6s edges  %6s inputs  %5s MiB\n' "$target" "$seed" \
    "$(number number_of_executed_units)" "${edges#cov: }" "$(find "$corpus" -type f | wc -l)" "$(number peak_rss_mb)"
  if [ $result != 0 ]; then
    failures=$((failures + 1))
    echo "FAIL  $target: $(grep -m1 -A1 -E 'panicked at|bytes held|libFuzzer: (timeout|out-of-memory|deadly)' "$log" | paste -sd' ')"
    echo "      input: $(sed -n 's/^.*Test unit written to //p' "$log" | tail -1); log: $log"
  fi
done
[ $failures = 0 ]
