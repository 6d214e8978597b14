# Measuring by turns: what the comparisons share. Sourced, never run. Whoever sources it sets `results` (a folder) and
# `rounds`, and keeps process ids that it started in `running`.
# shellcheck shell=bash
# shellcheck disable=SC2154 # set by who sources this

ended() { ! kill -0 "$1" 2>/dev/null; }

# end PID: asks a program of ours to end and waits for it.
end() {
    [ -n "${1:-}" ] || return 0
    kill -INT "$1" 2>/dev/null || true
    poll 10 ended "$1" || kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

says() { grep -q "$2" "$1"; }

# quiet_before: what others use of the processors now, in per cent of one of them, when nothing of ours runs; and what the
# hypervisor takes. Into `noise`.
cpu() { awk '/^cpu / { busy = $2 + $3 + $4 + $7 + $8; print busy, busy + $5 + $6 + $9, $9 }' /proc/stat; }
quiet_before() {
    local busy all stolen now_busy now_all now_stolen
    read -r busy all stolen < <(cpu)
    sleep 1
    read -r now_busy now_all now_stolen < <(cpu)
    noise=$(awk -v b=$((now_busy - busy)) -v a=$((now_all - all)) -v s=$((now_stolen - stolen)) \
        'BEGIN { printf "%.2f", a ? (b + s) * 100 / a : 0 }')
}

# note WORK PEER ROUND UNIT VALUE: one line of results.
note() {
    [ -n "$5" ] || { say "$1, $2: no figure in round $3" && return; }
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" "$noise" >>"$results/runs"
    say "round $3 of $rounds, $1, $2: $5 $4 (noise $noise %)"
}
