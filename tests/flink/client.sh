#!/usr/bin/env bash
# The real command line client of Flink against running Millpond jobs: exit codes and what the client prints.
#   client.sh [VERSION]   (2.3.0)
# Every command's output lies in $FLINK_CLIENT_LOG ($FLINK_WORK/client), one file each.
set -uo pipefail
. "$(dirname "$0")/flink.sh"
version=${1:-2.3.0}
flink_need "$version"
[ -x "$BIN/examples/keyed_count" ] || (cd "$ROOT" && cargo build --release --example keyed_count) || exit 1
LOG=${FLINK_CLIENT_LOG:-$FLINK_WORK/client}
mkdir -p "$LOG" "$FLINK_WORK/conf" "$FLINK_WORK/jobs"
export FLINK_CONF_DIR=$FLINK_WORK/conf
case $version in 1.*) : > "$FLINK_CONF_DIR/flink-conf.yaml" ;; *) : > "$FLINK_CONF_DIR/config.yaml" ;; esac
CLASSPATH_OF_CLIENT=$(flink_classpath "$version")
SCHEME=http
CURL=()
NOBODY=00000000000000000000000000000000
HEX='[0-9a-f]{32}'
started=()

# start ARGUMENTS...: a job that never ends by itself; sets job, address and pid.
start() {
  local log=$FLINK_WORK/jobs/${#started[@]}.log tries=0
  : > "$log"
  "$BIN/examples/keyed_count" --keys 1000 --rate 20000 -D parallelism.default=2 -D rest.port=0 \
    -D execution.checkpointing.dir="$FLINK_WORK/checkpoints" "$@" > "$log" 2>&1 &
  pid=$!
  started+=("$pid")
  until grep -q 'listening at' "$log" && grep -q JobID "$log"; do
    sleep 0.05
    tries=$((tries + 1))
    if [ $tries -gt 2400 ] || ! kill -0 "$pid" 2>/dev/null; then
      cat "$log" >&2
      echo "FAIL  a job did not start" && exit 1
    fi
  done
  address=$(grep -oE '127\.0\.0\.1:[0-9]+' "$log" | head -1)
  job=$(grep -oE "JobID $HEX" "$log" | head -1 | cut -d' ' -f2)
  await RUNNING
}

state() {
  curl -s "${CURL[@]}" "$SCHEME://$address/jobs/$job/status" | sed -nE 's/.*"status":"([A-Z]+)".*/\1/p'
}

# await STATE: of the job as REST tells it.
await() {
  local tries=0
  until [ "$(state)" = "$1" ]; do
    sleep 0.05
    tries=$((tries + 1))
    [ $tries -lt 2400 ] || return 1
  done
}

# ended CODE: the job's process ends with this code.
ended() {
  local code=0
  timeout 300 tail --pid="$pid" -f /dev/null
  wait "$pid" || code=$?
  [ "$code" = "$1" ]
}

trap 'for one in "${started[@]}"; do kill "$one" 2>/dev/null; done' EXIT

count=0
# client NAME CODE PHRASE... -- ARGUMENTS...: the client ends with CODE and prints every phrase (extended regular
# expressions, each in one line); the first path of a savepoint that it names becomes `path`.
client() {
  local name=$1 code=$2 phrases=() found=0 file phrase
  shift 2
  while [ "$1" != -- ]; do
    phrases+=("$1")
    shift
  done
  shift
  count=$((count + 1))
  file=$(printf '%s/%02d-%s.log' "$LOG" $count "$name")
  echo "flink $*" > "$file"
  flink_java "$version" -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$CLASSPATH_OF_CLIENT" \
    org.apache.flink.client.cli.CliFrontend "$@" >> "$file" 2>&1
  found=$?
  echo "exit code $found" >> "$file"
  path=$(grep -oE 'file:/[^ ]*/savepoint-[0-9a-f]{6}-[0-9a-f]{12}' "$file" | head -1)
  local wrong=()
  [ $found = "$code" ] || wrong+=("exit code $found instead of $code")
  for phrase in "${phrases[@]}"; do grep -qE -- "$phrase" "$file" || wrong+=("no line with \"$phrase\""); done
  if [ ${#wrong[@]} = 0 ]; then
    echo "ok    flink $name"
  else
    echo "FAIL  flink $name: ${wrong[*]} (${file#"$FLINK_WORK/"})"
    failures=$((failures + 1))
  fi
}

complete() { [ -f "${path#file:}/_metadata" ]; }
gone() { [ ! -e "${path#file:}" ]; }
# savepoint_in DIR: a complete savepoint turns up in a directory.
savepoint_in() {
  local tries=0
  until ls "$1"/savepoint-*/_metadata >/dev/null 2>&1; do
    sleep 0.05
    tries=$((tries + 1))
    [ $tries -lt 2400 ] || return 1
  done
}

sp=$FLINK_WORK/savepoints
start
m=(-m "$address")
client list 0 'Running/Restarting Jobs' "^[0-9]{2}\.[0-9]{2}\.[0-9]{4} [0-9:]{8} : $job : keyed count \(RUNNING\)" 'No scheduled jobs' -- list "${m[@]}"
client list-running 0 "$job : keyed count \(RUNNING\)" -- list -r "${m[@]}"
client savepoint 0 "Triggering savepoint for job $job\." 'Waiting for response' 'Savepoint completed\. Path: file:/' \
  'You can resume your program from this savepoint with the run command' -- savepoint "${m[@]}" "$job" "$sp"
check "... its directory is a savepoint" complete
first=$path
client savepoint-dispose 0 "Disposing savepoint '$first'" "Savepoint '$first' disposed" -- savepoint "${m[@]}" -d "$first"
path=$first
check "... and is gone" gone
client dispose-missing 1 'Failed to dispose the savepoint' 'Cannot find checkpoint or savepoint file/directory' -- savepoint "${m[@]}" -d "$first"
client savepoint-detached 0 "Triggering savepoint in detached mode for job $job\." \
  "Successfully trigger manual savepoint, triggerId: $HEX" -- savepoint "${m[@]}" -detached "$job" "$sp/detached"
check "... turns up" savepoint_in "$sp/detached"
client savepoint-without-directory 1 'The program finished with the following exception' "Failed to trigger a savepoint for the job $job" \
  'Config key \[execution\.checkpointing\.savepoint-dir\] is not set\. Property \[target-directory\] must be provided\.' -- savepoint "${m[@]}" "$job"
client savepoint-unknown-job 1 "Could not find Flink job \($NOBODY\)" -- savepoint "${m[@]}" $NOBODY "$sp"
client savepoint-no-job 1 'Missing JobID' -- savepoint "${m[@]}"
client savepoint-bad-job 1 'Cannot parse JobID from "zzz"' -- savepoint "${m[@]}" zzz "$sp"
client checkpoint 0 "Triggering checkpoint for job $job\." "Checkpoint [0-9]+ for job $job completed\." -- checkpoint "${m[@]}" "$job"
client checkpoint-full 0 "Checkpoint.* [0-9]+ for job $job completed" -- checkpoint "${m[@]}" -full "$job"
client checkpoint-unknown-job 1 "Could not find Flink job \($NOBODY\)" -- checkpoint "${m[@]}" $NOBODY
client cancel-unknown-job 1 "$NOBODY" -- cancel "${m[@]}" $NOBODY
client stop-unknown-job 1 "Could not stop with a savepoint job \"$NOBODY\"" -- stop "${m[@]}" -p "$sp" $NOBODY
client stop-without-directory 1 "Could not stop with a savepoint job \"$job\"" 'Property \[targetDirectory\] must be provided' -- stop "${m[@]}" "$job"
check "... after all of this the job runs" [ "$(state)" = RUNNING ]
client stop 0 "Suspending job \"$job\" with a CANONICAL savepoint\." "Triggering stop-with-savepoint for job $job\." \
  'Savepoint completed\. Path: file:/' -- stop "${m[@]}" -p "$sp/stop" "$job"
check "... its directory is a savepoint" complete
stopped=$path
check "... the process ends with 0" ended 0

start -D execution.state-recovery.path="$stopped" -D rest.linger=60s
m=(-m "$address")
check "a job resumes from it" [ "$(state)" = RUNNING ]
client stop-drain 0 "Draining job \"$job\" with a CANONICAL savepoint\." 'Savepoint completed\. Path: file:/' -- stop "${m[@]}" --drain -p "$sp/drain" "$job"
check "... its directory is a savepoint" complete

start -D rest.linger=30s
m=(-m "$address")
client stop-detached 0 "Triggering stop-with-savepoint in detached mode for job $job\." \
  "Successfully trigger stop-with-savepoint in detached mode, triggerId: $HEX" -- stop "${m[@]}" -detached -p "$sp/stop-detached" "$job"
check "... turns up" savepoint_in "$sp/stop-detached"
client list-all 0 'No running jobs' 'Terminated Jobs' "$job : keyed count \(FINISHED\)" -- list -a "${m[@]}"
check "... the process ends with 0" ended 0

start
m=(-m "$address")
client cancel 0 "Cancelling job $job\." "Cancelled job $job\." -- cancel "${m[@]}" "$job"
check "... the process ends with 0" ended 0

start -D execution.checkpointing.savepoint-dir="$sp/default"
m=(-m "$address")
client savepoint-to-default 0 'Savepoint completed\. Path: file:/' -- savepoint "${m[@]}" "$job"
check "... lies in the default directory" savepoint_in "$sp/default"
client cancel-with-savepoint-fails 1 "$job" -- cancel "${m[@]}" -s /proc/nowhere "$job"
check "... and the job runs on" [ "$(state)" = RUNNING ]
client cancel-with-savepoint 0 'DEPRECATION WARNING' "Cancelling job $job with CANONICAL savepoint to $sp/cancel" \
  "Cancelled job $job\. Savepoint stored in file:/" -- cancel "${m[@]}" -s "$sp/cancel" "$job"
check "... its directory is a savepoint" complete
check "... the process ends with 0" ended 0

start -D execution.checkpointing.savepoint-dir="$sp/default-of-cancel"
m=(-m "$address")
client cancel-with-savepoint-to-default 0 'to default savepoint directory' "Cancelled job $job\. Savepoint stored in file:/" -- cancel "${m[@]}" -s "$job"
check "... lies in the default directory" savepoint_in "$sp/default-of-cancel"

# REST by TLS, with a token, which the client has by Flink's variable for headers of its own. The key is one of RSA, and the
# scheme said: Flink's client takes no other key by default, and "host:port" for http.
tls=$FLINK_WORK/tls
mkdir -p "$tls"
keys() {
  (cd "$tls" && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=millpond" -addext subjectAltName=IP:127.0.0.1 \
    -keyout key.pem -out certificate.pem &&
    openssl rand -hex 32 > token && chmod 600 token key.pem &&
    keytool -importcert -noprompt -alias millpond -file certificate.pem -keystore trusted.p12 -storetype PKCS12 -storepass trusted) \
    > "$tls/log" 2>&1
}
check "certificates" keys
SCHEME=https
CURL=(--cacert "$tls/certificate.pem" -H "Authorization: Bearer $(cat "$tls/token")")
start -D security.ssl.rest.enabled=true -D security.ssl.rest.certificate="$tls/certificate.pem" \
  -D security.ssl.rest.private-key="$tls/key.pem" -D security.rest.token-file="$tls/token"
m=(-m "https://$address")
client tls-untrusted 1 'The program finished with the following exception' -- list "${m[@]}"
cat > "$(ls "$FLINK_CONF_DIR"/*.yaml)" <<END
security.ssl.rest.truststore: $tls/trusted.p12
security.ssl.rest.truststore-password: trusted
security.ssl.rest.truststore-type: PKCS12
END
client tls-no-token 1 'This cluster asks for a token, and the request has none' -- list "${m[@]}"
export FLINK_REST_CLIENT_HEADERS="Authorization:Bearer $(cat "$tls/token")"
client tls-list 0 "$job : keyed count \(RUNNING\)" -- list "${m[@]}"
client tls-stop 0 'Savepoint completed\. Path: file:/' -- stop "${m[@]}" -p "$sp/tls" "$job"
check "... its directory is a savepoint" complete
check "... the process ends with 0" ended 0
finish
