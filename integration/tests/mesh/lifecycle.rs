//! Beginnings and ends: of tunnels, and of the pods that they serve.

mod cut;
mod pods;
mod rollout;
mod shutdown;
mod start;

pub use cut::a_tunnel_that_is_replaced_says_whose_connections_it_cut;
pub use pods::{
    a_peer_that_vanishes_is_noticed, a_pod_that_leaves_the_mesh_may_finish, pods_come_and_go_under_load,
};
pub use rollout::a_rolling_update_fails_no_request;
pub use shutdown::{
    a_second_interrupt_ends_the_drain, a_tunnel_is_replaced_under_load, quitquitquit_drains_too,
    without_a_successor_a_tunnel_accepts_until_its_deadline,
};
pub use start::{a_start_that_cannot_work_says_why, readiness_names_what_is_pending};
