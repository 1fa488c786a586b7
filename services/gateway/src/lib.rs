//! The gateway: the one door to the cluster, and the only place that speaks to clients.
pub mod translate;
