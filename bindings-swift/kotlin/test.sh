#!/bin/sh
# Compiles the generated Kotlin with the conformance program and runs it on the JVM against the native library.
#
#   kotlin/test.sh                    builds the library, starts a host, runs everything (through cargo test)
#   kotlin/test.sh LIBDIR ARGUMENTS   only compiles and runs, with the library in LIBDIR; what the test calls
#
# Needs Java 17 or newer, JNA (Debian: libjna-java; or JNA_JAR=path), and npm for the Kotlin compiler, which is kept in
# $DIG_NAT_KOTLIN_CACHE (default ~/.cache/dig-nat/kotlin). Installs nothing anywhere else.
set -eu

kotlin_version=2.4.20
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)

if [ $# -eq 0 ]; then
    exec cargo test --manifest-path "$here/../Cargo.toml" --test conformance kotlin -- --ignored
fi
libdir=$1
shift

cache=${DIG_NAT_KOTLIN_CACHE:-$HOME/.cache/dig-nat/kotlin}
jna=${JNA_JAR:-/usr/share/java/jna.jar}
[ -e "$jna" ] || { echo "test.sh: no $jna; install libjna-java or set JNA_JAR" >&2; exit 1; }

compiler=$cache/$kotlin_version
if [ ! -e "$compiler/complete" ]; then
    mkdir -p "$compiler"
    npm install --silent --no-audit --no-fund --prefix "$compiler" "kotlin-compiler@$kotlin_version" >&2
    touch "$compiler/complete"
fi
jars=$(find "$compiler/node_modules/kotlin-compiler" -name lib -type d | head -n 1)
[ -n "$jars" ] || { echo "test.sh: no compiler in $compiler" >&2; exit 1; }

# Compiled classes are kept under the hash of what they were made from.
sources="$here/src/main/kotlin/org/dignetwork/dignat/dig_nat.kt $here/src/test/kotlin/Conformance.kt"
# shellcheck disable=SC2086
key=$(cat $sources | sha256sum | cut -c 1-16)
classes=$cache/classes-$kotlin_version-$key
if [ ! -d "$classes" ]; then
    unfinished=$(mktemp -d "$cache/compiling.XXXXXX")
    # shellcheck disable=SC2086
    java -cp "$jars/*" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -nowarn -no-reflect -kotlin-home "$jars/.." \
        -classpath "$jna:$jars/kotlinx-coroutines-core-jvm.jar" -d "$unfinished" $sources
    mv "$unfinished" "$classes"
fi

exec java -cp "$classes:$jna:$jars/kotlin-stdlib.jar:$jars/kotlinx-coroutines-core-jvm.jar" \
    -Djna.library.path="$libdir" ConformanceKt "$@"
