//! mesos-store
