//! Lab tests: real packets between real programs, with the router in the middle (DESIGN: "tests, from cheap
//! to real", layer 4). Root and the tools of `scripts/setup` are needed; without root every test is listed
//! as ignored.
//!
//! ```text
//!   cargo test --test lab                       Flumen routes
//!   LAB_ROUTER=linux cargo test --test lab      the kernel routes: what each test means, on the reference
//! ```
//!
//! Every test is one sentence about a router. Those in the first list are true of Linux as well, and
//! are kept so: they tell Flumen's faults from the test's. Those in the second are about the process `flumen`.

#![allow(clippy::panic, clippy::unwrap_used)] // a test fails by panicking

mod harness;
#[path = "../common/scribbler.rs"]
mod scribbler;

use harness::{RouterKind, Share};
use libtest_mimic::{Arguments, Trial};

/// Declares the modules and makes the list of their tests. A test that is not in the list is dead code,
/// which the compiler reports.
macro_rules! tests {
    (
        routers { $($module:ident { $($test:ident,)* })* }
        flumen { $($own_module:ident { $($own_test:ident,)* })* }
    ) => {
        $(mod $module;)*
        $(mod $own_module;)*

        fn all(root: bool, router: RouterKind) -> Vec<Trial> {
            let test = |name: &'static str, needs_flumen: bool, body: fn()| {
                let ignored = !root || (needs_flumen && router != RouterKind::Flumen);
                Trial::test(name, move || {
                    harness::share_with(share_of(name));
                    body();
                    Ok(())
                })
                .with_ignored_flag(ignored)
            };
            vec![
                $($(test(concat!(stringify!($module), "::", stringify!($test)), false, $module::$test),)*)*
                $($(test(concat!(stringify!($own_module), "::", stringify!($own_test)), true, $own_module::$own_test),)*)*
            ]
        }
    };
}

/// Modules, and tests, that have the machine for themselves: they measure what a processor does, count system calls or
/// programs, load both processors, or compare when two routers answer.
const ALONE: &[&str] = &[
    "crowds::",
    "differential::",
    "differential_ip::",
    "process::",
    "programs_churn::",
    "programs_crowd::",
    "programs_hostile::",
    "system_calls::",
    "workers::",
];

fn share_of(test: &str) -> Share {
    if ALONE.iter().any(|name| test.starts_with(name)) { Share::Alone } else { Share::WithOthers }
}

tests! {
    routers {
        echo {
            the_router_answers_ping_on_each_of_its_ipv4_addresses,
            the_router_answers_ping_on_each_of_its_ipv6_addresses,
            the_router_answers_ping_on_its_link_local_address,
            the_router_answers_ping_on_the_anycast_address_of_each_subnet,
            ping_of_every_size_reaches_the_router_and_the_server_over_ipv4,
            ping_of_every_size_reaches_the_router_and_the_server_over_ipv6,
            pings_of_sixty_thousand_bytes_are_answered_by_the_router_and_the_server,
            the_route_of_a_ping_is_recorded_there_and_back,
            a_thousand_pings_in_a_row_are_all_answered,
            what_is_forwarded_differs_in_link_header_ttl_and_checksum_only_over_ipv4,
            what_is_forwarded_differs_in_link_header_and_hop_limit_only_over_ipv6,
            a_frame_for_another_station_is_not_forwarded,
        }
        trace {
            traceroute_by_udp_shows_the_router_then_the_server_over_ipv4,
            traceroute_by_udp_shows_the_router_then_the_server_over_ipv6,
            traceroute_by_icmp_shows_the_router_then_the_server,
            traceroute_to_the_router_ends_there,
            mtr_reports_both_hops_without_loss_over_ipv4,
            mtr_reports_both_hops_without_loss_over_ipv6,
        }
        errors {
            a_ttl_that_runs_out_is_answered_with_time_exceeded,
            a_hop_limit_that_runs_out_is_answered_with_time_exceeded,
            no_route_is_answered_with_net_unreachable,
            no_ipv6_route_is_answered_with_no_route,
            an_unreachable_route_is_answered_with_host_unreachable,
            an_unreachable_ipv6_route_is_answered_with_no_route,
            a_prohibit_route_is_answered_with_administratively_prohibited,
            a_prohibit_ipv6_route_is_answered_with_administratively_prohibited,
            a_blackhole_route_is_silent,
            a_neighbour_that_stays_silent_is_host_unreachable,
            an_ipv6_neighbour_that_stays_silent_is_address_unreachable,
            a_closed_udp_port_of_the_router_is_port_unreachable,
            a_closed_udp_port_of_the_router_is_port_unreachable_over_ipv6,
            an_unknown_protocol_at_the_router_is_protocol_unreachable,
            an_unknown_next_header_at_the_router_is_a_parameter_problem,
            no_error_is_sent_about_errors_later_fragments_or_broadcasts,
            no_error_is_sent_about_ipv6_errors_or_multicast,
            martian_packets_vanish_without_an_answer,
            damaged_headers_vanish_without_an_answer,
        }
        path_mtu {
            tracepath_finds_the_narrow_link_over_ipv4,
            tracepath_finds_the_narrow_link_over_ipv6,
            a_long_packet_with_df_is_answered_with_the_mtu_of_the_narrow_link,
            a_long_ipv6_packet_is_answered_with_the_mtu_of_the_narrow_link,
            a_packet_of_exactly_the_narrow_mtu_passes,
            tcp_finds_its_way_through_the_narrow_link,
            packets_of_8000_bytes_pass_with_mtu_9000,
            tcp_and_udp_flow_with_mtu_9000,
        }
        transport {
            tcp_carries_every_byte_both_ways_over_ipv4,
            tcp_carries_every_byte_both_ways_over_ipv6,
            tcp_carries_every_byte_both_ways_without_offloads,
            iperf3_runs_over_tcp_in_both_families,
            iperf3_runs_over_tcp_without_offloads_in_both_families,
            iperf3_runs_over_udp_in_both_families,
            iperf3_runs_over_udp_without_offloads_in_both_families,
        }
        neighbour {
            the_first_ping_to_a_cold_neighbour_is_answered,
            packets_that_wait_for_a_neighbour_are_all_delivered_in_order,
            arping_is_answered_for_our_address_and_no_other,
            a_static_neighbour_is_used_without_asking,
            a_neighbour_that_comes_late_is_found,
            a_neighbour_that_announces_a_new_ethernet_address_is_believed_at_once,
            a_neighbour_that_changes_its_ethernet_address_unannounced_is_found_again,
        }
        icmp {
            a_timestamp_request_is_answered_with_three_times,
            a_host_that_could_send_to_a_neighbour_is_redirected_to_it_over_ipv4,
            a_host_that_could_send_to_a_neighbour_is_redirected_to_it_over_ipv6,
        }
        multipath {
            flows_spread_over_two_next_hops_and_each_keeps_to_one,
            ipv6_flows_spread_over_two_next_hops_and_each_keeps_to_one,
        }
        policy {
            source_and_port_choose_the_next_hop,
            a_rule_that_prohibits_is_answered_as_a_route_that_does,
        }
        malformed {
            good_traffic_flows_after_a_million_broken_frames,
            good_traffic_flows_after_packets_with_anything_in_them,
        }
        links {
            a_link_that_goes_down_and_comes_back_carries_traffic_again,
        }
        cleanliness {
            a_lab_leaves_nothing_behind_even_when_its_test_panics,
        }
    }
    flumen {
        process {
            sigterm_ends_it_cleanly_with_totals,
            sigint_ends_it_cleanly_with_totals,
            after_sigkill_a_second_start_works_at_once,
            a_second_instance_on_the_same_port_is_refused_with_a_clear_message,
            an_interface_of_its_own_that_goes_down_and_comes_back_is_survived,
            an_interface_that_is_deleted_is_survived_and_reported,
            an_idle_router_uses_under_two_percent_of_a_core,
            show_answers_every_question,
        }
        host {
            curl_fetches_and_uploads_every_byte_over_ipv4,
            curl_fetches_and_uploads_every_byte_over_ipv6,
            an_echo_comes_back_whole_while_the_client_still_writes,
            a_client_that_closes_its_half_still_gets_the_rest,
            a_slow_reader_gets_every_byte_through_a_closed_window,
            wrk_with_a_hundred_connections_sees_no_error,
            one_connection_a_request_works_thousands_of_times,
            iperf_writes_to_discard_and_nothing_is_left_when_it_is_gone,
            udp_datagrams_of_sixty_thousand_bytes_are_echoed,
            a_killed_client_leaves_no_connection_behind,
            a_connection_outlives_a_link_that_goes_down_and_comes_back,
            two_workers_serve_one_port,
            nc_reads_on_after_the_service_closed_its_half,
            ten_readers_of_chargen_get_its_lines_and_leave_nothing_behind,
            a_thousand_connections_of_wrk_see_no_error,
            requests_complete_while_syns_are_flooding_in,
        }
        claims {
            claimed_traffic_is_answered_by_flumen_and_the_rest_by_the_kernel_over_ipv4,
            claimed_addresses_are_answered_by_flumen_and_the_rest_by_the_kernel_over_ipv6,
        }
        addresses {
            an_address_that_a_host_has_already_is_not_used_and_its_other_addresses_are,
            an_ipv4_address_that_a_host_has_already_is_not_used,
            a_proxy_answers_for_a_host_behind_it,
            a_linux_host_makes_an_address_and_a_default_route_of_our_advertisement,
            a_host_port_configures_itself_by_the_advertisements_of_a_router,
        }
        crowds {
            a_sweep_of_empty_networks_is_bounded_and_harms_no_neighbour,
        }
        vlan {
            tagged_pings_are_answered_with_their_tags_and_routed_between_vlans,
        }
        multicast {
            a_stream_flows_to_who_joins_and_stops_after_the_leave,
            hosts_of_older_versions_are_understood,
            only_the_sources_that_a_listener_names_flow,
            what_is_wanted_behind_us_is_reported_upstream,
            static_routes_of_groups_hold_to_their_port_and_thresholds,
            every_worker_knows_who_listens,
        }
        fragments {
            pings_and_datagrams_of_sixty_thousand_bytes_pass_two_workers_both_ways,
            fragments_that_come_by_two_queues_meet,
            tagged_fragments_that_come_by_two_queues_meet,
            a_datagram_that_lacks_its_end_is_shown_until_its_time_is_over,
        }
        tap {
            a_tap_serves_the_host_without_any_privilege,
        }
        system_calls {
            a_worker_that_kicks_by_sqpoll_makes_no_system_call_while_it_forwards,
            a_burst_goes_out_in_one_system_call_and_every_packet_of_it_arrives,
            a_busy_program_sends_and_receives_without_system_calls,
        }
        programs_calls {
            stamps_of_what_goes_are_those_of_the_kernel,
            socket_calls_do_on_flumen_what_they_do_on_the_kernel,
            calls_of_a_fortified_program_with_large_files_do_what_they_do_on_the_kernel,
            sockets_go_to_executed_and_spawned_programs_and_in_messages_as_on_the_kernel,
            waits_end_by_signals_and_flags_of_sends_are_kept_as_on_the_kernel,
            signals_of_sockets_are_those_of_the_kernels,
            fast_opens_and_bounds_of_what_waits_unsent_are_those_of_the_kernels,
            ip_options_of_what_comes_and_goes_are_those_of_the_kernel,
            times_of_what_comes_are_told_as_the_kernel_tells_them,
            ipv6_sockets_are_told_of_ipv4_datagrams_what_the_kernels_are,
            options_show_in_calls_as_they_do_on_the_kernel,
            an_option_that_comes_to_nothing_is_told_of_once,
            what_a_program_says_to_itself_is_there_at_once,
        }
        programs_options {
            every_option_and_ioctl_gives_through_the_library_what_the_kernel_gives,
        }
        programs_tools {
            nc_sends_and_receives_every_byte,
            nc_carries_datagrams,
            curl_and_wget_fetch_every_byte,
            small_programs_are_clean_under_valgrind,
            socket_calls_are_clean_under_valgrind,
            socat_serves_many_with_a_process_for_each,
            socat_relays_between_the_kernel_and_flumen_and_over_udp,
            iperf_runs_both_ways,
            iperf3_serves_tcp_and_udp_both_ways_and_in_parallel,
            iperf3_is_a_client_over_tcp_and_udp_both_ways_and_in_parallel,
            sshd_logs_in_runs_commands_and_takes_files,
            ssh_and_scp_are_clients,
        }
        programs_web {
            nginx_serves_with_sendfile,
            nginx_serves_without_sendfile,
            nginx_with_workers_of_another_user_serves_a_low_port,
            nginx_reloads_under_load,
            nginx_speaks_tls,
            curl_wget_and_openssl_are_clients_over_tls,
            nginx_stands_between_clients_and_servers,
            haproxy_stands_between_clients_and_servers,
            wrk_and_ab_are_clients,
        }
        programs_stores {
            redis_serves,
            redis_benchmark_is_a_client,
            memcached_keeps_what_it_is_given,
            sockperf_plays_ping_pong,
            dnsmasq_and_unbound_answer_dig,
            dig_is_a_client,
            unbound_is_a_client_of_dnsmasq,
        }
        programs_languages {
            python_serves_files,
            asyncio_echoes,
            asyncio_is_a_client,
            programs_that_ask_without_end_keep_nobody_from_the_core,
            udp_lite_is_spoken_with_the_kernel_both_ways,
            node_serves_and_asks,
            java_echoes_with_selectors,
            tokio_echoes_and_asks,
        }
        programs_crowd {
            hundreds_of_programs_have_sockets_at_a_time_and_leave_nothing_behind,
            a_hundred_thousand_sockets_of_programs_are_open_at_a_time_and_all_are_freed,
            memory_of_closed_connections_goes_back_to_the_system,
        }
        programs_churn {
            sockets_that_come_and_go_by_every_way_leave_nothing_behind,
            forks_in_handlers_that_interrupt_calls_lose_no_byte_and_leave_nothing_behind,
        }
        programs_service {
            every_call_that_waits_ends_when_the_service_is_killed_and_new_sockets_find_the_next_one,
            every_call_that_waits_ends_when_the_service_is_stopped_and_new_sockets_find_the_next_one,
            without_a_service_sockets_are_the_kernels_or_fail_and_one_line_tells,
            a_program_that_outlives_services_has_what_it_had_with_the_first,
        }
        programs_hostile {
            others_go_on_unharmed_beside_a_process_that_writes_anything_anywhere,
            others_go_on_unharmed_on_two_workers_and_nothing_is_left_of_a_process_that_wrote_anything_anywhere,
            who_hangs_thousands_of_waiters_at_its_bell_is_woken_aside_and_hears_all_the_same,
        }
        programs_claims {
            without_a_rule_sockets_at_our_addresses_are_ours_and_loopback_is_the_kernels,
            rules_claim_by_address_protocol_and_ports_and_never_comes_first,
            all_are_ours_when_all_are_claimed_but_those_that_never_are,
        }
        programs_access {
            who_may_write_to_the_socket_may_attach_and_nobody_else,
            a_socket_of_its_owner_alone_lets_nobody_else_attach_nor_ask,
            low_ports_are_for_root_and_for_whom_the_configuration_names,
            what_is_reserved_is_bound_by_root_and_by_whom_the_configuration_names,
            who_has_all_sockets_that_a_program_may_have_harms_no_other,
        }
        programs_workers {
            nginx_serves_on_both_and_leaves_nothing_behind_when_it_is_killed,
            curl_wrk_and_iperf3_are_clients_on_both,
            datagrams_come_and_go_whatever_worker_they_come_in_at,
            a_port_that_one_program_has_another_cannot_bind,
            programs_on_different_workers_talk_over_loopback,
            connections_that_are_passed_on_go_on_with_who_takes_them,
            connections_of_both_workers_that_are_passed_on_go_on,
            connections_that_a_spawned_program_inherits_go_on,
            connections_of_both_workers_that_a_spawned_program_inherits_go_on,
            pings_are_answered_to_raw_and_ping_sockets_whatever_worker_hears_the_answer,
        }
        differential_ip {
            the_same_packets_are_answered_and_forwarded_as_linux_does_it,
        }
        differential {
            the_same_segments_are_answered_as_linux_answers_them,
        }
        workers {
            two_workers_on_two_queues_route_tcp_and_udp,
            two_workers_that_hand_flows_over_route_tcp_and_udp,
            two_workers_both_forward_when_flows_are_many,
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, what, address] = &words[..]
        && first == programs_languages::TOKIO
    {
        return programs_languages::be(what, address);
    }
    if let [first, rest @ ..] = &words[..]
        && first == programs_crowd::MEMBER
    {
        return programs_crowd::be(rest);
    }
    if let [first, socket] = &words[..]
        && first == programs_hostile::HOSTILE
    {
        return programs_hostile::be(socket);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // several processes may share the machine (see `Share`), with nextest
    let root = nix::unistd::geteuid().is_root();
    let router = RouterKind::chosen();
    if !root {
        eprintln!(
            "lab tests need root (network namespaces, AF_XDP): all are ignored. scripts/check runs them."
        );
    }
    libtest_mimic::run(&arguments, all(root, router)).exit();
}
