//! mesos-runtime
