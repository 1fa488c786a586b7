//! The chart on a real Kubernetes (`scripts/kube`), and what `helm` makes of it without one.

mod chart;
mod installed;
mod load;
mod release;
