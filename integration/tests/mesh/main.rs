//! The mesh as a whole: real tunnels in real network namespaces, scenario by scenario.

use std::process::ExitCode;

use adit_integration::harness::{self, Scenario};
use adit_integration::scenarios;

mod certificates;
mod lifecycle;
mod outcomes;
mod sources;
mod stalls;
mod traffic;

const TRAFFIC: &[Scenario] = scenarios![traffic::pods_of_one_node_talk];

const CERTIFICATES: &[Scenario] = scenarios![
    certificates::a_client_without_a_proper_certificate_is_refused,
    certificates::a_server_without_a_proper_certificate_is_refused,
    certificates::a_revocation_closes_live_connections,
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

fn main() -> ExitCode {
    let suites = [TRAFFIC, CERTIFICATES, LIFECYCLE, OUTCOMES, SOURCES, STALLS];
    harness::main(&suites.concat())
}
