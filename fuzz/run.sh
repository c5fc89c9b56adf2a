#!/usr/bin/env bash
# Builds and runs every fuzz target, two at a time: fuzz/run.sh [seconds per target, default 60 | fixed] [target...]
# With `fixed` each target gets the same inputs every time: so many from one seed, starting from `seeds` alone. That is
# what continuous integration runs, where a change must not fail for what only another roll of the dice finds.
# Fails on the first crash, time-out or leak; the input that caused it is left in fuzz/artifacts/ and printed.
# Stable rustc is enough: libFuzzer is linked by libfuzzer-sys, and the flags below switch the coverage
# instrumentation on that `cargo fuzz` would ask a nightly compiler for.
set -euo pipefail
cd "$(dirname "$0")"

length="${1:-60}"
fixed_runs=200000
shift || true
target="x86_64-unknown-linux-gnu"
export CARGO_TARGET_DIR="${DIG_NAT_FUZZ_TARGET_DIR:-${CARGO_TARGET_DIR:-$PWD/../target}/fuzz}"
sancov="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
sancov="$sancov -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
sancov="$sancov -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="--cfg fuzzing $sancov -Ccodegen-units=1" cargo build --release --locked --target "$target"

if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(sed -n 's|^path = "targets/\(.*\)\.rs"|\1|p' Cargo.toml); fi
mkdir -p artifacts

run_one() {
    local name="$1" log="artifacts/$1.log" corpus="corpus/$1" until=(-max_total_time="$3") still=()
    if [ "$3" = fixed ]; then
        corpus=$(mktemp -d "artifacts/$name-corpus-XXXXXX")
        # Not even its own new inputs by the clock; the places of code in memory are part of what it learns from.
        until=(-seed=20251122 -runs="$fixed_runs" -reload=0)
        if setarch -R true 2>/dev/null; then still=(setarch -R); fi
    fi
    mkdir -p "$corpus" "seeds/$name"
    if ! "${still[@]}" "$CARGO_TARGET_DIR/$2/release/$name" "$corpus" "seeds/$name" "${until[@]}" -timeout=10 \
        -rss_limit_mb=2048 -max_len=4096 -artifact_prefix="artifacts/$name-" -print_final_stats=1 >"$log" 2>&1; then
        echo "fuzz target $name FAILED:"
        tail -n 40 "$log"
        return 1
    fi
    if [ "$3" = fixed ]; then rm -r "$corpus"; fi
    # Instrumentation that is not there would find nothing and look like success.
    local first last runs
    first=$(grep -m1 -o 'cov: [0-9]*' "$log" | tr -dc 0-9)
    last=$(grep -o 'cov: [0-9]*' "$log" | tail -n1 | tr -dc 0-9)
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    if [ "${last:-0}" -lt 20 ]; then
        echo "fuzz target $name: only ${last:-0} covered places; is the instrumentation there?"
        return 1
    fi
    printf 'fuzz target %-16s ok: %s runs, coverage %s -> %s\n' "$name" "$runs" "$first" "$last"
}
export -f run_one
export CARGO_TARGET_DIR fixed_runs

printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'run_one "$@"' _ {} "$target" "$length"
