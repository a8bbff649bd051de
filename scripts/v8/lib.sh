# What v8-archive and build-v8 agree on. Sourced with `root` set to the repository's folder.
# shellcheck shell=sh
# shellcheck disable=SC2154 # `root` comes from the script that sources this file.

# Says something to a person; standard output is for data.
say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# The version of the `v8` crate this workspace is locked to.
v8_version() {
  versions=$(awk '/^name = "v8"$/ { getline; gsub(/version = |"/, ""); print }' "$root/Cargo.lock")
  case $versions in
    *[!0-9.]*) die "Cargo.lock has more than one v8 crate: upgrade the deno_* crates together" ;;
    '') die "Cargo.lock has no v8 crate: nothing needs V8's library" ;;
  esac
  echo "$versions"
}

# The machine this Rust builds for, such as x86_64-unknown-linux-gnu.
v8_target() { rustc -vV | sed -n 's/^host: //p'; }

# The features the workspace's crates turn on in `v8`, separated by commas. They decide which library fits.
v8_features() {
  cargo tree --quiet --manifest-path "$root/Cargo.toml" \
    --invert v8 --depth 0 --prefix none --format '{f}' | head -n 1
}

# The project's cache folder on this machine.
cache_dir() { echo "${PORTSIDE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portside}"; }

# Where a library built on this machine is kept, for every checkout that uses the same version.
v8_cached() {
  version=$(v8_version) || exit 1
  target=$(v8_target) || exit 1
  echo "$(cache_dir)/v8/$version-$target.a.gz"
}
