#!/usr/bin/env bash
# Everything that needs a real Flink: savepoints both ways (restore.sh), what `millpond state` makes of Flink's savepoints
# (rewrite.sh) and of files of RocksDB (rocksdb.sh), a job that moves between the engines (move.sh), Flink's command line client (client.sh).
# `./test --flink` calls it. Says "skipped: ..." and ends with 0 where Java or the releases of Flink cannot be had;
# installs nothing: the releases are put under $FLINK_CACHE_ROOT (see flink.sh). About fifteen minutes after the build.
#   FLINK_VERSIONS   releases that restore and write savepoints ("2.3.0 1.20.5 1.15.4")
#   FLINK_KEEP       set: what was made stays, also when all is well
set -uo pipefail
. "$(dirname "$0")/flink.sh"
export FLINK_WORK FLINK_CACHE_ROOT
flink_need
there=()
for version in ${FLINK_VERSIONS:-2.3.0 1.20.5 1.15.4}; do
  if flink_fetch "$version"; then there+=("$version"); else echo "skipped: Flink $version could not be fetched"; fi
done
[ ${#there[@]} -gt 0 ] || skip "no release of Flink could be had"
(cd "$ROOT" && cargo build --release --bin millpond --example kinds --example keyed_count --example moving) || exit 1
check "savepoints both ways with Flink ${there[*]}" "$HERE/restore.sh" "${there[@]}"
check "new snapshots out of old ones with Flink ${there[*]}" "$HERE/rewrite.sh" "${there[@]}"
check "files of RocksDB for Flink ${there[*]}" "$HERE/rocksdb.sh" "${there[@]}"
check "a job that moves between Flink ${there[*]} and Millpond" "$HERE/move.sh" "${there[@]}"
case " ${there[*]} " in
  *" 2.3.0 "*) check "the client of Flink 2.3.0" "$HERE/client.sh" 2.3.0 ;;
  *) echo "skipped: the client of Flink 2.3.0" ;;
esac
finish
