//! mesos-e2e
