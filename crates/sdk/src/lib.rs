//! mesos-sdk
