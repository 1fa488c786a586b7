module mesos-policy-example

go 1.24
