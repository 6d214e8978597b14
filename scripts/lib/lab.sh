# The lab: three network namespaces in a row, on one machine. Sourced by the scripts; the Rust tests go
# through `scripts/lab`, so that people and tests stand in the same place.
# shellcheck shell=bash
#
#   client                          router                           server
#   10.0.1.2/24   lan0 ======= lan   10.0.1.1    10.0.2.1   wan ======= wan0   10.0.2.2/24
#   fd00:1::2/64                     fd00:1::1   fd00:2::1                     fd00:2::2/64
#   02:00:00:00:01:02     02:00:00:00:01:01   02:00:00:00:02:01     02:00:00:00:02:02
#
# Two routers can stand in the middle. `linux`: the kernel of the router namespace, the reference that
# every lab test must pass against. `flumen`: the router's ends of the veth pairs are up but carry no IP
# address and IPv6 is off, so that whatever answers there is Flumen.
#
# Every name contains the run's name; interfaces exist only inside the namespaces, so nothing can collide
# with the host's or another run's. Whoever stands a lab up takes it down, and `lab_down` never asks how
# far `lab_up` came.

LAB_ROLES=(client router server)
LAB_PREFIX=flumen

# The namespace of a role in this run.
lab_ns() { printf '%s-%s-%s' "$LAB_PREFIX" "$LAB_RUN" "$1"; }

# Where this run keeps its files (configuration, logs, control socket).
lab_dir() { printf '/run/flumen-lab/%s' "$LAB_RUN"; }

# A run's name becomes part of names of namespaces and folders.
lab_check_run() {
    [[ "$LAB_RUN" =~ ^[a-z0-9][a-z0-9-]{0,39}$ ]] ||
        die "a run's name is 1 to 40 small letters, digits and hyphens, not '$LAB_RUN'"
}

lab_exists() { [ -e "/run/netns/$(lab_ns "$1")" ]; }

# Runs a command in a role's namespace.
lab_exec() {
    local role=$1
    shift
    ip netns exec "$(lab_ns "$role")" "$@"
}

# One address, ready at once.
lab_address() { ip -n "$(lab_ns "$1")" address add "$3" dev "$2" $([[ $3 == *:* ]] && echo nodad); }

# lab_up: from LAB_RUN, LAB_MTU, LAB_FAR_MTU, LAB_OFFLOADS, LAB_QUEUES, LAB_ROUTER.
lab_up() {
    local role client router server
    lab_check_run
    client=$(lab_ns client) router=$(lab_ns router) server=$(lab_ns server)
    # Another lab that goes takes the empty parent along: then once more.
    poll 2 mkdir -p "$(lab_dir)" 2>/dev/null || mkdir -p "$(lab_dir)"

    for role in "${LAB_ROLES[@]}"; do
        ip netns add "$(lab_ns "$role")"
        # Addresses are usable at once, and nothing is learnt from router advertisements. Errors are not
        # rate limited: tests ask for many in a row.
        lab_exec "$role" sysctl -qw \
            net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
            net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0 \
            net.ipv6.conf.default.router_solicitations=0 \
            net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
        ip -n "$(lab_ns "$role")" link set lo up
    done

    # The kernel takes the veth's queues from these words; the counts of both ends must agree, because one
    # end's transmit queue is the other's receive queue.
    local queues="numtxqueues $LAB_QUEUES numrxqueues $LAB_QUEUES"
    # shellcheck disable=SC2086
    ip -n "$client" link add lan0 address 02:00:00:00:01:02 mtu "$LAB_MTU" $queues type veth \
        peer name lan netns "$router" address 02:00:00:00:01:01 mtu "$LAB_MTU" $queues
    # shellcheck disable=SC2086
    ip -n "$server" link add wan0 address 02:00:00:00:02:02 mtu "$LAB_FAR_MTU" $queues type veth \
        peer name wan netns "$router" address 02:00:00:00:02:01 mtu "$LAB_FAR_MTU" $queues

    if [ "$LAB_OFFLOADS" = off ]; then
        lab_offloads_off client lan0
        lab_offloads_off server wan0
        lab_offloads_off router lan
        lab_offloads_off router wan
    fi
    if [ "$LAB_ROUTER" = flumen ]; then
        lab_exec router sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    fi
    ip -n "$client" link set lan0 up
    ip -n "$server" link set wan0 up
    ip -n "$router" link set lan up
    ip -n "$router" link set wan up

    lab_address client lan0 10.0.1.2/24
    lab_address client lan0 fd00:1::2/64
    lab_address server wan0 10.0.2.2/24
    lab_address server wan0 fd00:2::2/64
    ip -n "$client" route add default via 10.0.1.1
    ip -n "$client" route add default via fd00:1::1
    ip -n "$server" route add default via 10.0.2.1
    ip -n "$server" route add default via fd00:2::1
    [ "$LAB_ROUTER" = flumen ] || lab_linux_router
}

# What leaves this end has finished checksums and fits the MTU, as on a real wire.
lab_offloads_off() { lab_exec "$1" ethtool -K "$2" tx off tso off gso off gro off txvlan off >/dev/null; }

# The kernel as router.
lab_linux_router() {
    lab_address router lan 10.0.1.1/24
    lab_address router lan fd00:1::1/64
    lab_address router wan 10.0.2.1/24
    lab_address router wan fd00:2::1/64
    # Both hash policies look at ports: ECMP by flow, as Flumen does it.
    lab_exec router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
        net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
}

# Ends the processes inside, removes namespaces and files. Works on what is left of a half-made lab, and
# says nothing when there is none.
lab_down() {
    local role pids
    lab_check_run
    for role in "${LAB_ROLES[@]}"; do
        lab_exists "$role" || continue
        pids=$(ip netns pids "$(lab_ns "$role")" 2>/dev/null || true)
        # shellcheck disable=SC2086
        [ -z "$pids" ] || kill $pids 2>/dev/null || true
    done
    for role in "${LAB_ROLES[@]}"; do
        lab_exists "$role" || continue
        if ! poll 2 lab_empty "$role"; then
            pids=$(ip netns pids "$(lab_ns "$role")" 2>/dev/null || true)
            # shellcheck disable=SC2086
            [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
            poll 2 lab_empty "$role" || true
        fi
        ip netns delete "$(lab_ns "$role")" || true
    done
    rm -rf "$(lab_dir)"
    rmdir /run/flumen-lab 2>/dev/null || true
}

lab_empty() { [ -z "$(ip netns pids "$(lab_ns "$1")" 2>/dev/null)" ]; }

# The names of the runs whose namespaces or folders stand.
lab_list() {
    {
        ip netns list | awk '{print $1}' | sed -nE "s/^$LAB_PREFIX-(.*)-(client|router|server)\$/\1/p"
        ls /run/flumen-lab 2>/dev/null || true
    } | sort -u
}

# The configuration that makes Flumen the router of this lab, on standard output. Arguments: the
# processors of the workers, one or two. Two workers share both ports queue by queue.
lab_config() {
    local cpu index=0 ports
    cat <<TOML
# The lab's router: see scripts/lab.
[[port]]
name = "lan"
interface = "lan"
addresses = ["10.0.1.1/24", "fd00:1::1/64"]
forwarding = true

[[port]]
name = "wan"
interface = "wan"
addresses = ["10.0.2.1/24", "fd00:2::1/64"]
forwarding = true
TOML
    for cpu in "$@"; do
        ports='"lan", "wan"'
        [ $# -eq 1 ] || ports="\"lan:$index\", \"wan:$index\""
        printf '\n[[core]]\ncpu = %s\nports = [%s]\nidle = "adaptive"\n' "$cpu" "$ports"
        index=$((index + 1))
    done
    printf '\n[control]\nsocket = "%s/control.sock"\n' "$(lab_dir)"
}
