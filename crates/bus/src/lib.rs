//! mesos-bus
