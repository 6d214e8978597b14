# What every script here shares: where the repository is, how to speak, how to stop. Sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# One line to the person, on standard error: standard output belongs to results.
say() { printf '%s\n' "$*" >&2; }

# The same, and the script ends as failed.
die() {
    say "${0##*/}: $*"
    exit 1
}

# Namespaces, AF_XDP and package installation are root's. Says so before anything was changed.
need_root() {
    [ "$(id -u)" -eq 0 ] || die "must be run as root (it $1). Try: sudo $0"
}

# Cargo as the person has it: rustup's default folder is not always on root's PATH.
need_cargo() {
    if ! command -v cargo >/dev/null && [ -x "${HOME:-/root}/.cargo/bin/cargo" ]; then
        PATH="${HOME:-/root}/.cargo/bin:$PATH"
    fi
    command -v cargo >/dev/null || die "no cargo found: install Rust from https://rustup.rs first"
}

# Where cargo puts what it builds, whatever CARGO_TARGET_DIR and the configuration say.
target_dir() {
    cargo metadata --manifest-path "$ROOT/Cargo.toml" --no-deps --format-version 1 | jq -r .target_directory
}

# poll SECONDS COMMAND...: runs the command every 50 ms until it succeeds; fails when the time is over.
poll() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}
