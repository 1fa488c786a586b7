//! mesos-core
