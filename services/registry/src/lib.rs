//! mesos-registry
