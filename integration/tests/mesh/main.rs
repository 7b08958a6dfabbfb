//! The mesh as a whole: real tunnels in real network namespaces, scenario by scenario.

use std::process::ExitCode;

use adit_integration::harness::{self, Scenario};
use adit_integration::scenarios;

mod certificates;
mod conformance;
mod control;
mod ends;
mod families;
mod faults;
mod hbone;
mod inspection;
mod lab;
mod lifecycle;
mod limits;
mod malicious;
mod outcomes;
mod policy;
mod routing;
mod sources;
mod spans;
mod stalls;
mod traffic;
mod waypoints;

const LAB: &[Scenario] = scenarios![lab::every_step_of_the_tour_is_proved];

const TRAFFIC: &[Scenario] = scenarios![
    traffic::pods_of_one_node_talk_encrypted,
    traffic::pods_of_two_nodes_talk_encrypted,
    traffic::a_captured_client_reaches_servers_outside_of_the_mesh,
    traffic::an_uncaptured_client_reaches_a_pod_of_the_mesh,
    traffic::two_hundred_connections_live_at_once,
    traffic::a_pod_calls_itself,
];

const ENDS: &[Scenario] = scenarios![
    ends::each_side_may_finish_first,
    ends::a_reset_of_one_side_reaches_the_other,
    ends::a_lot_of_bytes_arrive_as_they_were_sent,
];

const ROUTING: &[Scenario] = scenarios![
    routing::a_service_is_spread_over_two_nodes,
    routing::a_named_port_is_each_endpoints_own,
    routing::a_port_that_a_service_does_not_have_is_refused,
    routing::a_pod_that_is_called_by_its_address_answers_itself,
    routing::a_service_of_a_range_takes_all_its_addresses,
    routing::a_passthrough_service_is_left_alone,
    routing::a_service_of_one_namespace_is_hidden_from_others,
    routing::an_unhealthy_endpoint_is_left_out_unless_all_are_allowed,
    routing::failover_prefers_what_is_near_and_strict_demands_it,
    routing::a_refused_endpoint_costs_no_request_and_is_ejected,
];

const WAYPOINTS: &[Scenario] = scenarios![
    waypoints::a_workload_is_reached_through_its_waypoint,
    waypoints::a_service_is_reached_through_its_waypoint,
    waypoints::weighted_waypoints_share,
    waypoints::without_its_waypoint_a_service_is_refused,
    waypoints::a_waypoint_behind_a_tunnel_gets_plain_bytes,
    waypoints::a_waypoint_behind_a_tunnel_is_told_of_the_client,
];

const HBONE: &[Scenario] = scenarios![
    hbone::a_pod_is_asked_for_by_address_and_by_its_services_name,
    hbone::what_is_not_this_pod_is_refused,
    hbone::what_is_not_a_connect_is_refused,
    conformance::what_breaks_the_protocol_costs_its_own_stream_or_connection,
];

const POLICY: &[Scenario] = scenarios![
    policy::each_kind_of_condition_decides,
    policy::a_refusal_names_the_policy,
    policy::a_dry_run_is_not_obeyed_and_a_missing_policy_is,
    policy::a_change_cuts_the_connections_that_it_forbids,
    policy::strictness_refuses_plaintext,
];

const CONTROL: &[Scenario] = scenarios![
    control::manifests_decide_what_the_traffic_may,
    control::a_policy_that_allows_disturbs_nobody,
    control::a_broken_manifest_leaves_what_was,
    control::traffic_outlives_the_control_plane,
    control::a_tunnel_is_replaced_while_the_control_plane_is_away,
    control::who_is_not_known_hears_nothing,
];

const FAMILIES: &[Scenario] = scenarios![
    families::pods_talk_over_ipv6,
    families::a_service_of_both_families_is_reached_by_each,
    families::a_pod_without_ipv6_is_served,
];

const MALICIOUS: &[Scenario] = scenarios![
    malicious::a_pod_cannot_call_the_tunnels_ports,
    malicious::a_stranger_cannot_call_the_tunnels_ports,
    malicious::what_a_peer_says_of_itself_decides_nothing,
    malicious::a_borrowed_address_lends_no_identity,
    malicious::a_marked_connection_leaves_uncaptured_and_strict_peers_refuse_it,
];

const INSPECTION: &[Scenario] = scenarios![
    inspection::each_list_shows_what_was_configured,
    inspection::what_is_no_tunnel_is_said_to_be_none,
    inspection::explain_agrees_with_what_connections_experience,
    inspection::a_pod_that_drains_is_shown_while_it_does,
    inspection::the_labs_tunnels_are_reached_by_the_names_of_their_nodes,
];

const CERTIFICATES: &[Scenario] = scenarios![
    certificates::a_client_without_a_proper_certificate_is_refused,
    certificates::a_server_without_a_proper_certificate_is_refused,
    certificates::a_revocation_closes_live_connections,
    certificates::a_revocation_during_a_handshake_is_not_missed,
    certificates::a_revocation_list_that_cannot_be_read_never_opens_anything,
    certificates::certificates_are_renewed_under_traffic,
    certificates::roots_are_replaced_under_traffic,
];

const LIFECYCLE: &[Scenario] = scenarios![
    lifecycle::pods_come_and_go_under_load,
    lifecycle::a_peer_that_vanishes_is_noticed,
    lifecycle::a_pod_that_leaves_the_mesh_may_finish,
    lifecycle::a_second_interrupt_ends_the_drain,
    lifecycle::a_tunnel_is_replaced_under_load,
    lifecycle::a_tunnel_that_is_replaced_says_whose_connections_it_cut,
    lifecycle::a_rolling_update_fails_no_request,
    lifecycle::quitquitquit_drains_too,
    lifecycle::without_a_successor_a_tunnel_accepts_until_its_deadline,
    lifecycle::a_start_that_cannot_work_says_why,
    lifecycle::readiness_names_what_is_pending,
];

const OUTCOMES: &[Scenario] = scenarios![
    outcomes::decisions_are_logged_and_counted,
    outcomes::handshakes_that_fail_are_logged_and_counted,
    outcomes::ends_are_logged_and_counted,
    outcomes::a_connection_without_a_certificate_is_logged_and_counted,
    outcomes::a_connection_before_the_configuration_is_logged_and_counted,
    outcomes::every_outcome_has_its_case,
];

const SOURCES: &[Scenario] = scenarios![
    sources::a_malformed_message_costs_its_connection_and_nothing_else,
    sources::an_agent_that_comes_back_settles_what_is_served,
    sources::an_agent_that_leaves_at_any_point_is_reconnected_to,
    sources::a_broken_edit_is_reported_and_changes_nothing,
    sources::a_connection_before_the_configuration_waits_for_it,
    sources::a_resource_that_cannot_be_read_refuses_its_own,
    sources::the_file_may_be_replaced_in_every_usual_way,
    sources::a_log_that_nobody_reads_never_blocks_traffic,
    sources::the_pages_have_their_shape,
];

const STALLS: &[Scenario] = scenarios![
    stalls::a_peer_that_stalls_ends_at_its_deadline_and_holds_up_nobody,
    stalls::a_client_that_stalls_ends_at_its_deadline_and_holds_up_nobody,
    stalls::whoever_stops_reading_stops_its_own_sender_only,
    stalls::an_application_that_stalls_ends_at_its_deadline_and_holds_up_nobody,
    stalls::a_client_without_a_preface_is_cut,
];

const SPANS: &[Scenario] = scenarios![
    spans::a_connection_has_a_span_at_each_end,
    spans::a_refused_connection_is_an_error_at_each_end,
    spans::a_connection_that_is_not_sampled_is_told_nowhere,
    spans::a_collector_that_says_nothing_costs_spans_and_nothing_else,
];

const FAULTS: &[Scenario] = scenarios![
    faults::a_client_that_misbehaves_costs_little_and_disturbs_nobody,
    faults::a_client_that_floods_costs_little_and_disturbs_nobody,
    faults::a_server_that_misbehaves_costs_little_and_disturbs_nobody,
];

const LIMITS: &[Scenario] = scenarios![
    limits::a_pod_with_all_its_connections_is_refused_another,
    limits::a_peer_with_all_its_tunnels_is_refused_another,
    limits::handshakes_wait_for_their_turn_and_others_have_theirs,
    limits::a_node_with_all_its_handshakes_refuses_another,
    limits::a_storm_leaves_the_tunnel_its_own_descriptors,
    limits::without_a_descriptor_a_client_is_told,
    limits::the_stream_that_holds_most_is_given_up_and_no_other,
    limits::a_peer_that_takes_nothing_makes_senders_wait,
    limits::a_storm_on_one_pod_leaves_the_others_their_share,
];

fn main() -> ExitCode {
    let suites = [
        TRAFFIC,
        ENDS,
        ROUTING,
        WAYPOINTS,
        HBONE,
        POLICY,
        CONTROL,
        FAMILIES,
        MALICIOUS,
        INSPECTION,
        CERTIFICATES,
        LIFECYCLE,
        OUTCOMES,
        SOURCES,
        STALLS,
        SPANS,
        FAULTS,
        LIMITS,
        LAB,
    ];
    harness::main(&suites.concat())
}
