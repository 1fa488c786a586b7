//! mesos-gateway
