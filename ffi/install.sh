#!/bin/sh
# Installs the C library: header, shared and static library, pkg-config and CMake files.
#
#   ffi/install.sh [--prefix DIR] [--libdir NAME] [--from DIR]
#
# --prefix  where to install to, default /usr/local. DESTDIR is put in front of everything, as packagers expect.
# --libdir  library directory below the prefix, default lib
# --from    directory with built libraries; without it they are built with cargo in release mode
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
prefix=/usr/local
libdir=lib
from=

while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2; shift 2 ;;
        --prefix=*) prefix=${1#*=}; shift ;;
        --libdir) libdir=$2; shift 2 ;;
        --libdir=*) libdir=${1#*=}; shift ;;
        --from) from=$2; shift 2 ;;
        --from=*) from=${1#*=}; shift ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "install.sh: unknown argument $1" >&2; exit 2 ;;
    esac
done
case $prefix in
    /*) ;;
    *) echo "install.sh: --prefix must be an absolute path" >&2; exit 2 ;;
esac

if [ -z "$from" ]; then
    cargo build --manifest-path "$here/Cargo.toml" --release --lib
    from=${CARGO_TARGET_DIR:-$here/../target}/release
fi

version=$(sed -n 's/^#define DIG_NAT_VERSION "\(.*\)"$/\1/p' "$here/../include/dig_nat.h")
case $(uname -s) in
    Darwin)
        shared=libdig_nat.dylib
        system="-framework CoreFoundation -framework Security -framework SystemConfiguration -liconv -lm" ;;
    *)
        shared=libdig_nat.so
        system="-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc" ;;
esac

root=${DESTDIR:-}$prefix
mkdir -p "$root/include" "$root/$libdir/pkgconfig" "$root/$libdir/cmake/dig_nat"
cp "$here/../include/dig_nat.h" "$root/include/"
cp "$from/$shared" "$from/libdig_nat.a" "$root/$libdir/"

# Fills in a template: $1 template, $2 target, $3 system libraries as that tool writes them.
fill() {
    sed -e "s|@prefix@|$prefix|g" -e "s|@libdir@|$4|g" -e "s|@version@|$version|g" \
        -e "s|@shared_name@|$shared|g" -e "s|@system_libs@|$3|g" "$1" > "$2"
}
cmake_dir=$root/$libdir/cmake/dig_nat
fill "$here/dig_nat.pc.in" "$root/$libdir/pkgconfig/dig_nat.pc" "$system" "\${prefix}/$libdir"
fill "$here/cmake/dig_nat-config.cmake.in" "$cmake_dir/dig_nat-config.cmake" "$(echo "$system" | tr ' ' ';')" "$libdir"
fill "$here/cmake/dig_nat-config-version.cmake.in" "$cmake_dir/dig_nat-config-version.cmake" "" "$libdir"
echo "installed dig_nat $version to $root"
