#!/usr/bin/env bash
# mutate.sh PACKAGE...: makes single faults in a package and asks whether its own
# tests notice. Prints a table and the mutants that lived; fails where less than
# 90 % of them were killed. Those that docs/testing.md lists as equivalent do not
# count: "| bus | 3 | reason |" in its table of equivalent mutants. A mutant whose tests
# do not end in MUTATE_PATIENCE times what they take otherwise counts as killed: whoever runs
# them notices.
set -uo pipefail
tool=github.com/go-gremlins/gremlins/cmd/gremlins@v0.6.0
out=bin/mutate code=0
mkdir -p "$out"
printf '%-16s %8s %8s %10s %12s %8s\n' package killed lived 'timed out' equivalent 'killed %'
for p in "$@"; do
  name=${p#./} log=$out/$(tr / _ <<<"${p#./}").log
  GOFLAGS="-failfast -ldflags=-w" ${GO:-go} run "$tool" unleash --workers "${MUTATE_WORKERS:-2}" --timeout-coefficient "${MUTATE_PATIENCE:-10}" "./$name" >"$log" 2>&1 ||
    { echo "$name: gremlins failed, see $log"; code=1; continue; }
  killed=$(sed -n 's/^Killed: \([0-9]*\),.*/\1/p' "$log")
  lived=$(sed -n 's/.*Lived: \([0-9]*\),.*/\1/p' "$log")
  timed=$(sed -n 's/^Timed out: \([0-9]*\),.*/\1/p' "$log")
  same=$(awk -F ' *[|] *' -v p="$name" '$2 == p && $3 ~ /^[0-9]+$/ { n += $3 } END { print n + 0 }' docs/testing.md)
  noticed=$((killed + timed))
  count=$((noticed + (lived > same ? lived - same : 0)))
  share=$((count > 0 ? 100 * noticed / count : 100))
  printf '%-16s %8d %8d %10d %12d %8d\n' "$name" "$killed" "$lived" "$timed" "$same" "$share"
  grep -h LIVED "$log" | sed "s|^ *|  |; s| at | at $name/|"
  [ "$share" -ge 90 ] || code=1
done
exit $code
