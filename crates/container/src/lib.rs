//! mesos-container
