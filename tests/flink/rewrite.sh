#!/usr/bin/env bash
# Snapshots that `millpond state` wrote, restored by real Flink, all content compared with what was in the old ones.
#   rewrite.sh [VERSION...]   (2.3.0 1.20.5 1.15.4)
# The old ones are the golden snapshots (crates/snapshot/tests/golden), which these releases wrote; the JSON file beside each
# tells what is in it. Each is converted as it is, into the other format, and to parallelism 3; some for the other releases;
# each is rehashed to 4096 key groups; and some are edited, with the JSON edited alike by this script. All are restored, canonical
# ones by both state backends, and compared. Ends with a table: who restored what, and how many of them with equal content.
set -uo pipefail
. "$(dirname "$0")/flink.sh"
[ $# -gt 0 ] || set -- 2.3.0 1.20.5 1.15.4
flink_need "$@"
[ -x "$BIN/millpond" ] || (cd "$ROOT" && cargo build --release --bin millpond) || exit 1
GOLDEN=$ROOT/crates/snapshot/tests/golden
NEW=$FLINK_WORK/rewritten
mkdir -p "$NEW/tasks"

# case_of NAME: "kinds" of "kinds-hashmap-native".
case_of() { echo "${1%-*-*}"; }

# backends_of FORMAT: those of Flink that restore it.
backends_of() {
  case $1 in canonical) echo hashmap rocksdb ;; *) echo hashmap ;; esac
}

# edited SIDECAR NEW_SIDECAR: prints the edits of a case, one a line, and writes what must be there afterwards.
edited() {
  python3 - "$1" "$2" <<'PYTHON'
import json, sys

sidecar = json.load(open(sys.argv[1]))
operators = {operator["uid"]: operator for operator in sidecar["operators"]}


def state(uid, name):
    states = operators[uid].get("keyed_states", []) + operators[uid].get("operator_states", [])
    return next(state for state in states if state["name"] == name)


def put(uid, name, key, value):
    content = state(uid, name)["content"]
    content[:] = [row for row in content if row[0] != key] + [[key, value]]


def keep(uid, name, kept):
    content = state(uid, name)["content"]
    content[:] = [row for row in content if kept(row)]


if "counter" in operators:
    keep("counter", "count", lambda row: row[1] >= 3)
    put("counter", "count", "key-0", 77)
    put("counter", "count", "né w", 5)
    edits = ["delete counter/count where value < 3", "set counter/count key=key-0 value=77", 'set counter/count key="né w" value=5']
elif "all-kinds" in operators:
    put("all-kinds", "list-long", "key-0", [7, 8])
    next(row for row in state("all-kinds", "map-string-long")["content"] if row[0] == "key-1")[1]["z"] = 9
    keep("all-kinds", "value-pojo", lambda row: row[1]["name"] != "key-2")
    state("all-kinds", "reducing-sum")["name"] = "sum"
    states = operators["all-kinds"]["keyed_states"]
    states[:] = [state for state in states if state["name"] != "map-long-long"]
    edits = ["set all-kinds/list-long key=key-0 value=[7,8]", "set all-kinds/map-string-long key=key-1 user_key=z value=9",
             'delete all-kinds/value-pojo where value.name = "key-2"', "rename all-kinds/reducing-sum to sum", "drop all-kinds/map-long-long"]
elif "timers" in operators:
    timers = operators["timers"]["timers"]
    for row in timers["event"]:
        row[-1] -= 1000
    timers["processing"] = [row for row in timers["processing"] if row[0] != "key-1"]
    edits = ["shift-timers timers event by -1 s", "delete timers/_timer_state/processing_user-timers where key = key-1"]
elif "op-state" in operators:
    keep("op-state", "union-list", lambda row: row[1] < 2)
    put("rules-join", "rules", "key-1-rule", -1)
    put("rules-join", "rules", "new-rule", 4)
    state("source", "offsets")["content"] = [5, 6]
    operators["op-state"]["uid"] = "renamed"
    edits = ["delete op-state/union-list where value.1 >= 2", "set rules-join/rules key=key-1-rule value=-1",
             "set rules-join/rules key=new-rule value=4", "set source/offsets value=[5,6]", "uid op-state to renamed"]
elif "window-sum" in operators:
    keep("window-sum", "window-contents", lambda row: row[1][0] < 16000)
    for row in state("window-sum", "window-contents")["content"]:
        if row[0] == "key-0" and row[1] == [12000, 16000]:
            row[2] = ["key-0", 1, 2]
    edits = ["delete window-sum/window-contents where namespace.0 >= 16000",
             'set window-sum/window-contents key=key-0 namespace=[12000,16000] value=["key-0",1,2]']
else:
    put("with-ttl", "ttl-value", "key-0", 5)
    put("with-ttl", "ttl-list", "key-1", ["x"])
    edits = ["set with-ttl/ttl-value key=key-0 value=5", 'set with-ttl/ttl-list key=key-1 value=["x"]']
json.dump(sidecar, open(sys.argv[2], "w"))
print("\n".join(edits))
PYTHON
}

for from in "$@"; do
  for sidecar in "$GOLDEN/$from"/*.json; do
    old=${sidecar%.json} name=$(basename "${sidecar%.json}") format=${sidecar##*-}
    format=${format%.json}
    backends=$(backends_of "$format")
    to=$NEW/$from-$name
    made "$to-kept" convert "$old" "$to-kept" && task "$from" kept "$to-kept" "$sidecar" "$backends" 2 3
    case $format in canonical) other=native-heap ;; *) other=canonical ;; esac
    made "$to-other" convert "$old" "$to-other" --format $other --for-flink "$from" &&
      task "$from" "as-$other" "$to-other" "$sidecar" "$(backends_of $other)" 3
    made "$to-3" convert "$old" "$to-3" --parallelism 3 --for-flink "$from" &&
      task "$from" parallelism-3 "$to-3" "$sidecar" "$backends" 2
    case $name in maxpar*) ;; *)
      made "$to-4096" rehash "$old" "$to-4096" --max-parallelism 4096 && task "$from" rehashed "$to-4096" "$sidecar" "$backends" 3 ;;
    esac
    case $(case_of "$name") in count-stringkey | count-tuplekey | kinds | timers | opstate | window | ttl) ;; *) continue ;; esac
    for version in "$@"; do
      [ "$version" != "$from" ] || continue
      made "$to-$version" convert "$old" "$to-$version" --format canonical --for-flink "$version" &&
        task "$version" "canonical-of-$from" "$to-$version" "$sidecar" "$(backends_of canonical)" 2
      made "$to-$version-n" convert "$old" "$to-$version-n" --format native-heap --for-flink "$version" &&
        task "$version" "native-heap-of-$from" "$to-$version-n" "$sidecar" hashmap 3
    done
    [ "$(case_of "$name")" != count-tuplekey ] || continue
    mapfile -t edits < <(edited "$sidecar" "$to-edited.json")
    made "$to-edited" edit "$old" "$to-edited" "${edits[@]}" --log "$to-edited.log.json" &&
      task "$from" edited "$to-edited" "$to-edited.json" "$backends" 2 3
    # A checker that sees no difference would be seen here.
    echo "not check-sidecar $to-edited $sidecar 2 hashmap" >> "$NEW/tasks/$from-edited"
  done
done

table=""
for version in "$@"; do
  flink_compile "$version" "$HERE/java" "$FLINK_WORK/classes-$version" || exit 1
  mkdir -p "$FLINK_WORK/tmp"
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
