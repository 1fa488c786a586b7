//! mesos-launcher
