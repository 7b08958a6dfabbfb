//! Where the tunnel's knowledge comes from: the node agent, the file with the mesh; and where what it says goes to.

mod agent;
mod file;
mod pages;

pub use agent::{
    a_malformed_message_costs_its_connection_and_nothing_else,
    an_agent_that_comes_back_settles_what_is_served, an_agent_that_leaves_at_any_point_is_reconnected_to,
};
pub use file::{
    a_broken_edit_is_reported_and_changes_nothing, a_connection_before_the_configuration_waits_for_it,
    a_resource_that_cannot_be_read_refuses_its_own, the_file_may_be_replaced_in_every_usual_way,
};
pub use pages::{a_log_that_nobody_reads_never_blocks_traffic, the_pages_have_their_shape};
