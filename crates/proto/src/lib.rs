//! mesos-proto
