# Sourced by the other scripts: a real Flink of some version, fetched once, and Java code compiled against it.
#
#   FLINK_CACHE_ROOT   where the releases lie, each in flink-VERSION (${TMPDIR:-/tmp})
#   FLINK_WORK         what a run leaves: compiled classes, logs, snapshots (a fresh temporary directory)
#   MILLPOND_BIN       where Millpond's programs lie (release, below the target directory of cargo)
#
# The jars of a release come from the Python package apache-flink-libraries; nothing else is fetched or installed.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
FLINK_CACHE_ROOT=${FLINK_CACHE_ROOT:-${TMPDIR:-/tmp}}
if [ -z "${FLINK_WORK:-}" ]; then
  FLINK_WORK=$(mktemp -d "${TMPDIR:-/tmp}/millpond-flink.XXXXXX")
  FLINK_WORK_IS_OURS=1
fi
mkdir -p "$FLINK_WORK"
BIN=${MILLPOND_BIN:-${CARGO_TARGET_DIR:-$ROOT/target}/release}

skip() {
  echo "skipped: $*"
  [ -z "${FLINK_WORK_IS_OURS:-}" ] || rmdir "$FLINK_WORK" 2>/dev/null
  exit 0
}

# flink_fetch VERSION: the jars of the release, in $FLINK_CACHE_ROOT/flink-VERSION.
flink_fetch() {
  local home=$FLINK_CACHE_ROOT/flink-$1 part root
  [ -f "$home/lib/flink-dist-$1.jar" ] && return
  echo "fetching Flink $1 into $home" >&2
  mkdir -p "$home"
  part=$(mktemp -d "$home/.part.XXXXXX") || return 1
  if ! python3 -m pip download -q --no-deps  -d "$part" "apache-flink-libraries==$1" >&2; then
    rm -rf "$part"
    rmdir "$home" 2>/dev/null
    return 1
  fi
  mkdir "$part/x"
  case $(ls "$part"/*.whl "$part"/*.tar.gz 2>/dev/null) in
    *.whl) python3 -m zipfile -e "$part"/*.whl "$part/x" && root=$part/x/pyflink ;;
    *.tar.gz) tar xzf "$part"/*.tar.gz -C "$part/x" && root=$(echo "$part"/x/*/deps) ;;
    *) rm -rf "$part"; return 1 ;;
  esac
  for folder in opt plugins bin lib; do # lib last: its jar says that all is there
    rm -rf "${home:?}/$folder"
    [ -d "$root/$folder" ] && mv "$root/$folder" "$home/$folder"
  done
  rm -rf "$part"
  [ -f "$home/lib/flink-dist-$1.jar" ]
}

# flink_need VERSION...: skips the whole check when Java, Python or a release cannot be had.
flink_need() {
  local tool
  for tool in java javac python3 curl; do command -v $tool >/dev/null || skip "no $tool here"; done
  for version in "$@"; do flink_fetch "$version" || skip "Flink $version could not be fetched"; done
}

# flink_classpath VERSION
flink_classpath() {
  ls "$FLINK_CACHE_ROOT/flink-$1"/lib/*.jar | grep -v -e flink-table -e flink-scala -e flink-cep -e flink-json -e flink-csv | paste -sd:
}

# flink_java VERSION ARGUMENTS...: java with what Flink needs of the JVM; Flink's log goes to $FLINK_LOG, if set.
# With FLINK_EXEC=exec in a shell of its own the JVM takes the place of that shell, and has its process id.
flink_java() {
  local version=$1 package log="$FLINK_WORK/log4j.properties" level=off opens=()
  shift
  [ -n "${FLINK_LOG:-}" ] && level=info
  for package in lang net io nio text time util util.concurrent util.concurrent.atomic util.concurrent.locks lang.reflect; do
    opens+=("--add-opens=java.base/java.$package=ALL-UNNAMED")
  done
  opens+=(--add-opens=java.base/sun.nio.ch=ALL-UNNAMED --add-exports=java.base/sun.net.util=ALL-UNNAMED
    --add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED --add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED)
  if [ ! -f "$log" ]; then
    printf '%s\n' 'rootLogger.level = ${sys:flink.level}' 'rootLogger.appenderRef.f.ref = F' 'appender.f.name = F' \
      'appender.f.type = FILE' 'appender.f.fileName = ${sys:flink.log}' 'appender.f.layout.type = PatternLayout' \
      'appender.f.layout.pattern = %d %-5p %c - %m%n' > "$log"
  fi
  ${FLINK_EXEC:-} java "${opens[@]}" -Dflink.level=$level -Dflink.log="${FLINK_LOG:-/dev/null}" -Dlog4j.configurationFile="file:$log" "$@"
}

# flink_compile VERSION FOLDER OUT: FOLDER/*.java and the side of that major version, FOLDER/flink1 or flink2, if there.
flink_compile() {
  mkdir -p "$3"
  javac -nowarn -Xlint:-deprecation -Xlint:-unchecked -cp "$(flink_classpath "$1")" -d "$3" \
    "$2"/*.java $(ls "$2/flink${1%%.*}"/*.java 2>/dev/null) 2>&1 | { grep -v '^Note:' || true; } >&2
  return "${PIPESTATUS[0]}"
}

failures=0
# check WHAT COMMAND...: runs it and tells.
check() {
  local what=$1
  shift
  if "$@"; then echo "ok    $what"; else echo "FAIL  $what"; failures=$((failures + 1)); fi
}

# flink VERSION TASKS: has Peer do the tasks of a file, and tells its lines.
flink() {
  local version=$1 result=0
  mkdir -p "$FLINK_WORK/tmp"
  flink_java "$version" -Xmx900m -XX:TieredStopAtLevel=1 -cp "$FLINK_WORK/classes-$version:$(flink_classpath "$version")" \
    Peer "$2" "$FLINK_WORK/tmp" > "$2.out" 2> "$2.err" || result=1
  sed "s|$FLINK_WORK/||g; s|^ok|ok    $version|; s|^FAIL|FAIL  $version|" "$2.out"
  [ "$(wc -l < "$2.out")" = "$(wc -l < "$2")" ] && [ $result = 0 ] || { tail -20 "$2.err" >&2; failures=$((failures + 1)); }
}

# made DIRECTORY COMMAND...: a new snapshot by `millpond state` of the command $MILLPOND, or a failure that is counted.
made() {
  local directory=$1
  shift
  "${MILLPOND:-$BIN/millpond}" state "$@" > "$directory.log" 2>&1 && return
  echo "FAIL  millpond state $*"
  tail -3 "$directory.log" >&2
  failures=$((failures + 1))
  return 1
}

# task VERSION SET DIRECTORY SIDECAR BACKENDS PARALLELISM...: what Flink VERSION is to check, in a file of tasks for Peer.
task() {
  local version=$1 set=$2 directory=$3 sidecar=$4 backends=$5 backend p
  shift 5
  for backend in $backends; do for p in "$@"; do
    echo "check-sidecar $directory $sidecar $p $backend" >> "$NEW/tasks/$version-$set"
  done; done
}

# finish: the exit code of the whole check; what was made is kept only if something failed.
finish() {
  if [ "$failures" -gt 0 ]; then
    echo "$failures checks failed; see $FLINK_WORK"
    exit 1
  fi
  if [ -n "${FLINK_WORK_IS_OURS:-}" ] && [ -z "${FLINK_KEEP:-}" ]; then rm -rf "$FLINK_WORK"; fi
}
